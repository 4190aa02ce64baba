"""From samples to spectra: short-time Fourier, mel, constant-Q and harmonic constant-Q.

Every transform is centred: frame i is what sounds around sample i * hop_length, with silence before
the first sample and behind the last one, so n samples have 1 + n // hop_length frames. Frequencies
come first, low to high, then frames. Dtypes are kept: float32 samples give float32 spectra.

The Fourier and mel spectrograms are those of librosa to rounding. The constant-Q transform is its
definition itself: librosa's own halves the sample rate from octave to octave and drops small
coefficients, at other places in its versions 0.11 and 1.0, so that a network would not hear the
same from both.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minicnn.axes import MelBands
from minicnn.ops import arguments

_BLOCK = 512  # frames that are transformed at once, so that long music takes little memory
_SHORT = 4096  # samples; sums over shorter windows are quicker than transforms of everything
_REACH = 128  # widths from its bin a window still hears; there it is at -136 dB


def stft(samples: np.ndarray, n_fft: int, hop_length: int, *, periodic: bool = True) -> np.ndarray:
    """Return the short-time Fourier transform under a Hann window.

    Parameters
    ----------
    samples : array of float, shape (n,)
    n_fft, hop_length : int [samples]
        How long windows are, and from frame to frame.
    periodic : bool
        Whether the window has n_fft equal steps in a period, as librosa's, or is symmetric, with
        one less, as `numpy.hanning`.

    Returns
    -------
    ndarray of complex, shape (n_fft // 2 + 1, 1 + n // hop_length)

    Raises
    ------
    TypeError, ValueError
        If samples are no floats, or have more than one axis; if a length is no whole number from 1
        on.
    """
    samples = _checked("stft", samples, n_fft=n_fft, hop_length=hop_length)
    blocks = _spectra(samples, n_fft, hop_length, periodic)
    return np.concatenate([block.T for block in blocks], axis=1)


@functools.lru_cache(maxsize=32)
def mel_filters(
    bands: MelBands, sample_rate: float, n_fft: int, kind: str = "slaney"
) -> np.ndarray:
    """Return triangular filters on the mel scale.

    Parameters
    ----------
    bands : MelBands
    sample_rate : float [Hz]
    n_fft : int [samples]
    kind : "slaney", "yaafe" or "madmom"
        "slaney": triangles over frequency whose area is 1 / Hz, as librosa's. "yaafe": flanks are
        as steep as they have bins, weights add up to 1, as in Schlüter & Grill's code. "madmom":
        corners lie on the nearest bins, each filter has one at least, and weights add up to 1.

    Returns
    -------
    ndarray of float64, shape (n_mels, n_fft // 2 + 1)
        Not writeable, since it is kept for the next call.

    Raises
    ------
    ValueError
        If there is no such kind, bands reach above half the sample rate, or some of them are
        without weights, as they are narrower than what n_fft samples tell apart.
    """
    make = arguments.choice("mel_filters", "kind", kind, _MEL_FILTERS)
    _check_rate("mel_filters", sample_rate)
    arguments.per_axis("mel_filters", "n_fft", n_fft, 1)
    corners = np.asarray(bands.corners)
    if corners[-1] > sample_rate / 2 * (1 + 1e-9):
        raise ValueError(
            f"mel_filters: bands reach up to {corners[-1]:,.0f} Hz; {sample_rate:,} Hz hold less "
            f"than {sample_rate / 2:,.0f} Hz"
        )
    filters = make(corners, np.arange(n_fft // 2 + 1) * sample_rate / n_fft)
    empty = np.count_nonzero(~filters.any(axis=1))
    if empty:
        raise ValueError(
            f"mel_filters: {empty} of {bands.n_mels} bands hold none of the bins of n_fft {n_fft}, "
            f"which are {sample_rate / n_fft:.1f} Hz apart; it takes fewer bands or a larger n_fft"
        )
    filters.flags.writeable = False
    return filters


def mel_spectrogram(
    samples: np.ndarray,
    sample_rate: float,
    n_fft: int,
    hop_length: int,
    bands: MelBands,
    *,
    power: float = 2.0,
    kind: str = "slaney",
    periodic: bool = True,
) -> np.ndarray:
    """Return what mel filters make of a spectrogram.

    Parameters
    ----------
    samples : array of float, shape (n,)
    sample_rate : float [Hz]
    n_fft, hop_length : int [samples]
    bands : MelBands
    power : float
        Of the spectrogram: 1 for magnitudes, 2 for powers.
    kind : "slaney", "yaafe" or "madmom"
        See `mel_filters`.
    periodic : bool
        See `stft`.

    Returns
    -------
    ndarray, shape (n_mels, 1 + n // hop_length)

    Raises
    ------
    TypeError, ValueError
        As `stft` and `mel_filters` do.
    """
    samples = _checked("mel_spectrogram", samples, n_fft=n_fft, hop_length=hop_length)
    filters = mel_filters(bands, sample_rate, n_fft, kind).astype(samples.dtype)
    mel = np.empty((bands.n_mels, 1 + len(samples) // hop_length), samples.dtype)
    done = 0
    for block in _spectra(samples, n_fft, hop_length, periodic):
        powers = block.real**2 + block.imag**2
        if power != 2:
            powers **= power / 2
        mel[:, done : done + len(block)] = (powers @ filters.T).T
        done += len(block)
    return mel


def constant_q(
    samples: np.ndarray,
    sample_rate: float,
    hop_length: int,
    *,
    fmin: float,
    n_bins: int,
    bins_per_octave: int,
) -> np.ndarray:
    """Return the magnitudes of the constant-Q transform.

    Bin k listens at fmin 2^(k / bins_per_octave) under a Hann window of Q periods of this
    frequency. A sinusoid of amplitude 1 has the magnitude sqrt(length of the window) / 2, as in
    librosa: noise that is white looks white. Memory grows with the samples, about 25 bytes for each
    at 60 bins per octave; cut what is hours long.

    Parameters
    ----------
    samples : array of float, shape (n,)
    sample_rate : float [Hz]
    hop_length : int [samples]
    fmin : float [Hz]
        The centre of the first bin.
    n_bins, bins_per_octave : int

    Returns
    -------
    ndarray, shape (n_bins, 1 + n // hop_length)

    Raises
    ------
    TypeError, ValueError
        As `stft` does; if a bin would listen above half the sample rate, or fmin is not above 0.

    References
    ----------
    Brown, "Calculation of a constant Q spectral transform", JASA 89, 1991. Velasco, Holighaus,
    Dörfler & Grill, "Constructing an invertible constant-Q transform with nonstationary Gabor
    frames", DAFx 2011, section 3, filter on the Fourier transform of everything, as here.
    """
    samples = _checked_for_bins(samples, sample_rate, hop_length, fmin, n_bins, bins_per_octave)
    frequencies = fmin * 2.0 ** (np.arange(n_bins) / bins_per_octave)
    return _constant_q(samples, sample_rate, hop_length, frequencies, bins_per_octave)


def harmonic_constant_q(
    samples: np.ndarray,
    sample_rate: float,
    hop_length: int,
    *,
    fmin: float,
    n_bins: int,
    bins_per_octave: int,
    harmonics: Sequence[float] = (0.5, 1, 2, 3, 4, 5),
) -> np.ndarray:
    """Return the magnitudes of one constant-Q transform for each harmonic h, from h * fmin on.

    So the h-th partials of a tone lie in the same bin of all of them.

    Parameters
    ----------
    samples : array of float, shape (n,)
    sample_rate : float [Hz]
    hop_length : int [samples]
    fmin : float [Hz]
        The centre of the first bin of harmonic 1.
    n_bins, bins_per_octave : int
    harmonics : sequence of float

    Returns
    -------
    ndarray, shape (n_harmonics, n_bins, 1 + n // hop_length)

    Raises
    ------
    TypeError, ValueError
        As `constant_q` does.

    References
    ----------
    Bittner, McFee, Salamon, Li & Bello, "Deep salience representations for F0 estimation in
    polyphonic music", ISMIR 2017, section 3.1.
    """
    samples = _checked_for_bins(samples, sample_rate, hop_length, fmin, n_bins, bins_per_octave)
    cents = 1200 * (np.log2(harmonics)[:, None] + np.arange(n_bins) / bins_per_octave)
    # Harmonics that are octaves apart share most bins: 1,260 of 2,160 in deep salience are left.
    each, place = np.unique(cents.round(6), return_inverse=True)
    frequencies = fmin * 2.0 ** (each / 1200)
    bins = _constant_q(samples, sample_rate, hop_length, frequencies, bins_per_octave)
    return bins[place.reshape(cents.shape)]


def quality(bins_per_octave: int) -> float:
    """Return Q: how many periods of its frequency the window of a constant-Q bin holds."""
    ratio = 2.0 ** (2 / bins_per_octave)
    return (ratio + 1) / (ratio - 1)


def a_weighting(frequencies) -> np.ndarray:
    """Return how much of a power the ear hears at some frequencies, 1 at 1 kHz.

    The A curve; what is more than 80 dB down is 80 dB down.

    Parameters
    ----------
    frequencies : array [Hz]

    References
    ----------
    IEC 61672-1:2013, annex E.
    """
    square = np.asarray(frequencies, np.float64) ** 2
    pole1, pole2, pole3, pole4 = 20.598997**2, 107.65265**2, 737.86223**2, 12194.217**2
    magnitude = (
        pole4
        * square**2
        / ((square + pole1) * np.sqrt((square + pole2) * (square + pole3)) * (square + pole4))
    )
    return np.maximum(10**0.2 * magnitude**2, 1e-8)


def _checked(function, samples, **lengths):
    """Return samples as an array; raise unless they are floats on one axis, and lengths whole."""
    samples = np.asarray(samples)
    if samples.dtype not in (np.float32, np.float64):
        raise TypeError(f"{function}: samples are {samples.dtype}; float32 or float64 is taken")
    if samples.ndim != 1:
        raise ValueError(f"{function}: samples have shape {samples.shape}; it takes (n,)")
    for name, value in lengths.items():
        arguments.per_axis(function, name, value, 1)
    return samples


def _checked_for_bins(samples, sample_rate, hop_length, fmin, n_bins, bins_per_octave):
    """Return samples as an array; raise unless all that a constant-Q transform takes is right."""
    _check_rate("constant_q", sample_rate)
    if not 0 < fmin < math.inf:
        raise ValueError(f"constant_q: fmin is {fmin} Hz; it must be finite and above 0")
    lengths = dict(hop_length=hop_length, n_bins=n_bins, bins_per_octave=bins_per_octave)
    return _checked("constant_q", samples, **lengths)


def _check_rate(function, sample_rate):
    if not 0 < sample_rate < math.inf:
        raise ValueError(f"{function}: sample_rate is {sample_rate}; it must be finite and above 0")


def _spectra(samples, n_fft, hop_length, periodic) -> Iterator[np.ndarray]:
    """Yield the spectra of all frames (frames, n_fft // 2 + 1), some of them at a time."""
    from scipy import fft

    # Not scipy.signal's, which takes half a second to import.
    window = np.hanning(n_fft + periodic)[:n_fft].astype(samples.dtype)
    n_frames = 1 + len(samples) // hop_length
    padded = np.pad(samples, (n_fft // 2, n_fft - n_fft // 2))
    frames = sliding_window_view(padded, n_fft)[::hop_length][:n_frames]
    for start in range(0, n_frames, _BLOCK):
        yield fft.rfft(frames[start : start + _BLOCK] * window)


def _slaney(corners, bins):
    """Return filters whose area over frequency is 1."""
    rising = (bins - corners[:-2, None]) / np.diff(corners)[:-1, None]
    falling = (corners[2:, None] - bins) / np.diff(corners)[1:, None]
    triangles = np.minimum(rising, falling).clip(0)
    return triangles * (2 / (corners[2:] - corners[:-2]))[:, None]


def _yaafe(corners, bins):
    """Return filters whose flanks are as steep as they have bins, and whose sum is 1."""
    at = np.searchsorted(bins, corners)
    filters = np.zeros((len(corners) - 2, len(bins)))
    for row, (low, _, high), (start, top, stop) in zip(
        filters, sliding_window_view(corners, 3), sliding_window_view(at, 3), strict=True
    ):
        row[start:top] = (bins[start:top] - low) / max(top - start, 1)
        row[top:stop] = (high - bins[top:stop]) / max(stop - top, 1)
        row /= row.sum() or 1
    return filters


def _madmom(corners, bins):
    """Return filters whose corners are bins, and whose sum is 1; the highest bin is in none."""
    at = np.abs(corners[:, None] - bins[:-1]).argmin(axis=1)
    filters = np.zeros((len(corners) - 2, len(bins)))
    for row, (start, top, stop) in zip(filters, sliding_window_view(at, 3), strict=True):
        if stop - start < 2:
            row[start] = 1
            continue
        row[start:top] = np.arange(top - start) / (top - start)
        row[top:stop] = 1 - np.arange(stop - top) / (stop - top)
        row /= row.sum()
    return filters


_MEL_FILTERS = {"slaney": _slaney, "yaafe": _yaafe, "madmom": _madmom}


def _constant_q(samples, sample_rate, hop_length, frequencies, bins_per_octave):
    """Return the magnitudes (frequencies, frames) under windows of Q periods, low to high."""
    periods = quality(bins_per_octave)
    highest = frequencies[-1] * (1 + 0.75 / periods)  # with half the width of a Hann window
    if highest > sample_rate / 2:
        raise ValueError(
            f"constant_q: the highest bin listens at {frequencies[-1]:,.0f} Hz and up to "
            f"{highest:,.0f} Hz; {sample_rate:,} Hz hold less than {sample_rate / 2:,.0f} Hz"
        )
    frequencies = frequencies / sample_rate
    lengths = periods / frequencies
    magnitudes = np.empty((len(frequencies), 1 + len(samples) // hop_length), samples.dtype)
    # Windows of about one length at a time: a sum takes as long for all as for the longest.
    octaves = np.floor(np.log2(lengths / _SHORT)).clip(max=0)
    for octave in np.unique(octaves):
        some = octaves == octave
        method = _under_long_windows if octave == 0 else _under_short_windows
        magnitudes[some] = method(samples, hop_length, frequencies[some], lengths[some])
    return magnitudes


def _under_short_windows(samples, hop_length, frequencies, lengths):
    """Return magnitudes, as sums over the samples under each window."""
    half = int(lengths[0] / 2)
    steps = np.arange(-half, half + 1)[:, None]
    window = (1 + np.cos(2 * np.pi * steps / lengths)) / np.sqrt(lengths)
    window[np.abs(steps) > lengths / 2] = 0
    turns = 2 * np.pi * frequencies * steps
    waves = np.hstack([window * np.cos(turns), window * np.sin(turns)]).astype(samples.dtype)
    # One more behind, for the frame around sample n.
    padded = np.pad(samples, (half, half + 1))
    frames = sliding_window_view(padded, len(steps))[::hop_length]
    magnitudes = np.empty((len(frequencies), 1 + len(samples) // hop_length), samples.dtype)
    for start in range(0, magnitudes.shape[1], _BLOCK):
        real, imaginary = np.split(frames[start : start + _BLOCK] @ waves, 2, axis=1)
        magnitudes[:, start : start + _BLOCK] = np.hypot(real, imaginary).T
    return magnitudes


def _under_long_windows(samples, hop_length, frequencies, lengths):
    """Return magnitudes, from the spectrum of everything.

    It is multiplied by that of a window, which reaches over few bins. Of the product every
    hop_length-th sample is wanted, so it is folded onto as many bins as there are frames before it
    is transformed back.
    """
    from scipy import fft

    n_frames = 1 + len(samples) // hop_length
    # As much silence as half of the longest window, or the end would be heard at the beginning.
    around = fft.next_fast_len(-(-int(len(samples) + lengths[0] / 2 + 1) // hop_length))
    n = around * hop_length
    spectrum = fft.fft(samples, n)
    magnitudes = np.empty((len(frequencies), n_frames), samples.dtype)
    for row, centre, width in zip(magnitudes, frequencies * n, n / lengths, strict=True):
        heard, first = _heard(spectrum, centre, width)
        first %= around
        turns = -(-(first + len(heard)) // around)
        folded = np.zeros(turns * around, heard.dtype)
        folded[first : first + len(heard)] = heard
        frames = fft.ifft(folded.reshape(turns, around).sum(axis=0))[:n_frames]
        row[:] = np.abs(frames) * (np.sqrt(n / width) / hop_length)
    return magnitudes


def _heard(spectrum, centre, width):
    """Return what a Hann window lets through of a spectrum, and the first bin of it.

    The window's own spectrum, x widths from the centre, is sinc(x) / (1 - x^2).
    """
    bins = np.arange(math.ceil(centre - _REACH * width), math.floor(centre + _REACH * width) + 1)
    x = (bins - centre) / width
    below = 1 - x**2
    near = np.abs(below) < 1e-6  # where both are 0 it is 1/2
    below[near] = 1
    response = np.where(near, 0.5, np.sinc(x) / below)
    heard = spectrum.take(bins, mode="wrap") * response.astype(spectrum.real.dtype)
    return heard, int(bins[0])
