"""What an augmentation is, and how several become one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.ops import arguments
from minicnn.rng import generator


class Augmentation:
    """The base of all: subclasses define `_apply`, which changes a list of parts."""

    def __call__(self, *sample, rng=None):
        """Return the sample changed.

        Parameters
        ----------
        *sample : arrays or numbers
            The input first, then any targets.
        rng : int, Generator or None
            The seed, or where it is drawn from.

        Returns
        -------
        array, or tuple of arrays
            As many as there were.

        Raises
        ------
        TypeError
            If the input is not of float32 or float64.
        ValueError
            If it is too small for what is to be done.
        """
        parts = [np.asarray(part) for part in sample]
        if parts[0].dtype not in (np.float32, np.float64):
            raise TypeError(
                f"{type(self).__name__}: the input is {parts[0].dtype}; it takes float32 or float64"
            )
        self._apply(parts, generator(rng))
        return tuple(parts) if len(parts) > 1 else parts[0]

    def batch(self, *samples, rng=None):
        """Return stacked samples, each changed on its own.

        Parameters
        ----------
        *samples : arrays, shape (N, ...)
            The inputs, then any targets.
        rng : int, Generator, None, or a sequence of N of these
            One seed for each sample, or one that they are drawn from.

        Returns
        -------
        array, or tuple of arrays
            As many as there were: row i is what a call with sample i and its seed returns.

        Raises
        ------
        ValueError
            If there are not as many samples in every array, and as many seeds.
        """
        counts = [len(part) for part in samples]
        if not isinstance(rng, (list, tuple, np.ndarray)):
            rng = generator(rng).integers(2**63, size=counts[0])
        if len({*counts, len(rng)}) > 1:
            raise ValueError(
                f"{type(self).__name__}: there are {len(rng)} seeds for arrays of lengths {counts}"
            )
        if not counts[0]:
            raise ValueError(f"{type(self).__name__}: the batch is empty")
        done = [self(*sample, rng=seed) for *sample, seed in zip(*samples, rng, strict=True)]
        if len(samples) == 1:
            return np.stack(done)
        return tuple(np.stack(part) for part in zip(*done, strict=True))

    def _apply(self, parts: list[Any], rng: np.random.Generator) -> None:
        raise NotImplementedError(f"{type(self).__name__} defines no _apply")


class Compose(Augmentation):
    """One augmentation after the other.

    Parameters
    ----------
    *steps : Augmentation
    """

    def __init__(self, *steps: Augmentation):
        self.steps = steps

    def __repr__(self):
        return f"Compose({', '.join(map(repr, self.steps))})"

    def _apply(self, parts, rng):
        for step in self.steps:
            step._apply(parts, rng)


@dataclass(frozen=True)
class Sometimes(Augmentation):
    """An augmentation that is done with some probability.

    Attributes
    ----------
    step : Augmentation
    p : float, in [0, 1]
    """

    step: Augmentation
    p: float = 0.5

    def __post_init__(self):
        check_range(self, "p", self.p, 0, 1)

    def _apply(self, parts, rng):
        if rng.random() < self.p:
            self.step._apply(parts, rng)


@dataclass(frozen=True)
class Apply(Augmentation):
    """A function of one part, with nothing random in it: a filterbank, a logarithm, a target.

    Attributes
    ----------
    function : callable
        Takes the part, and returns what takes its place. Workers need one that can be pickled.
    part : int
        0 for the input, 1 for the first target, ...
    """

    function: Callable
    part: int = 0

    def _apply(self, parts, rng):
        parts[self.part] = np.asarray(self.function(parts[self.part]))


def check_range(
    owner: Any, name: str, value: Any, low: float, high: float, shapes: tuple = ((),)
) -> None:
    """Raise unless a number, shape (), or both ends of a range, shape (2,), lie within others."""
    ends = np.asarray(value, float)
    if ends.shape not in shapes:
        takes = " or ".join("a number" if shape == () else "two numbers" for shape in shapes)
        raise ValueError(f"{type(owner).__name__}: {name} is {value}; it takes {takes}")
    ends = np.atleast_1d(ends)
    if not (np.diff(ends) >= 0).all() or not ((ends >= low) & (ends <= high)).all():
        where = f"from {low:g} to {high:g}" if np.isfinite(high) else f"{low:g} or more"
        raise ValueError(f"{type(owner).__name__}: {name} is {value}; it is {where}")


def check_whole(owner: Any, name: str, value: Any) -> None:
    """Raise unless a value is None or a whole number from 1 on."""
    if value is not None:
        arguments.per_axis(type(owner).__name__, name, value, 1)


def check_framewise(owner: Any, parts: list[Any], framewise: tuple[int, ...]) -> None:
    """Raise unless these parts have as many frames as the input."""
    n = parts[0].shape[-1]
    for i in framewise:
        if i >= len(parts) or parts[i].shape[-1:] != (n,):
            found = f"has shape {parts[i].shape}" if i < len(parts) else "is not there"
            raise ValueError(
                f"{type(owner).__name__}: part {i} of the sample {found}; "
                f"it is framewise, and the input has {n} frames"
            )


def check_bins(owner: Any, x: Any, frequencies: tuple[float, ...]) -> None:
    """Raise unless a spectrogram has as many bins as there are frequencies."""
    if x.ndim < 2 or x.shape[-2] != len(frequencies):
        raise ValueError(
            f"{type(owner).__name__}: the input has shape {x.shape}; "
            f"there are {len(frequencies)} frequencies, so it takes (..., {len(frequencies)}, n)"
        )
