"""A singing voice: a glottis that is rich in partials, and a throat that shapes them to vowels.

The formants stay where they are while the pitch moves below them. That, the vowels that change, the
breath, and a pitch that glides from note to note, are what tells it from a violin.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.signal import butter, sosfilt

from minicnn.audio.clip import Note
from minicnn.audio.instruments import Timbre
from minicnn.audio.tone import (
    TAIL,
    TENTH,
    audible,
    control_times,
    count_partials,
    envelope,
    phase_of,
    rotating_sum,
)

# The first three formants [Hz]: means over men in Peterson & Barney, "Control methods used in a
# study of the vowels", JASA 24, 1952, table II. Those above hardly depend on the vowel.
VOWELS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
_HIGHER = (3300, 4200)
_BANDWIDTHS = np.array([80, 100, 130, 170, 220])  # [Hz]
_CHANGE = 0.07  # how long it takes from vowel to vowel [s]


def sing(notes: Sequence[Note], timbre: Timbre, sample_rate: int, *, rng) -> tuple[int, np.ndarray]:
    """Return what is sung in one breath.

    Parameters
    ----------
    notes : sequence of Note
        Each begins where the one before stops. Its syllable begins there, with a consonant or not.
    timbre : Timbre
    sample_rate : int [Hz]
    rng : Generator

    Returns
    -------
    first : int
        The sample of the piece that it begins with.
    samples : ndarray of float64
        With a root mean square of about the notes' loudness.
    """
    breath = Note(notes[0].start, notes[-1].stop, notes[0].pitch, notes[0].instrument)
    first = int(np.ceil((breath.start - TENTH * timbre["attack"]) * sample_rate))
    last = int((breath.stop + TAIL * timbre["release"]) * sample_rate)
    times = np.arange(first, last) / sample_rate
    at = control_times(times, sample_rate)
    starts = np.array([note.start for note in notes])

    f0, f0_at = _contour(notes, starts, times), _contour(notes, starts, at)
    k = np.arange(1, count_partials(f0.max(), sample_rate) + 1)
    levels = k ** (timbre["slope"] / 20 / np.log10(2)) * throat(
        f0_at[:, None] * k, _formants(starts, at, timbre, rng)
    )
    # The ear of the singer levels vowels, but not all of it: half of the difference stays.
    strength = np.sqrt((levels**2).sum(axis=1, keepdims=True) / 2)
    levels /= np.sqrt(strength * np.median(strength))

    levels = levels[:, : audible(levels)]
    consonant = rng.random(len(notes)) < 0.6
    loud, hiss = _articulation(notes, starts, at, consonant)
    loud *= envelope(at, breath, timbre)
    y = rotating_sum(phase_of(f0, sample_rate), levels * loud[:, None])
    air = timbre["breath"] * loud + 0.25 * hiss * envelope(at, breath, timbre)
    low = min(2500.0, 0.3 * sample_rate)
    noise = sosfilt(butter(1, low, "high", fs=sample_rate, output="sos"), rng.normal(size=len(y)))
    return first, y + noise * np.interp(times, at, air)


def throat(frequency, formants) -> np.ndarray:
    """Return by how much formants amplify frequencies, each a resonance of second order.

    Parameters
    ----------
    frequency : ndarray, shape (n, partials) [Hz]
    formants : ndarray, shape (n, 5) [Hz]
    """
    gain = np.ones(frequency.shape)
    for formant, bandwidth in zip(formants.T[:, :, None], _BANDWIDTHS, strict=True):
        gain *= formant**2 / np.hypot(formant**2 - frequency**2, bandwidth * frequency)
    return gain


def _formants(starts, at, timbre, rng):
    """Return the formants at times, shape (n, 5): each note goes from a vowel to another or not."""
    table = np.array([[*vowel, *_HIGHER] for vowel in VOWELS.values()]) * timbre["size"]
    begin, other = rng.integers(len(table), size=(2, len(starts)))
    end = np.where(rng.random(len(starts)) < 0.4, other, begin)
    time = np.minimum(_CHANGE, 0.5 * np.diff(starts, append=at[-1]))  # a short note has less
    changes = np.stack([starts, starts + time], axis=1).ravel()[2:]
    points = np.concatenate([[at[0] - _CHANGE], changes, [at[-1] + _CHANGE]])
    vowels = table[np.stack([begin, end], axis=1).ravel()]
    return np.stack([np.interp(at, points, formant) for formant in vowels.T], axis=1)


def _contour(notes, starts, times):
    """Return f0 at times: that of the note that is sung."""
    which = np.clip(np.searchsorted(starts, times, "right") - 1, 0, None)
    f0 = np.empty(len(times))
    for i, note in enumerate(notes):
        f0[which == i] = note.f0(times[which == i])
    return f0


def _articulation(notes, starts, at, consonant):
    """Return the loudness of the tone and of the hiss: a consonant closes the mouth a little."""
    loud = np.interp(at, starts + 0.02, [note.loudness for note in notes])
    hiss = np.zeros(len(at))
    for start, note, is_one in zip(starts, notes, consonant, strict=True):
        if is_one:
            closed = np.exp(-(((at - start + 0.01) / 0.025) ** 2))
            loud *= 1 - 0.8 * closed
            hiss += note.loudness * closed
    return loud, hiss
