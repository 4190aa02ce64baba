"""From samples to what a network takes: the front end that its class writes down.

A front end does two things. `transform` turns any stretch of samples into a waveform or a
spectrogram as long as the stretch; `windows` cuts that into the inputs of the network. Between the
two is where features are kept (`minicnn.audio.cache`) or augmented.

What a paper scales by figures of its training set stays with the caller, who has that set: the
onset and the voice network see each band at mean 0 and variance 1, the spiral networks see 0 to 1.
`FolderFeatures.statistics` has these figures.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minicnn import axes, mistake
from minicnn.audio import sound, spectral

VERSION = 1  # another one whenever the same samples have other features; kept features go by it


@dataclass(frozen=True)
class FrontEnd:
    """What all front ends have: the length of the network's input, and how it is cut.

    Three kinds of networks take their music in three ways.

    - One that answers for the middle of its window (onsets, voice, pitch) gets a window around
      every frame, the first and the last included.
    - One whose input has one length (taggers, SampleCNN, the spiral) gets windows side by side;
      what is left at the end is left out, as in the papers.
    - One that takes any length (FCN, the recommender, deep salience) gets all at once.

    Music that is shorter than the network takes is followed by silence.

    Attributes
    ----------
    sample_rate : float [Hz]
    hop_length : int [samples]
        From frame to frame of `transform`; 1 for a waveform.
    length : int [frames]
        Of a window, or the least length where all is taken at once.
    step : int or None [frames]
        From window to window; None where all is taken at once.
    before : int [frames]
        How far a window begins before the frame that it is for.
    edges : "silent" or "repeated"
        What windows see beyond the music: silence, or the first and the last frame again.

    Notes
    -----
    A frozen dataclass: `dataclasses.replace(front_end, step=1)` is another front end.
    """

    sample_rate: float
    hop_length: int
    length: int
    step: int | None
    before: int
    edges: str

    @classmethod
    def of(cls, model: Any) -> FrontEnd:
        """Return the front end of a network, from the constants of its class.

        Parameters
        ----------
        model : Network
            Its `axes` say what it takes: samples, mel bands or constant-Q bins. Also a front end,
            which is returned.

        Raises
        ------
        TypeError
            If it takes no sound.
        """
        if isinstance(model, FrontEnd):
            return model
        first = next(iter(getattr(model, "axes", ())), None)
        if type(first) not in _KINDS or not hasattr(model, "input_shape"):
            name = model.__name__ if isinstance(model, type) else type(model).__name__
            built = "; a model is taken, as calling it returns one" if callable(model) else ""
            raise TypeError(f"FrontEnd.of: {name} takes no sound{built}")
        return _KINDS[type(first)]._of(model)

    @classmethod
    def _of(cls, model) -> FrontEnd:
        raise NotImplementedError

    def transform(self, samples: np.ndarray) -> np.ndarray:
        """Return the waveform or spectrogram of samples at the right rate.

        Parameters
        ----------
        samples : array of float, shape (n,)
            Any number of them, one at least.

        Returns
        -------
        ndarray of float32, shape (C, n) or (C, F, 1 + n // hop_length)
            Frame i is what sounds around sample i * hop_length.

        Raises
        ------
        ValueError, TypeError
            If samples are not one channel of finite floats.
        """
        raise NotImplementedError

    @property
    def silence(self) -> float:
        """What `transform` makes of silence."""
        raise NotImplementedError

    def windows(self, transformed: np.ndarray) -> np.ndarray:
        """Cut what `transform` returned into inputs of the network.

        Parameters
        ----------
        transformed : array, shape (C, [F,] T)

        Returns
        -------
        ndarray, shape (N, C, [F,] length), or (1, C, [F,] T) where all is taken at once
            Where nothing has to be computed this is a view that must not be written to.

        Raises
        ------
        ValueError
            If it is shorter than one window that has to lie inside of it.
        """
        if self.step is None or not self.before:
            self._check_length(transformed)
        if self.step is None:
            return transformed[None]
        around = self.surrounded(transformed)
        views = sliding_window_view(around, self.length, axis=-1)[..., :: self.step, :]
        return self._finished(np.moveaxis(views, -2, 0))

    def surrounded(self, transformed: np.ndarray) -> np.ndarray:
        """Return all that `windows` see of what `transform` returned, in one piece.

        Parameters
        ----------
        transformed : array, shape (C, [F,] T)

        Returns
        -------
        ndarray, shape (C, [F,] T')
        """
        if not self.before:
            return transformed
        last = self._last_middle(transformed.shape[-1])
        behind = last + self.length - self.before - transformed.shape[-1]
        return self.extended(transformed, self.before, behind)

    def extended(self, transformed: np.ndarray, before: int, after: int) -> np.ndarray:
        """Return what `transform` returned, with what windows see beyond the music around it.

        Parameters
        ----------
        transformed : array, shape (C, [F,] T)
        before, after : int [frames]

        Returns
        -------
        ndarray, shape (C, [F,] before + T + after)
        """
        around = [(0, 0)] * (transformed.ndim - 1) + [(before, after)]
        if self.edges == "repeated":
            return np.pad(transformed, around, mode="edge")
        return np.pad(transformed, around, constant_values=self.silence)

    def window(self, transformed: np.ndarray, index: int) -> np.ndarray:
        """Return one of `windows`, without the others.

        Parameters
        ----------
        transformed : array, shape (C, [F,] T)
            May be a file that is mapped into memory: only this window is read.
        index : int
            As of any sequence: -1 is the last one.

        Returns
        -------
        ndarray, shape (C, [F,] length), or (C, [F,] T) where all is taken at once

        Raises
        ------
        IndexError
            If there are not so many.
        """
        places = self._places(transformed.shape[-1])
        if not -len(places) <= index < len(places):
            raise IndexError(f"window: index is {index}; there are {len(places)} windows")
        if self.step is None:
            return np.asarray(transformed)
        start = places[index] - self.before
        part = np.asarray(transformed[..., max(start, 0) : start + self.length])
        missing = self.length - part.shape[-1]
        if missing:  # most windows lie inside
            ahead = max(-start, 0)
            part = self.extended(part, ahead, missing - ahead)
        return self._finished(part)

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Return what the network takes of samples at the right rate: all windows of them.

        Raises
        ------
        ValueError, TypeError
            If samples are not one channel of finite floats.
        """
        return self.windows(self.transform(self.lengthened(samples)))

    def lengthened(self, samples: np.ndarray) -> np.ndarray:
        """Return samples with as much silence behind as the network needs, if any."""
        wanted = 1 if self.before else self.samples_of(self.length)
        samples = sound.checked(samples)
        return np.pad(samples, (0, max(wanted - len(samples), 0)))

    def frame_times(self, n_frames: int) -> np.ndarray:
        """Return when the first frames of `transform` are, or its first samples: their middle [s].

        Returns
        -------
        ndarray, shape (n_frames,)
        """
        return np.arange(n_frames) * (self.hop_length / self.sample_rate)

    def window_times(self, n_frames: int) -> np.ndarray:
        """Return when the windows of so many frames are: their middle [s].

        That is the frame that a window was cut around, if it was.

        Parameters
        ----------
        n_frames : int
            The length T of what `transform` returned.

        Returns
        -------
        ndarray, shape (N,)
        """
        if self.step is None:
            return np.array([n_frames // 2]) * (self.hop_length / self.sample_rate)
        middle = np.arange(len(self._places(n_frames))) * self.step
        if not self.before:
            middle += self.length // 2
        return middle * (self.hop_length / self.sample_rate)

    def samples_of(self, n_frames: int) -> int:
        """Return of how many samples `transform` makes so many frames."""
        return n_frames if self.hop_length == 1 else (n_frames - 1) * self.hop_length

    @property
    def reach(self) -> int:
        """How far to either side of a frame `transform` hears [samples]."""
        raise NotImplementedError

    @property
    def frame_rate(self) -> float:
        """Frames of `transform` per second, or its samples."""
        return self.sample_rate / self.hop_length

    def _finished(self, windows):
        """Return windows as the network takes them."""
        return windows

    def _places(self, n_frames):
        """Return the frames that windows are cut around, or where they begin."""
        if self.step is None:
            return range(1)
        if self.before:
            return range(0, self._last_middle(n_frames) + 1, self.step)
        return range(0, max(n_frames - self.length + 1, 0), self.step)

    def _last_middle(self, n_frames):
        """Return up to where there are windows: of n samples as of spectrograms 1 + n // step."""
        return n_frames if self.hop_length == 1 else n_frames - 1

    def _check_length(self, transformed):
        if transformed.shape[-1] < self.length:
            raise ValueError(
                f"windows: {transformed.shape[-1]:,} frames are shorter than a window of "
                f"{self.length:,}: lengthen the samples"
            )


@dataclass(frozen=True)
class Waveform(FrontEnd):
    """Samples, as SampleCNN takes them, or normalised windows of them, as CREPE does.

    Attributes
    ----------
    normalised : bool
        Whether each window is shifted and scaled to mean 0 and variance 1; silence stays 0.
    """

    normalised: bool = False

    @classmethod
    def _of(cls, model):
        length = model.input_shape[-1]
        step = getattr(model, "hop_length", length)
        return cls(
            model.sample_rate,
            hop_length=1,
            length=length,
            step=step,
            before=0 if step == length else length // 2,
            edges="silent",
            normalised=model.normalised,
        )

    silence = 0.0
    reach = 0

    def transform(self, samples):
        """Return samples as they are, with a channel axis."""
        return sound.checked(samples).astype(np.float32, copy=False)[None]

    def _finished(self, windows):
        if not self.normalised:
            return windows
        centred = windows - windows.mean(axis=-1, keepdims=True)
        deviation = centred.std(axis=-1, keepdims=True)
        # As in CREPE's published code, where what is below counts as silence.
        return centred / np.maximum(deviation, np.float32(1e-8))


@dataclass(frozen=True)
class Mel(FrontEnd):
    """Mel spectrograms under one or more windows, which are the channels.

    Attributes
    ----------
    n_ffts : tuple of int [samples]
    bands : MelBands
    kind : "slaney", "yaafe" or "madmom"
        Of the filters, see `spectral.mel_filters`.
    power : float
    periodic : bool
        Whether windows are periodic or symmetric, see `spectral.stft`.
    compression : callable
        See `minicnn.audio.compression`.
    """

    n_ffts: tuple[int, ...]
    bands: axes.MelBands
    kind: str
    power: float
    periodic: bool
    compression: Any

    @classmethod
    def _of(cls, model):
        return cls(
            **_cut(model),
            n_ffts=getattr(model, "n_ffts", None) or (model.n_fft,),
            bands=model.axes[0],
            kind=model.mel_filters,
            power=model.power,
            periodic=model.periodic_window,
            compression=model.compression,
        )

    @property
    def silence(self):
        """What the compression makes of 0."""
        return self.compression(np.zeros(1, np.float32))[0]

    @property
    def reach(self):
        """Half of the longest window."""
        return max(self.n_ffts) // 2

    def transform(self, samples):
        """Return the mel spectrograms of samples (C, n_mels, T)."""
        samples = sound.checked(samples).astype(np.float32, copy=False)
        mels = [
            spectral.mel_spectrogram(
                samples,
                self.sample_rate,
                n_fft,
                self.hop_length,
                self.bands,
                power=self.power,
                kind=self.kind,
                periodic=self.periodic,
            )
            for n_fft in self.n_ffts
        ]
        return self.compression(np.stack(mels))


@dataclass(frozen=True)
class ConstantQ(FrontEnd):
    """Constant-Q transforms of one or more harmonics, which are the channels.

    Attributes
    ----------
    bins : axes.ConstantQ
    harmonics : tuple of float
    weighting : "A" or None
        Whether magnitudes are multiplied by the A-weighting of their frequency, as a power.
    compression : callable
        See `minicnn.audio.compression`.
    """

    bins: axes.ConstantQ
    harmonics: tuple[float, ...]
    weighting: str | None
    compression: Any

    @classmethod
    def _of(cls, model):
        return cls(
            **_cut(model),
            bins=model.axes[0],
            harmonics=getattr(model, "harmonics", (1,)),
            weighting=model.weighting,
            compression=model.compression,
        )

    @property
    def silence(self):
        """What the compression makes of 0."""
        return self.compression(np.zeros(1, np.float32))[0]

    @property
    def reach(self):
        """Half of the longest window, that of the lowest bin."""
        lowest = self.bins.fmin * min(self.harmonics)
        periods = spectral.quality(self.bins.bins_per_octave)
        return math.floor(periods * self.sample_rate / lowest / 2)

    def transform(self, samples):
        """Return the constant-Q transforms of samples (C, n_bins, T)."""
        bins = spectral.harmonic_constant_q(
            sound.checked(samples).astype(np.float32, copy=False),
            self.sample_rate,
            self.hop_length,
            fmin=self.bins.fmin,
            n_bins=self.bins.n_bins,
            bins_per_octave=self.bins.bins_per_octave,
            harmonics=self.harmonics,
        )
        if self.weighting == "A":
            steps = np.arange(self.bins.n_bins) / self.bins.bins_per_octave
            bins *= spectral.a_weighting(self.bins.fmin * 2**steps).astype(np.float32)[:, None]
        return self.compression(bins)


def features(
    model: Any, sound_or_path: np.ndarray | str | os.PathLike, sample_rate: float | None = None
) -> np.ndarray:
    """Return the inputs of a network for a sound, batch axis included.

    Parameters
    ----------
    model : Network or FrontEnd
        One of the networks for sound. What it takes is read from its class, see `FrontEnd`.
    sound_or_path : array of float, shape (n,), or path-like
        Samples of one channel, or a sound file.
    sample_rate : float [Hz]
        That of the samples. A file says its own. Either is resampled to the network's.

    Returns
    -------
    ndarray of float32, shape (N, *input_shape)
        For how long a sound is, and how it is cut, see `FrontEnd`.

    Raises
    ------
    FileNotFoundError, ValueError, TypeError
        If the file or the samples cannot be used, or the network takes no sound.

    Examples
    --------
    >>> model = models.crepe("tiny")
    >>> audio.features(model, samples, 44_100).shape
    (301, 1, 1024)
    """
    front_end = FrontEnd.of(model)
    if isinstance(sound_or_path, (str, os.PathLike)):
        if sample_rate is not None:
            raise ValueError("features: a file has a sample_rate of its own; leave it out")
        samples, _ = sound.load(sound_or_path, front_end.sample_rate)
    elif sample_rate is None:
        raise ValueError("features: samples need a sample_rate")
    else:
        if 0 < sample_rate < 1000:
            mistake.likely(
                f"features: sample_rate is {sample_rate:g} Hz, where no music is left; it takes "
                "Hz, not kHz"
            )
        samples = sound.resample(sound.checked(sound_or_path), sample_rate, front_end.sample_rate)
    return front_end(samples)


def _cut(model):
    """Return how a spectrogram is cut for a network: the first attributes of `FrontEnd`."""
    time = model.axes[-1]
    length, step, before = model.input_shape[-1], model.input_shape[-1], 0
    if model.smallest_shape is not None:
        length, step = model.smallest_shape[-1], None
    elif model.slide_hop == 1:
        step, before = 1, length // 2
    return dict(
        sample_rate=time.sample_rate,
        hop_length=time.hop_length,
        length=length,
        step=step,
        before=before,
        edges=getattr(model, "edges", "silent"),
    )


_KINDS: dict[type, type[FrontEnd]] = {
    axes.Time: Waveform,
    axes.MelBands: Mel,
    axes.ConstantQ: ConstantQ,
}
