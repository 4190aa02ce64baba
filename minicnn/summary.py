"""What a model is made of: its layers, their shapes, sizes, work, memory and receptive fields."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import mul

import numpy as np

from minicnn import kernels
from minicnn.activations import Activations
from minicnn.autograd import Tensor, no_grad, observe
from minicnn.axes import ConstantQ, MelBands, Time
from minicnn.field import Number
from minicnn.nn.module import Module, Parameter, intercept
from minicnn.nn.network import Network
from minicnn.receptive_field import ReceptiveFields


@dataclass(frozen=True)
class LayerSummary:
    """One call of a module.

    Attributes
    ----------
    name : str
        Its dotted name in the model; "" for the model itself.
    kind : str
        Its class.
    output_shape : tuple of int
        Without the batch axis; the first one where the module returns several tensors.
    parameters : int
        How many numbers its own parameters hold, without those of an earlier row.
    multiply_adds : int
        How many products it adds up for one sample, see `summary`.
    receptive_field : tuple of numbers or None [samples]
        How much of each axis of the input an output sees, 0 where it sees nothing. It counts the
        padding, and so can exceed the input. None if unknown. `Summary.axes` knows its units.
    stride : tuple of (number or None) or None [samples]
        How far the receptive fields of neighbours lie apart along each axis of the input: a
        fraction after upsampling, None where all outputs see the same.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: tuple[Number, ...] | None
    stride: tuple[Number | None, ...] | None


@dataclass(frozen=True, repr=False)
class Summary:
    """A model in numbers; `print` shows it as a table.

    Attributes
    ----------
    layers : list of LayerSummary
        In the order in which they finish.
    trainable : int
        How many numbers are trained, each parameter counted once, used or not.
    fixed : int
        How many numbers are not: buffers, and parameters that require no gradient.
    unused : int
        How many numbers the parameters of layers hold that did not run, such as auxiliary heads.
    multiply_adds : int
        The sum over all layers, for one sample.
    size : int [bytes]
        What parameters and buffers take.
    peak_activations : int [bytes]
        The most that the input and the results of operations take at the same time, for one sample
        in evaluation mode without gradients. `minicnn.activations` tells what counts.
    activations : int [bytes]
        What all of them take together: about what training keeps for each sample.
    input_shape : tuple of int
        Of the sample that all this is about, without the batch axis.
    axes : tuple of Time, MelBands or ConstantQ
        What the last axes of the input measure, so that `axis.span(size)` is a receptive field in
        units; empty for images.
    receptive_field : tuple of numbers or None [samples]
        That of the output, as in its layer.
    stride : tuple of (number or None) or None [samples]
        How far along each axis of the input the outputs lie apart, None where there is only one.
    slide_hop : int or None
        As the model's own, see `nn.Network`.
    """

    layers: list[LayerSummary]
    trainable: int
    fixed: int
    unused: int
    multiply_adds: int
    size: int
    peak_activations: int
    activations: int
    input_shape: tuple[int, ...]
    axes: tuple[Time | MelBands | ConstantQ, ...]
    receptive_field: tuple[Number, ...] | None
    stride: tuple[Number | None, ...] | None
    slide_hop: int | None

    @property
    def resolution(self) -> float | None:
        """The time from one output to the next; None where there are not several [ms]."""
        for axis, stride in zip(self.axes, self.stride or (), strict=False):
            if isinstance(axis, Time) and stride:
                return axis.milliseconds(stride)
        return None

    def __repr__(self):
        header = (
            "layer",
            "class",
            "output shape",
            "parameters",
            "multiply-adds",
            "receptive field",
            *(["field spans"] if self.axes else []),
            "stride",
        )
        rows = [header, *(_cells(layer, self._spans()) for layer in self.layers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [_line(cells, widths) for cells in rows]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:], rule, *self._totals()])

    def _spans(self):
        """Return for each axis in units how a field is told: of padding it tells nothing."""
        return [
            lambda size, axis=axis, extent=extent: axis.span(min(size, extent))
            for axis, extent in zip(self.axes, self._extents(), strict=True)
        ]

    def _extents(self):
        return self.input_shape[len(self.input_shape) - len(self.axes) :]

    def _totals(self):
        return [
            f"{self.trainable:,} trainable parameters",
            *([f"{self.unused:,} parameters of layers that did not run"] if self.unused else []),
            f"{self.fixed:,} other parameters and buffers",
            f"{self.size:,} bytes for all of them",
            f"{self.multiply_adds:,} multiply-adds per sample",
            f"{self.peak_activations:,} bytes of activations at once, {self.activations:,} in all",
            *self._timing(),
        ]

    def _timing(self):
        """Return a line on the temporal resolution of the output, if it sees an axis of time."""
        if self.receptive_field is None or self.stride is None:
            return []
        for place, axis in enumerate(self.axes):
            if isinstance(axis, Time) and self.receptive_field[place]:
                if stride := self.stride[place]:
                    return [f"an output every {axis.span(stride)}"]
                one = f"one output for {axis.span(self._extents()[place])} of sound"
                hop = self.slide_hop
                return [one + (f", or every {axis.span(hop)} when it slides" if hop else "")]
        return []


