"""One differentiable function by minicnn and by PyTorch: its forward pass, and its gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import Case, Problem, drawn
from minicnn import Tensor, kernels

try:
    import torch
except ImportError:  # `benchmarks.gpu` then measures minicnn alone
    torch = None


@dataclass(frozen=True)
class Layer:
    """One differentiable function on both sides, and the numbers that it is given.

    Parameters
    ----------
    ours, theirs : callable
        From the inputs and then the constants, by position, to one tensor.
    inputs : mapping from name to float32 array
        The gradient of each of them is part of the work.
    terms : mapping from "y" and the gradients "d" + name to the number of summed terms
    flop : (float, float)
        The operations of the forward pass and of all gradients together.
    constants : mapping from name to array
        Arguments without a gradient, such as labels.
    channels_last : bool
        Whether PyTorch runs in its second layout too.
    draw : callable
        What draws the gradient of the output, as `drawn`; the inputs came from it too.
    their_dtype : torch.dtype, optional
        What float32 numbers become for PyTorch before anything is timed.
    """

    ours: Callable[..., Tensor]
    theirs: Callable[..., torch.Tensor]
    inputs: Mapping[str, np.ndarray]
    terms: Mapping[str, float]
    flop: tuple[float, float]
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    channels_last: bool = False
    draw: Callable[..., dict[str, Any]] = drawn
    their_dtype: Any = None

    def forward(self) -> Problem:
        """Return the forward pass; no input requires a gradient, so neither side keeps a tape."""
        inputs = [*map(Tensor, self.inputs.values()), *self.constants.values()]

        def theirs(tensors, constants):
            return lambda: (self.theirs(*tensors, *constants),)

        return Problem(
            ours=lambda: lambda: (self.ours(*inputs).data,),
            theirs=self._in_layouts(theirs),
            terms={"y": self.terms["y"]},
            flop=self.flop[0],
            traffic=_bytes(self.inputs) + _bytes(self.constants) + self._output().nbytes,
            shapes=self._shapes(),
        )

    def gradients(self) -> Problem:
        """Return the gradients of all inputs; the forward pass before them is off the clock."""
        dy = self.draw(seed=1, dy=self._output().shape)["dy"]

        def ours():
            leaves = [Tensor(array, requires_grad=True) for array in self.inputs.values()]
            y = self.ours(*leaves, *self.constants.values())

            def backward():
                y.backward(dy)
                return [leaf.grad for leaf in leaves]

            return backward

        def theirs(tensors, constants, their_dy):
            leaves = [tensor.detach().requires_grad_() for tensor in tensors]
            y = self.theirs(*leaves, *constants)
            return lambda: torch.autograd.grad(y, leaves, their_dy)

        return Problem(
            ours=ours,
            theirs=self._in_layouts(theirs, dy),
            terms={f"d{name}": self.terms[f"d{name}"] for name in self.inputs},
            flop=self.flop[1],
            traffic=2 * _bytes(self.inputs) + _bytes(self.constants) + dy.nbytes,
            shapes=self._shapes(),
        )

    def only(self, *names: str, flop: float) -> Layer:
        """Return the same function, where these inputs alone require a gradient.

        Parameters
        ----------
        *names : str
        flop : float
            The operations of these gradients.
        """
        order = [*names, *(name for name in self.inputs if name not in names)]
        places = [order.index(name) for name in self.inputs]

        def reordered(function):
            return lambda *given: function(
                *(given[place] for place in places), *given[len(places) :]
            )

        rest = {name: self.inputs[name] for name in order[len(names) :]}
        return replace(
            self,
            ours=reordered(self.ours),
            theirs=reordered(self.theirs),
            inputs={name: self.inputs[name] for name in names},
            constants={**rest, **self.constants},
            flop=(self.flop[0], flop),
        )

    def _in_layouts(self, side, *more):
        """Return a side per layout, of the inputs, the constants and `more` arrays as tensors."""
        layouts = {} if torch is None else {"default": lambda tensor: tensor}
        if layouts and self.channels_last:
            layouts["channels_last"] = _channels_last
        sides = {}
        for name, layout in layouts.items():
            convert = partial(self._tensor, layout)
            # Copies, because batch norm moves its statistics.
            constants = [convert(array.copy()) for array in self.constants.values()]
            inputs, others = (list(map(convert, each)) for each in (self.inputs.values(), more))
            sides[name] = partial(side, inputs, constants, *others)
        return sides

    def _tensor(self, layout, array):
        """Return an array as PyTorch is given it."""
        tensor = _shared(array)
        return layout(tensor.to(self.their_dtype) if tensor.is_floating_point() else tensor)

    def _output(self):
        """Return zeros like what both sides are to compute, for their shape and size."""
        constants = [array.copy() for array in self.constants.values()]
        with kernels.use(kernels.outline):
            return self.ours(*map(Tensor, self.inputs.values()), *constants).data

    def _shapes(self):
        return {name: array.shape for name, array in {**self.inputs, **self.constants}.items()}


def layer_cases(topic: str, name: str, build: Callable[[], Layer]) -> Iterator[Case]:
    """Yield the two cases of a layer, "forward" and "gradients"."""
    yield Case(topic, name, "forward", lambda: build().forward())
    yield Case(topic, name, "gradients", lambda: build().gradients())


def _channels_last(tensor):
    """Return images in PyTorch's second layout, and anything else as it is."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _shared(array):
    """Return a tensor of PyTorch in the memory of an array, of NumPy's or of CuPy's."""
    return torch.from_numpy(array) if isinstance(array, np.ndarray) else torch.from_dlpack(array)


def _bytes(arrays):
    return sum(array.nbytes for array in arrays.values())
