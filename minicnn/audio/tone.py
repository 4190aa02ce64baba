"""Tones out of partials, none above what the sampling rate carries.

What dies away by itself, a struck or plucked string, has partials of constant frequency: each is a
damped rotation, and a block of it follows from the block before by one factor. What is kept going,
by bow or breath, has partials at exact multiples of one phase, which may move: sin(k phase) follows
from the two before by Chebyshev's recurrence. Both take a fraction of the time of one sine a
partial and sample.
"""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from minicnn.audio.clip import Note
from minicnn.audio.instruments import INSTRUMENTS, ORGAN_PARTIALS, Timbre

HIGHEST = 0.45  # of the sampling rate: what rises within 2 ms still has no energy above 0.5
MOST = 48  # partials
HOP = 64  # samples from control point to control point
TENTH = 2 / np.pi * np.arcsin(np.sqrt(0.1))  # of the attack, when the amplitude passes a tenth
TAIL = 5.0  # times the release constant, after which nothing is left
FORTY_DECIBELS = np.log(100)
_PIECE = 64 * HOP


def sounding(note: Note, timbre: Timbre) -> float:
    """Return for how long the note of this timbre can be heard [s]: until it is 40 dB down."""
    if not INSTRUMENTS[timbre.instrument].decays:
        return note.stop - note.start
    return min(note.stop - note.start, FORTY_DECIBELS / _decay_rate(note, timbre))


def tone(note: Note, timbre: Timbre, sample_rate: int, *, rng) -> tuple[int, np.ndarray]:
    """Return one tone.

    Parameters
    ----------
    note : Note
    timbre : Timbre
    sample_rate : int [Hz]
    rng : Generator

    Returns
    -------
    first : int
        The sample of the piece that it begins with.
    samples : ndarray of float64
        With a root mean square of `note.loudness` where it is loudest.
    """
    first = int(np.ceil((note.start - TENTH * timbre["attack"]) * sample_rate))
    last = int((note.stop + TAIL * timbre["release"]) * sample_rate)
    times = np.arange(first, max(last, first + HOP)) / sample_rate
    make = _decaying if INSTRUMENTS[timbre.instrument].decays else _sustained
    return first, note.loudness * make(note, timbre, times, sample_rate, rng)


def envelope(times, note: Note, timbre: Timbre) -> np.ndarray:
    """Return how a tone rises and is released, 0 to 1, at times [s]."""
    risen, stop = np.searchsorted(times, (note.start + timbre["attack"], note.stop))
    level = np.ones(len(times))
    rise = (times[:risen] - note.start) / timbre["attack"] + TENTH
    level[:risen] = np.sin(np.pi / 2 * np.clip(rise, 0, 1)) ** 2
    since = (times[stop:] - note.stop) / timbre["release"]
    level[stop:] *= np.exp(-since) * np.clip(TAIL - since, 0, 1)  # not cut off at the last
    return level


