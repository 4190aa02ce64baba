"""How loud a spectrogram says that something is: logarithms, as each network was trained on.

Each is called on magnitudes or powers, none below 0, and returns an array of the same shape and
dtype. The names and constants are written down in the networks' classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Log1p:
    """log(1 + c x): linear where it is quiet, logarithmic where it is loud; 0 for silence.

    Attributes
    ----------
    factor : float
        c.
    base : float
        Of the logarithm.
    """

    factor: float
    base: float = math.e

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return log(1 + c x)."""
        y = np.log1p(x * x.dtype.type(self.factor))
        return y if self.base == math.e else y / x.dtype.type(math.log(self.base))


@dataclass(frozen=True)
class LogFloor:
    """ln(max(x, floor)).

    Attributes
    ----------
    floor : float
        Below this all is silence.
    """

    floor: float

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return ln(max(x, floor))."""
        return np.log(np.maximum(x, x.dtype.type(self.floor)))


@dataclass(frozen=True)
class Decibels:
    """10 log10 of a power, or 20 log10 of a magnitude, against a reference.

    Attributes
    ----------
    power : bool
        Whether it is given powers.
    reference : float or None
        What is 0 dB, in the unit of x; None takes the largest value of each array, over all of its
        axes. (librosa 1.0 takes that of each channel by itself.)
    dynamic_range : float or None [dB]
        What is further below the loudest value becomes this far below it; None leaves all that is
        above 1e-10 as a power.
    unit : bool
        Whether to return dB / dynamic_range + 1, from 0 to 1 under the largest value as reference.
    loudest : float or None
        What counts as the largest value, in the unit of x: that of the whole, where arrays are
        parts of one. None takes that of each array.

    Raises
    ------
    ValueError
        If `unit` is asked for without a range.
    """

    power: bool = True
    reference: float | None = 1.0
    dynamic_range: float | None = 80.0
    unit: bool = False
    loudest: float | None = None

    def __post_init__(self):
        if self.unit and not self.dynamic_range:
            raise ValueError("Decibels: unit takes a dynamic_range")

    @property
    def relative(self) -> bool:
        """Whether what becomes of a value depends on the largest one of its array."""
        return self.loudest is None and (self.reference is None or self.dynamic_range is not None)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return decibels; silence is the least of them."""
        factor, floor = (10, 1e-10) if self.power else (20, 1e-5)
        loudest = x.max(initial=0) if self.loudest is None else self.loudest
        if self.reference is None and loudest <= floor:
            # Silence is its own largest value: it would be as loud as can be.
            return np.full_like(x, 0 if self.unit else -(self.dynamic_range or 0))
        reference = loudest if self.reference is None else self.reference
        y = factor * np.log10(np.maximum(x, x.dtype.type(floor)))
        y -= x.dtype.type(factor * math.log10(max(reference, floor)))
        if self.dynamic_range is not None:
            top = factor * math.log10(max(loudest, floor) / max(reference, floor))
            y = np.maximum(y, x.dtype.type(top - self.dynamic_range))
        return y / x.dtype.type(self.dynamic_range) + 1 if self.unit else y
