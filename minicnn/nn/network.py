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
    slide_hop : int or None
        From one output of `slide` to the next, in steps of the last axis; None without `slide`.
    """

    input_shape: tuple[int, ...]
    smallest_shape: tuple[int, ...] | None = None
    axes: tuple[Any, ...] = ()
    slide_hop: int | None = None

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

    def checked(self, x, *, sliding: bool = False) -> Tensor:
        """Return x as a tensor; raise as a call does unless shape and dtype are right.

        Where a model slides along time, the last axis may be longer than the paper's.
        """
        x = x if isinstance(x, Tensor) else Tensor(x)
        name = type(self).__name__
        if not hasattr(self, "input_shape"):
            raise AttributeError(f"{name}: a Network must say its input_shape")
        least = self.smallest_shape or self.input_shape
        free = [a != b for a, b in zip(least, self.input_shape, strict=True)]
        free[-1] = free[-1] or sliding
        if x.ndim != len(least) + 1 or not all(
            extent >= low if may_grow else extent == low
            for extent, low, may_grow in zip(x.shape[1:], least, free, strict=True)
        ):
            raise ValueError(f"{name}: x is {x.shape}; it takes {self._takes(least, free)}")
        weight = next(self.parameters(), x)
        if x.dtype != weight.dtype:
            raise TypeError(
                f"{name}: x is {x.shape} of {x.dtype}; its weights are {weight.dtype}, "
                f"and it takes {self._takes(least, free)} of {weight.dtype}"
            )
        return x

    def _takes(self, least, free):
        """Return the shape that the paper feeds, and from where on which sizes are free."""
        letters = ("C", "H", "W") if len(least) == 3 else ("C", "L")
        paper = f"(N, {', '.join(map(str, self.input_shape))})"
        sizes = [
            f"{letter} >= {low}"
            for letter, low, may_grow in zip(letters, least, free, strict=True)
            if may_grow
        ]
        return f"{paper}, or {' and '.join(sizes)}" if sizes else paper
