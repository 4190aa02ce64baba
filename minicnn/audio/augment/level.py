"""Louder and softer, all of it or some frequencies; noise; values that are missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minicnn.audio.augment.augmentation import Augmentation, check_bins, check_range
from minicnn.ops import arguments


@dataclass(frozen=True)
class GaussianNoise(Augmentation):
    """Normal noise, added to every value.

    Attributes
    ----------
    deviation : float, or (float, float)
        In the units of the input; of a range, every sample draws its own. CREPE's training script
        draws from (0, 0.1) for frames of variance 1; what the paper tried is not in its code.
    """

    deviation: float | tuple[float, float] = 0.1

    def __post_init__(self):
        check_range(self, "deviation", self.deviation, 0, np.inf, shapes=((), (2,)))

    def _apply(self, parts, rng):
        x = parts[0]
        deviation = rng.uniform(*np.broadcast_to(self.deviation, 2))
        noise = rng.standard_normal(x.shape, x.dtype)
        noise *= deviation
        noise += x
        parts[0] = noise


@dataclass(frozen=True)
class InputDropout(Augmentation):
    """Values of the input, set to 0.

    The others grow by 1 / (1 - p), as behind `nn.Dropout`.

    Attributes
    ----------
    p : float, in [0, 1)
        The probability of each value. The paper tried 0.05, 0.1 and 0.2.
    """

    p: float = 0.1

    def __post_init__(self):
        if not 0 <= self.p < 1:
            raise ValueError(f"InputDropout: p is {self.p}; it lies in [0, 1)")

    def _apply(self, parts, rng):
        x = parts[0]
        kept = rng.random(x.shape, np.float32) >= self.p
        parts[0] = np.multiply(x, kept * x.dtype.type(1 / (1 - self.p)), dtype=x.dtype)


@dataclass(frozen=True)
class Loudness(Augmentation):
    """A gain that all of the input shares.

    Attributes
    ----------
    decibels : float
        Gains are drawn evenly from -decibels to decibels. The paper tried 5, 10 and 20.
    scale : "magnitude", "power", "log" or "decibels"
        What values are: amplitudes, also those of a waveform, and powers are multiplied; to natural
        logarithms of amplitudes, and to decibels, it is added.
    """

    decibels: float = 10.0
    scale: str = "magnitude"

    def __post_init__(self):
        _check_gain(self)

    def _apply(self, parts, rng):
        gain = rng.uniform(-self.decibels, self.decibels)
        parts[0] = _amplified(parts[0], gain, self.scale)


@dataclass(frozen=True)
class RandomFilter(Augmentation):
    """A filter of one random bump or notch, the same in all frames.

    Its gain over frequency is a Gaussian. The centre is drawn evenly in pitch, the gain there in
    decibels, and the width in semitones: the deviation [Hz] leads from the centre to so many
    semitones above. The published code draws the width from a normal distribution, around 5 with a
    deviation of 2; here it is the range that paper and code speak of.

    Attributes
    ----------
    frequencies : sequence of float [Hz]
        Of all bins or bands; as `frequencies` of `StretchShift`.
    decibels : float
        Gains at the centre are drawn evenly from -decibels to decibels.
    centres : (float, float) [Hz]
    widths : (float, float) [semitones]
    scale : "magnitude", "power", "log" or "decibels"
        See `Loudness`.
    """

    frequencies: tuple[float, ...]
    decibels: float = 10.0
    centres: tuple[float, float] = (150.0, 8000.0)
    widths: tuple[float, float] = (5.0, 7.0)
    scale: str = "log"

    def __post_init__(self):
        _check_gain(self)
        check_range(self, "centres", self.centres, 1, np.inf, shapes=((2,),))
        check_range(self, "widths", self.widths, 0.01, np.inf, shapes=((2,),))
        object.__setattr__(self, "frequencies", tuple(map(float, self.frequencies)))

    def _apply(self, parts, rng):
        x = parts[0]
        check_bins(self, x, self.frequencies)
        centre = np.exp(rng.uniform(*np.log(self.centres)))
        deviation = centre * (2 ** (rng.uniform(*self.widths) / 12) - 1)
        gain = rng.uniform(-self.decibels, self.decibels)
        distance = (np.asarray(self.frequencies) - centre) / deviation
        gains = gain * np.exp(-(distance**2) / 2)
        parts[0] = _amplified(x, gains[:, None].astype(x.dtype), self.scale)


# What a gain of so many decibels is on each scale: a factor, or what is added.
_FACTORS = {"magnitude": 20, "power": 10}
_TERMS = {"log": np.log(10) / 20, "decibels": 1.0}


def _check_gain(owner):
    check_range(owner, "decibels", owner.decibels, 0, np.inf)
    arguments.choice(type(owner).__name__, "scale", owner.scale, _FACTORS | _TERMS)


def _amplified(x, decibels, scale):
    """Return x with a gain, a number or one that is spread over x."""
    if scale in _FACTORS:
        return np.multiply(x, 10 ** (decibels / _FACTORS[scale]), dtype=x.dtype)
    return np.add(x, decibels * _TERMS[scale], dtype=x.dtype)