def summary(
    model: Module, input_shape: Sequence[int] | None = None, *further_shapes: Sequence[int]
) -> Summary:
    """Describe every layer of a model, which runs once, in evaluation mode and without computing.

    There is a row for each call of a module that has no modules inside, owns parameters, or calls
    operations itself (such as the stack of an inception module's branches).

    Multiply-adds are counted for every operation that runs, and belong to the innermost module
    around it: a convolution takes C / groups * KH * KW for each output, a transposed convolution
    O / groups * KH * KW for each input, `linear` and a matrix product the length of the axis that
    they sum over for each output. All other operations count 0. FLOPs are about twice that.

    The kernels of `kernels.outline` stand in for the real ones and return nothing but shapes: a
    model that decides by values sees zeros.

    Parameters
    ----------
    model : Module
        Afterwards it is as it was before.
    input_shape : sequence of int, optional
        The shape of one sample, without the batch axis: (C, H, W), (C, L) or (L,). Receptive fields
        are along H and W, or L. By default it is `model.input_shape`, which every `nn.Network` has.
    *further_shapes : sequence of int
        The shapes of further inputs, if the model takes several; their axes follow in each row.

    Returns
    -------
    Summary

    Raises
    ------
    ValueError
        If a shape is not made of whole numbers >= 1, or the model does not take it; if there is
        none, and the model has none of its own; or if `model.axes` are not those of its input.

    References
    ----------
    Araujo, Norris & Sim, "Computing receptive fields of convolutional neural networks", Distill,
    2019.

    Examples
    --------
    >>> print(mc.summary(mc.models.lenet5()))
    """
    if input_shape is None:
        input_shape = _own_shape(model)
    inputs = [_outline(model, shape) for shape in (input_shape, *further_shapes)]
    axes = _axes(model, inputs[0])
    record = _Record(model, inputs)
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with (
            kernels.use(kernels.outline),
            no_grad(),
            intercept(record.call),
            observe(record.operation),
            np.errstate(all="ignore"),  # log(0) is no matter: nobody looks at the values
        ):
            output = record.tensor(model, model(*inputs))
    finally:
        for module, mode in training:
            module.training = mode
    parameters, buffers = list(model.parameters()), list(model.buffers())
    trainable = sum(parameter.size for parameter in parameters if parameter.requires_grad)
    return Summary(
        layers=record.layers,
        trainable=trainable,
        fixed=sum(tensor.size for tensor in parameters + buffers) - trainable,
        unused=sum(p.size for p in parameters) - sum(layer.parameters for layer in record.layers),
        multiply_adds=sum(layer.multiply_adds for layer in record.layers),
        size=sum(tensor.data.nbytes for tensor in parameters + buffers),
        peak_activations=record.activations.peak,
        activations=record.activations.total,
        input_shape=inputs[0].shape[1:],
        axes=axes,
        receptive_field=record.seen(output)[0],
        stride=record.apart(output),
        slide_hop=model.slide_hop if isinstance(model, Network) else None,
    )


@dataclass
class _Running:
    """A module that is being called, and what its own operations have done so far."""

    operations: int = 0
    multiply_adds: int = 0


