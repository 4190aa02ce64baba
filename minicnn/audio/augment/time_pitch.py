"""Longer and shorter, higher and lower, earlier and later."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minicnn.audio.augment import interpolation
from minicnn.audio.augment.augmentation import (
    Augmentation,
    check_bins,
    check_framewise,
    check_range,
    check_whole,
)
from minicnn.ops import arguments


@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """A part of the input's time that begins anywhere.

    Attributes
    ----------
    length : int [frames or samples]
    framewise : tuple of int
        The parts of the sample that have a value for each frame, time last, and are cropped along.
    """

    length: int
    framewise: tuple[int, ...] = ()

    def __post_init__(self):
        arguments.per_axis("RandomCrop", "length", self.length, 1)

    def _apply(self, parts, rng):
        n = parts[0].shape[-1]
        if n < self.length:
            raise ValueError(f"RandomCrop: the input has {n} frames; {self.length} are to be kept")
        check_framewise(self, parts, self.framewise)
        start = rng.integers(n - self.length + 1)
        for i in (0, *self.framewise):
            parts[i] = parts[i][..., start : start + self.length]


@dataclass(frozen=True)
class StretchShift(Augmentation):
    """Time stretched, and pitch shifted, by resampling a spectrogram along both of its axes.

    The middle frame, n // 2, stays in the middle, so that it keeps its label. Of both factors, 1.1
    is longer and higher. As in the paper, phases are not an issue and formants move along; as in
    its code, excerpts should be longer by 1 / (1 - stretch) than the `frames` that are kept, and
    magnitudes come before mel bands and logarithm.

    Attributes
    ----------
    stretch, shift : float, in [0, 1)
        Factors are drawn evenly from 1 - stretch to 1 + stretch, and so on. The paper tried 0.1 to
        0.5; 0.3 was best for both.
    frames : int, optional
        How many are kept around the middle; by default all. The frames at the ends go on beyond
        them.
    bins : int, optional
        How many are kept, from the lowest one on; by default all.
    frequencies : sequence of float, optional [Hz]
        Of all bins, rising: those of mel bands or of a constant-Q transform. By default bins are
        evenly spaced from 0 Hz on, as in a Fourier transform.
    order : 1 or 2
        Lines between values, or parabolas, as the published code has them: smoother, less than 0
        beside steep peaks, and slower.
    fill : float or None
        What comes from beyond the lowest or the highest bin: 0, silence, for magnitudes. With None
        the bins at the ends go on, as for logarithms of mel bands.
    framewise : tuple of int
        The parts of the sample that have a label for each frame, time last. They are stretched
        along, see `interpolation.labels_at`.
    binwise : tuple of int
        The parts of floats for each frame and bin, such as the salience of pitches. They
        are stretched and shifted as the input is, with lines.
    hertz : tuple of int
        The parts that are pitches [Hz], and are shifted along.
    """

    stretch: float = 0.3
    shift: float = 0.3
    frames: int | None = None
    bins: int | None = None
    frequencies: tuple[float, ...] | None = None
    order: int = 1
    fill: float | None = 0.0
    framewise: tuple[int, ...] = ()
    binwise: tuple[int, ...] = ()
    hertz: tuple[int, ...] = ()

    def __post_init__(self):
        check_range(self, "stretch", self.stretch, 0, 0.99)
        check_range(self, "shift", self.shift, 0, 0.99)
        check_whole(self, "frames", self.frames)
        check_whole(self, "bins", self.bins)
        arguments.choice("StretchShift", "order", self.order, {1: "lines", 2: "parabolas"})
        if self.frequencies is not None:
            object.__setattr__(self, "frequencies", tuple(map(float, self.frequencies)))
            if not (np.diff(self.frequencies) > 0).all():
                raise ValueError("StretchShift: frequencies do not rise")

    def _apply(self, parts, rng):
        x = parts[0]
        if x.ndim < 2:
            raise ValueError(f"StretchShift: the input has shape {x.shape}; it takes (..., f, n)")
        check_framewise(self, parts, (*self.framewise, *self.binwise))
        self._check_binwise(parts)
        stretch, shift = 1 + rng.uniform(-1, 1, 2) * (self.stretch, self.shift)
        times = self._times(x.shape[-1], stretch)
        bins = self._bins(x, shift)
        for i in (0, *self.binwise):
            order = 1 if i else self.order
            moved = interpolation.at(parts[i], times, order=order)
            parts[i] = interpolation.at(moved, bins, axis=-2, order=order, fill=self.fill)
        for i in self.framewise:
            parts[i] = interpolation.labels_at(parts[i], times)
        for i in self.hertz:
            parts[i] = parts[i] * shift

    def _check_binwise(self, parts):
        n = parts[0].shape[-2]
        for i in self.binwise:
            if parts[i].shape[-2:-1] != (n,):
                raise ValueError(
                    f"StretchShift: part {i} of the sample has shape {parts[i].shape}; it is "
                    f"binwise, and the input has {n} bins"
                )
            if parts[i].dtype not in (np.float32, np.float64):
                raise TypeError(
                    f"StretchShift: part {i} of the sample is {parts[i].dtype}; what is between "
                    "bins takes float32 or float64"
                )

    def _times(self, n, stretch):
        """Return where each new frame is among the old ones."""
        kept = n if self.frames is None else self.frames
        return n // 2 + (np.arange(kept) - kept // 2) / stretch

    def _bins(self, x, shift):
        """Return where each new bin is among the old ones; -1 or the number of bins is nowhere."""
        n = x.shape[-2]
        kept = n if self.bins is None else self.bins
        if self.frequencies is None:
            return np.arange(kept) / shift
        check_bins(self, x, self.frequencies)
        hertz = np.asarray(self.frequencies)
        return np.interp(hertz[:kept] / shift, hertz, np.arange(n), left=-1, right=n)


@dataclass(frozen=True)
class WaveformStretch(Augmentation):
    """A waveform, longer or shorter at the same pitch, through `librosa.effects.time_stretch`.

    The middle sample, n // 2, stays in the middle.

    Attributes
    ----------
    stretch : float, in [0, 1)
        Factors are drawn evenly from 1 - stretch to 1 + stretch; 1.1 is longer.
    length : int, optional [samples]
        How many are kept around the middle; by default as many as there were. Beyond the ends is
        silence.
    n_fft : int [samples]
        The windows of the phase vocoder.
    """

    stretch: float = 0.3
    length: int | None = None
    n_fft: int = 2048

    def __post_init__(self):
        check_range(self, "stretch", self.stretch, 0, 0.99)
        check_whole(self, "length", self.length)
        check_whole(self, "n_fft", self.n_fft)

    def _apply(self, parts, rng):
        x = parts[0]
        effects = _effects(self, x)
        stretch = 1 + rng.uniform(-1, 1) * self.stretch
        stretched = effects.time_stretch(x, rate=1 / stretch, n_fft=self.n_fft)
        kept = x.shape[-1] if self.length is None else self.length
        start = round(x.shape[-1] // 2 * stretch) - kept // 2
        before, after = max(-start, 0), max(start + kept - stretched.shape[-1], 0)
        sides = [(0, 0)] * (x.ndim - 1) + [(before, after)]
        start += before
        parts[0] = np.pad(stretched, sides)[..., start : start + kept].astype(x.dtype)


@dataclass(frozen=True)
class WaveformShift(Augmentation):
    """A waveform, higher or lower at the same length, through `librosa.effects.pitch_shift`.

    Attributes
    ----------
    sample_rate : float [Hz]
    semitones : float
        Intervals are drawn evenly from -semitones to semitones; 2 in CREPE's training script.
    n_fft : int [samples]
        The windows of the phase vocoder.
    hertz : tuple of int
        The parts of the sample that are pitches [Hz], and are shifted along.
    """

    sample_rate: float
    semitones: float = 2.0
    n_fft: int = 2048
    hertz: tuple[int, ...] = ()

    def __post_init__(self):
        check_range(self, "semitones", self.semitones, 0, 48)
        check_whole(self, "n_fft", self.n_fft)

    def _apply(self, parts, rng):
        x = parts[0]
        effects = _effects(self, x)
        steps = rng.uniform(-self.semitones, self.semitones)
        shifted = effects.pitch_shift(x, sr=self.sample_rate, n_steps=steps, n_fft=self.n_fft)
        parts[0] = shifted.astype(x.dtype, copy=False)
        for i in self.hertz:
            parts[i] = parts[i] * 2 ** (steps / 12)


def _effects(owner, x):
    """Return librosa's effects; raise where it is missing, or would see less than one window."""
    name = type(owner).__name__
    if x.shape[-1] < owner.n_fft:
        raise ValueError(
            f"{name}: the input has {x.shape[-1]} samples; a window has n_fft = {owner.n_fft}"
        )
    try:
        from librosa import effects
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{name}: needs librosa, which is not installed: pip install "minicnn[audio]"'
        ) from error
    return effects
