"""A whole model: a module that knows the input of its paper and refuses any other."""

from __future__ import annotations

from typing import Any

from minicnn.autograd import Tensor
from minicnn.nn.module import Module


class Network(Module):
    """The base of all models of the lecture.

    Attributes
    ----------
    input_shape : tuple of int
        One sample as the paper feeds it, without the batch axis: (C, H, W) for images,
        (C, frequency, time) for spectrograms, (1, samples) for waveforms.
    smallest_shape : tuple of int or None
        Where it differs from `input_shape`, inputs may have any size from there on. None where
        every size is fixed.
    axes : tuple of Time, MelBands or ConstantQ
        What the axes after the channels measure, see `minicnn.axes`; empty for images.
    """

    input_shape: tuple[int, ...]
    smallest_shape: tuple[int, ...] | None = None
    axes: tuple[Any, ...] = ()

    def __call__(self, x, **options):
        """Check the input, then run `forward`.

        Parameters
        ----------
        x : Tensor or array, shape (N, *input_shape)

        Raises
        ------
        ValueError
            If x has another shape; the message gives the paper's.
        TypeError
            If x is not of the dtype of the weights.
        """
        return super().__call__(self.checked(x), **options)

    def checked(self, x) -> Tensor:
        """Return x as a tensor; raise unless it has the shape and the dtype that `forward` takes."""
        x = x if isinstance(x, Tensor) else Tensor(x)
        name = type(self).__name__
        smallest = self.smallest_shape or self.input_shape
        if x.ndim != len(smallest) + 1 or not all(
            extent >= least if least != paper else extent == paper
            for extent, least, paper in zip(x.shape[1:], smallest, self.input_shape, strict=True)
        ):
            raise ValueError(f"{name}: x is {x.shape}; it takes {self._takes()}")
        dtype = next(self.parameters()).dtype
        if x.dtype != dtype:
            raise TypeError(
                f"{name}: x {x.shape} is {x.dtype} and the weights are {dtype}; "
                f"it takes {self._takes()} of {dtype}"
            )
        return x

    def _takes(self):
        """Return the shape that the paper feeds, and which sizes are free."""
        letters = ("C", "H", "W") if len(self.input_shape) == 3 else ("C", "L")
        smallest = self.smallest_shape or self.input_shape
        free = [
            f"{letter} >= {least}"
            for letter, least, paper in zip(letters, smallest, self.input_shape, strict=True)
            if least != paper
        ]
        paper = f"(N, {', '.join(map(str, self.input_shape))})"
        return paper + (f", or {' and '.join(free)}" if free else "")
