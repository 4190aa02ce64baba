"""What the axes of a network's input measure: time, mel bands, or constant-Q bins.

A network for sound says so with one of these per axis after the channels. From it follows what a
receptive field of so many samples, frames or bins is in milliseconds, hertz or cents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

# Receptive fields, strides and their sizes are whole numbers, or fractions after upsampling.
Number = float | Fraction


@dataclass(frozen=True)
class Time:
    """Samples of a waveform, or frames of a spectrogram.

    Attributes
    ----------
    sample_rate : float [Hz]
    hop_length : int [samples]
        From frame to frame; 1 for a waveform.
    """

    sample_rate: float
    hop_length: int = 1

    def milliseconds(self, steps: Number) -> float:
        """Return how long so many steps are; the window of a frame itself is not counted [ms]."""
        return float(1000 * steps * self.hop_length / self.sample_rate)

    def span(self, steps: Number) -> str:
        """Return the same as text, to three digits: "11.6 ms"."""
        return f"{_three_digits(self.milliseconds(steps))} ms"


@dataclass(frozen=True)
class MelBands:
    """Triangular filters, spaced evenly on the mel scale.

    Attributes
    ----------
    n_mels : int
    fmin, fmax : float [Hz]
        Where the first filter begins and the last one ends.
    htk : bool
        Whether a mel is 1127 ln(1 + f / 700), or Slaney's: linear to 1 kHz, logarithmic above.

    References
    ----------
    Slaney, "Auditory toolbox", 1998; Young et al., "The HTK book", section 5.4.
    """

    n_mels: int
    fmin: float
    fmax: float
    htk: bool = False

    @property
    def corners(self) -> tuple[float, ...]:
        """The n_mels + 2 corners: filter i rises from i to i + 1, and falls to i + 2 [Hz]."""
        return tuple(self._edge(i) for i in range(self.n_mels + 2))

    def width(self, bands: Number, first: Number) -> float:
        """Return what so many bands from the first one on cover, from foot to foot [Hz]."""
        last = min(first + bands, self.n_mels) + 1
        return self._edge(last) - self._edge(first)

    def span(self, bands: Number) -> str:
        """Return the width of at most all bands, from the lowest place to the highest, as text.

        Towards the top they are wider: "94.8 to 1,003 Hz".
        """
        bands = min(bands, self.n_mels)
        places = self.width(bands, 0), self.width(bands, self.n_mels - bands)
        return f"{' to '.join(dict.fromkeys(map(_three_digits, places)))} Hz"

    def _edge(self, i):
        """Return the i-th of n_mels + 2 frequencies: filter i runs from i over i + 1 to i + 2."""
        low, high = self._mel(self.fmin), self._mel(self.fmax)
        return self._hertz(low + i * (high - low) / (self.n_mels + 1))

    def _mel(self, hertz):
        if self.htk:
            return 1127 * math.log1p(hertz / 700)
        return 3 * hertz / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)

    def _hertz(self, mel):
        if self.htk:
            return 700 * math.expm1(mel / 1127)
        return 200 * mel / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


@dataclass(frozen=True)
class ConstantQ:
    """Bins of a constant-Q transform, evenly spaced in pitch.

    Attributes
    ----------
    n_bins : int
    bins_per_octave : int
    fmin : float [Hz]
        The centre of the first bin.
    """

    n_bins: int
    bins_per_octave: int
    fmin: float

    def cents(self, bins: Number) -> float:
        """Return the interval from the lower edge of so many bins to the upper edge [cents]."""
        return float(1200 * bins / self.bins_per_octave)

    def span(self, bins: Number) -> str:
        """Return the same as text, to three digits, for at most all bins: "100 cents"."""
        return f"{_three_digits(self.cents(min(bins, self.n_bins)))} cents"


def _three_digits(number):
    """Return a number with three digits, or with all before the point where these are more."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"