def rotating_sum(phase, amplitudes) -> np.ndarray:
    """Return the sum of a_k(t) sin(k phase(t)).

    Parameters
    ----------
    phase : ndarray, shape (n,)
    amplitudes : ndarray, shape (ceil(n / HOP) + 1, partials)
        At every HOP samples; linear between.
    """
    ramp = np.arange(HOP) / HOP
    total = np.zeros(len(phase))
    # A piece at a time: over the whole tone, every step would wait for the memory.
    for begin in range(0, len(phase), _PIECE):
        piece = slice(begin, begin + _PIECE)
        points = amplitudes[begin // HOP : (begin + _PIECE) // HOP + 1]
        steps = np.diff(points, axis=0)
        twice = 2 * np.cos(phase[piece])
        previous, current = np.zeros(len(twice)), np.sin(phase[piece])
        for k in range(amplitudes.shape[1]):
            gain = (points[:-1, k, None] + steps[:, k, None] * ramp).ravel()[: len(twice)]
            gain *= current
            total[piece] += gain
            previous *= -1
            previous += twice * current
            previous, current = current, previous
    return total


def audible(levels) -> int:
    """Return up to which partial there is one within 70 dB of the strongest."""
    peaks = np.abs(np.atleast_2d(levels)).max(axis=0)
    return int(np.flatnonzero(peaks >= 3e-4 * peaks.max())[-1]) + 1


def control_times(times, sample_rate: int) -> np.ndarray:
    """Return the times of the control points of samples at these times."""
    return times[0] + np.arange(-(-len(times) // HOP) + 1) * HOP / sample_rate


def phase_of(frequency, sample_rate: int) -> np.ndarray:
    """Return the phase [radians] of what has this frequency [Hz] at every sample."""
    steps = (frequency[1:] + frequency[:-1]) / 2
    return 2 * np.pi / sample_rate * np.concatenate([[0.0], np.cumsum(steps)])


def count_partials(highest: float, sample_rate: int) -> int:
    """Return how many partials of a tone up to `highest` [Hz] there may be."""
    return int(np.clip(HIGHEST * sample_rate / highest, 1, MOST))


def _decay_rate(note, timbre):
    """Return how fast the fundamental falls [1/s]; short strings lose their energy faster."""
    return FORTY_DECIBELS / timbre["decay"] * np.sqrt(note.pitch / 220)


def _levels(timbre, partials):
    """Return the amplitudes of the partials before the body, without their phases."""
    levels = partials ** (timbre["slope"] / 20 / np.log10(2))
    levels = levels * np.where(partials % 2 == 0, timbre["even"], 1)
    if timbre["contact"]:
        levels = levels * np.abs(np.sin(np.pi * partials * timbre["contact"]))
    if timbre.instrument == "organ":
        levels = levels * np.isin(partials, ORGAN_PARTIALS)
    return levels


def _decaying(note, timbre, times, sample_rate, rng):
    k = np.arange(1, count_partials(note.pitch, sample_rate) + 1)
    stretched = k * np.sqrt((1 + timbre["stretch"] * k**2) / (1 + timbre["stretch"]))
    k = k[note.pitch * stretched < HIGHEST * sample_rate]
    frequencies = note.pitch * stretched[: len(k)]
    levels = _levels(timbre, k) * timbre.resonance(frequencies)
    levels = levels[: audible(levels)] / np.sqrt((levels**2).sum() / 2)
    k, frequencies = k[: len(levels)], frequencies[: len(levels)]
    rates = np.minimum(_decay_rate(note, timbre) * (1 + timbre["damping"] * (k - 1)), 80)
    phases = rng.uniform(0, 2 * np.pi, len(k))

    block = int(np.sqrt(len(times))) + 1
    exponent = (2j * np.pi * frequencies - rates) / sample_rate
    since = (times[0] - note.start) * sample_rate
    starts = since + block * np.arange(-(-len(times) // block))
    coarse = (levels * np.exp(np.outer(starts, exponent) + 1j * phases)).astype(np.complex64)
    fine = np.exp(np.outer(exponent, np.arange(block))).astype(np.complex64)
    # Not a matrix product: the last bits of those depend on how many threads there are.
    y = np.einsum("ik,kj->ij", coarse.real.copy(), fine.real.copy())
    y -= np.einsum("ik,kj->ij", coarse.imag.copy(), fine.imag.copy())
    y = y.ravel()[: len(times)].astype(np.float64)
    if swell := timbre["swell"]:
        y *= 1 + swell * np.sin(2 * np.pi * timbre["rate"] * (times - note.start))
    knocked = min(int(0.04 * sample_rate), len(times))
    y[:knocked] += _noise(knocked, 0.3, rng) * _knock(times[:knocked], note, timbre)
    if breath := timbre["breath"]:
        y += breath * _noise(len(times), 0.35, rng)
    return y * envelope(times, note, timbre)


def _sustained(note, timbre, times, sample_rate, rng):
    f0 = note.f0(times)
    k = np.arange(1, count_partials(f0.max(), sample_rate) + 1)
    at = control_times(times, sample_rate)
    levels = _levels(timbre, k) * timbre.resonance(note.f0(at)[:, None] * k)
    levels /= np.sqrt((levels**2).sum(axis=1, keepdims=True) / 2)
    k, levels = k[: audible(levels)], levels[:, : audible(levels)]
    rise = envelope(at, note, timbre)[:, None]
    levels *= rise ** (1 + timbre["bloom"] * np.log2(k))
    y = rotating_sum(phase_of(f0, sample_rate), levels)
    sound = envelope(times, note, timbre)
    swell = 1 + timbre["swell"] * np.sin(2 * np.pi * timbre["rate"] * (times - note.start))
    noise = _noise(len(times), 0.35, rng) * timbre["breath"] * sound
    return y * swell + noise


def _knock(times, note, timbre):
    """Return the amplitude of the noise that a hammer or a finger makes: of the first 10 ms."""
    since = np.maximum(times - note.start, 0)
    return 10 * timbre["knock"] * np.exp(-since / 0.003)


def _noise(n, pole, rng):
    """Return noise that falls off gently towards high frequencies, of unit variance."""
    return lfilter([np.sqrt(1 - pole**2)], [1, -pole], rng.standard_normal(n))
