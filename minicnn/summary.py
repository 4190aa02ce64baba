"""What a model is made of: its layers, their shapes, sizes, work and receptive fields."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from minicnn.autograd import Tensor, no_grad, observe
from minicnn.field import Number
from minicnn.nn.module import Module, Parameter, intercept
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
        padding, and so can exceed the input. None if unknown.
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
    multiply_adds : int
        The sum over all layers, for one sample.
    size : int [bytes]
        What parameters and buffers take.
    """

    layers: list[LayerSummary]
    trainable: int
    fixed: int
    multiply_adds: int
    size: int

    def __repr__(self):
        header = (
            "layer",
            "class",
            "output shape",
            "parameters",
            "multiply-adds",
            "receptive field",
            "stride",
        )
        rows = [header, *map(_cells, self.layers)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [_line(cells, widths) for cells in rows]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:], rule, *self._totals()])

    def _totals(self):
        return [
            f"{self.trainable:,} trainable parameters",
            f"{self.fixed:,} other parameters and buffers",
            f"{self.size:,} bytes for all of them",
            f"{self.multiply_adds:,} multiply-adds per sample",
        ]


def summary(model: Module, input_shape: Sequence[int], *further_shapes: Sequence[int]) -> Summary:
    """Run a model once, on zeros and in evaluation mode, and describe every layer.

    There is a row for each call of a module that has no modules inside, owns parameters, or calls
    operations itself (such as the sum at the end of a residual block).

    Multiply-adds are counted for every operation that runs, and belong to the innermost module
    around it: a convolution takes C / groups * KH * KW for each output, a transposed convolution
    O / groups * KH * KW for each input, `linear` and a matrix product the length of the axis that
    they sum over for each output. All other operations count 0. FLOPs are about twice that.

    Parameters
    ----------
    model : Module
        Afterwards it is as it was before.
    input_shape : sequence of int
        The shape of one sample, without the batch axis: (C, H, W), (C, L) or (L,). Receptive fields
        are along H and W, or L.
    *further_shapes : sequence of int
        The shapes of further inputs, if the model takes several; their axes follow in each row.

    Returns
    -------
    Summary

    Raises
    ------
    ValueError
        If a shape is not made of whole numbers >= 1, or the model does not take it.

    References
    ----------
    Araujo, Norris & Sim, "Computing receptive fields of convolutional neural networks", Distill,
    2019.

    Examples
    --------
    >>> print(mc.summary(mc.models.lenet5(), (1, 32, 32)))
    """
    inputs = [_zeros(model, shape) for shape in (input_shape, *further_shapes)]
    record = _Record(model, inputs)
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with (
            no_grad(),
            intercept(record.call),
            observe(record.operation),
            np.errstate(all="ignore"),  # log(0) is no matter: nobody looks at the values
        ):
            model(*inputs)
    finally:
        for module, mode in training:
            module.training = mode
    parameters, buffers = list(model.parameters()), list(model.buffers())
    trainable = sum(parameter.size for parameter in parameters if parameter.requires_grad)
    return Summary(
        layers=record.layers,
        trainable=trainable,
        fixed=sum(tensor.size for tensor in parameters + buffers) - trainable,
        multiply_adds=sum(layer.multiply_adds for layer in record.layers),
        size=sum(tensor.data.nbytes for tensor in parameters + buffers),
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

    def operation(self, name, arguments, options, result):
        """Count an operation and follow its receptive fields, as `observe` asks for."""
        self._fields(name, arguments, options, result)
        running = self._running[-1]
        running.operations += 1
        if name in _MULTIPLY_ADDS:
            running.multiply_adds += _MULTIPLY_ADDS[name](result, *arguments)

    def _layer(self, module, own, running, output):
        returned = output
        while isinstance(output, (tuple, list, dict)) and output:
            output = next(iter(output.values() if isinstance(output, dict) else output))
        if not hasattr(output, "shape"):
            name = f"{self._names.get(id(module), '?')} ({type(module).__name__})"
            raise ValueError(f"summary: {name} returns {returned!r:.40}, and no tensor")
        new = [parameter for parameter in own if id(parameter) not in self._counted]
        self._counted.update(map(id, new))
        size, stride = self._seen(output)
        return LayerSummary(
            name=self._names.get(id(module), "?"),
            kind=type(module).__name__,
            output_shape=output.shape[1:],
            parameters=sum(parameter.size for parameter in new),
            multiply_adds=running.multiply_adds,
            receptive_field=size,
            stride=stride,
        )

    def _seen(self, tensor):
        """Return size and stride of a receptive field along every axis, or None and None."""
        fields = self._fields.of(tensor)
        if fields is None:
            return None, None
        along = [fields.get(axis) for axis in range(self._fields.axes)]
        sizes = tuple(field.size if field else 0 for field in along)
        return sizes, tuple(field.stride if field else None for field in along)


_MULTIPLY_ADDS: dict[str, Callable[..., int]] = {
    "conv2d": lambda y, x, w, b: y.size * math.prod(w.shape[1:]),
    "conv_transpose2d": lambda y, x, w, b: x.size * math.prod(w.shape[1:]),
    "linear": lambda y, x, w, b: y.size * w.shape[1],
    "matmul": lambda y, a, b: y.size * a.shape[-1],
}


def _zeros(model, shape):
    """Return a batch of one sample of zeros, of the model's dtype and on its device."""
    if not isinstance(shape, (tuple, list)) or not all(
        isinstance(extent, (int, np.integer)) and extent >= 1 for extent in shape
    ):
        raise ValueError(
            f"summary: input_shape is {shape!r}; it takes the shape of one sample, without "
            "the batch axis, such as (1, 32, 32)"
        )
    like = next((parameter.data for parameter in model.parameters()), np.zeros((), np.float32))
    return Tensor(np.zeros_like(like, shape=(1, *shape)))


def _cells(layer):
    """Return a row of the table."""
    return (
        layer.name,
        layer.kind,
        str(layer.output_shape),
        f"{layer.parameters:,}",
        f"{layer.multiply_adds:,}",
        _per_axis(layer.receptive_field),
        _per_axis(layer.stride),
    )


def _per_axis(values):
    """Return one value per axis of the input, "-" where there is none, or "?" if unknown."""
    if values is None:
        return "?"
    return " x ".join(str(value) if value else "-" for value in values) if any(values) else "-"


def _line(cells, widths):
    """Return cells as a line of text, numbers to the right."""
    padded = [
        cell.rjust(width) if 3 <= column <= 4 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()