class _Record:
    """Take down the calls of modules, and the operations inside them."""

    def __init__(self, model, inputs):
        self.layers: list[LayerSummary] = []
        self.activations = Activations(*inputs)
        self._fields = ReceptiveFields(*inputs)
        self._names: dict[int, str] = {}
        for name, module in model.named_modules():
            self._names.setdefault(id(module), name)
        self._running: list[_Running] = []
        self._counted: set[int] = set()

    def call(self, module, *inputs, **options):
        """Run a module, as `intercept` asks for."""
        self._running.append(_Running())
        try:
            output = module.forward(*inputs, **options)
        finally:
            running = self._running.pop()
        own = [value for value in vars(module).values() if isinstance(value, Parameter)]
        if own or running.operations or next(module.children(), None) is None:
            self.layers.append(self._layer(module, own, running, output))
        return output

    def operation(self, name, arguments, options, result, function):
        """Count an operation, follow its memory and its fields, as `observe` asks for."""
        self.activations(name, arguments, options, result, function)
        self._fields(name, arguments, options, result, function)
        running = self._running[-1]
        running.operations += 1
        if name in _MULTIPLY_ADDS:
            running.multiply_adds += _MULTIPLY_ADDS[name](result, *arguments)

    def tensor(self, module, returned):
        """Return the first tensor of what a module returned."""
        tensor = _first(returned)
        if tensor is None:
            name = f"{self._names.get(id(module), '?')} ({type(module).__name__})"
            raise ValueError(f"summary: {name} returns {returned!r:.40}, and no tensor")
        return tensor

    def seen(self, tensor):
        """Return size and stride of a receptive field along every axis, or None and None."""
        along = self._along(tensor)
        if along is None:
            return None, None
        sizes = tuple(field.size if field else 0 for field in along)
        return sizes, tuple(field.stride if field else None for field in along)

    def apart(self, tensor):
        """Return the stride along every axis again, but None where there is only one element."""
        along = self._along(tensor)
        if along is None:
            return None
        several = [extent > 1 for extent in tensor.shape]
        return tuple(
            field.stride if field and any(map(mul, field.steps, several)) else None
            for field in along
        )

    def _along(self, tensor):
        """Return the field along every axis, None for one unseen, or None if they are unknown."""
        fields = self._fields.of(tensor)
        return None if fields is None else [fields.get(axis) for axis in range(self._fields.axes)]

    def _layer(self, module, own, running, returned):
        output = self.tensor(module, returned)
        new = [parameter for parameter in own if id(parameter) not in self._counted]
        self._counted.update(map(id, new))
        size, stride = self.seen(output)
        return LayerSummary(
            name=self._names.get(id(module), "?"),
            kind=type(module).__name__,
            output_shape=output.shape[1:],
            parameters=sum(parameter.size for parameter in new),
            multiply_adds=running.multiply_adds,
            receptive_field=size,
            stride=stride,
        )


_MULTIPLY_ADDS: dict[str, Callable[..., int]] = {
    "conv2d": lambda y, x, w, b: y.size * math.prod(w.shape[1:]),
    "conv_transpose2d": lambda y, x, w, b: x.size * math.prod(w.shape[1:]),
    "linear": lambda y, x, w, b: y.size * w.shape[1],
    "matmul": lambda y, a, b: y.size * a.shape[-1],
}


def _own_shape(model):
    """Return the shape of a model's input, as it says itself."""
    shape = getattr(model, "input_shape", None)
    if shape is None:
        raise ValueError(
            f"summary: {type(model).__name__} has no input_shape; give the shape of one sample, "
            "without the batch axis, such as (1, 32, 32)"
        )
    return shape


def _outline(model, shape):
    """Return a batch of one sample, of the model's dtype and on its device."""
    if not isinstance(shape, (tuple, list)) or not all(
        isinstance(extent, (int, np.integer)) and extent >= 1 for extent in shape
    ):
        raise ValueError(
            f"summary: input_shape is {shape!r}; it takes the shape of one sample, without "
            "the batch axis, such as (1, 32, 32)"
        )
    like = next((parameter.data for parameter in model.parameters()), np.zeros((), np.float32))
    return Tensor(kernels.outline.zeros(like, (1, *shape)))


def _axes(model, x):
    """Return what the axes of the input measure, one for each axis that receptive fields have."""
    axes = model.axes if isinstance(model, Network) else ()
    if axes and len(axes) != ReceptiveFields(x).axes:
        raise ValueError(
            f"summary: {type(model).__name__} says what {len(axes)} axes measure, but an input of "
            f"{x.shape[1:]} has {ReceptiveFields(x).axes} after its channels"
        )
    return axes


def _first(returned):
    """Return the first tensor in nested tuples, lists and dicts, or None."""
    if isinstance(returned, dict):
        returned = list(returned.values())
    if isinstance(returned, (tuple, list)):
        tensors = (tensor for part in returned if (tensor := _first(part)) is not None)
        return next(tensors, None)
    return returned if hasattr(returned, "shape") else None


def _cells(layer, spans):
    """Return a row of the table."""
    return (
        layer.name,
        layer.kind,
        str(layer.output_shape),
        f"{layer.parameters:,}",
        f"{layer.multiply_adds:,}",
        _per_axis(layer.receptive_field),
        *([_per_axis(layer.receptive_field, spans)] if spans else []),
        _per_axis(layer.stride),
    )


def _per_axis(values, texts=None):
    """Return one value per axis of the input, "-" where there is none, or "?" if unknown."""
    if values is None:
        return "?"
    cells = [
        text(value) if value else "-"
        for text, value in zip(texts or repeat(str), values, strict=False)
    ]
    return " x ".join(cells) if set(cells) - {"-"} else "-"


def _line(cells, widths):
    """Return cells as a line of text, numbers to the right."""
    padded = [
        cell.rjust(width) if 3 <= column <= 4 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
