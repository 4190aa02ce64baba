"""What a network is to say, made of labels; `decoding` makes labels of what it says.

Pitches are frequencies [Hz]. On a network's axis they are bins of equal width in cents, hundredths
of a semitone, which count from 10 Hz as everywhere in this field. 0 Hz says that there is no pitch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn import mistake

REFERENCE = 10.0  # 0 cents [Hz]


def to_cents(frequency) -> np.ndarray:
    """Return how many cents frequencies [Hz] are above 10 Hz; -inf for 0 Hz, NaN below."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 1200 * np.log2(np.asarray(frequency, np.float64) / REFERENCE)


def to_hertz(cents) -> np.ndarray:
    """Return the frequencies [Hz] that are so many cents above 10 Hz."""
    return REFERENCE * 2 ** (np.asarray(cents, np.float64) / 1200)


@dataclass(frozen=True)
class PitchBins:
    """The axis of pitches of a network's output.

    Attributes
    ----------
    n_bins : int
    width : float
        From bin to bin [cents].
    first : float
        The first bin [cents above 10 Hz].
    """

    n_bins: int
    width: float
    first: float

    @classmethod
    def of(cls, model: Any) -> PitchBins:
        """Return the bins of a network, CREPE or deep salience, or of its class.

        Raises
        ------
        TypeError
            If its outputs are no pitches.
        """
        if hasattr(model, "lowest_bin"):
            return cls(model.n_bins, model.bin_width, model.lowest_bin)
        if hasattr(model, "harmonics"):
            width = 1200 / model.bins_per_octave
            return cls(model.n_bins, width, float(to_cents(model.fmin)))
        raise TypeError(f"PitchBins.of: the outputs of {_name(model)} are no pitches")

    @property
    def cents(self) -> np.ndarray:
        """All bins, shape (n_bins,) [cents above 10 Hz]."""
        return self.first + self.width * np.arange(self.n_bins)

    def nearest(self, frequency) -> np.ndarray:
        """Return the nearest bin of each frequency [Hz], or -1 where that lies outside."""
        cents = to_cents(frequency)
        position = np.full(cents.shape, -1.0)
        there = np.isfinite(cents)
        position[there] = np.round((cents[there] - self.first) / self.width)
        inside = (position >= 0) & (position < self.n_bins)
        return np.where(inside, position, -1).astype(np.int64)


def one_hot(classes, n_classes: int) -> np.ndarray:
    """Return rows that are 1 at their class and 0 elsewhere.

    Parameters
    ----------
    classes : array of int, shape (n,)
    n_classes : int

    Returns
    -------
    ndarray of float32, shape (n, n_classes)

    Raises
    ------
    ValueError
        If a class does not exist, or is no whole number.
    """
    classes = np.asarray(classes)
    if classes.size and classes.dtype.kind not in "iub":
        raise ValueError(f"one_hot: classes are {classes.dtype}; whole numbers are taken")
    return multi_hot([[each] for each in classes.tolist()], n_classes)


def multi_hot(classes: Sequence[Sequence[int]], n_classes: int) -> np.ndarray:
    """Return rows that are 1 at each of their classes and 0 elsewhere.

    Parameters
    ----------
    classes : sequence of n sequences of int
        Any number for each row, also none.
    n_classes : int

    Returns
    -------
    ndarray of float32, shape (n, n_classes)

    Raises
    ------
    ValueError
        If a class does not exist.
    """
    target = np.zeros((len(classes), n_classes), np.float32)
    for i, some in enumerate(classes):
        for each in some:
            if not 0 <= each < n_classes:
                raise ValueError(f"multi_hot: row {i} has class {each}; there are {n_classes}")
            target[i, each] = 1
    return target


def tags(labels: Sequence[Sequence[str]], names: Sequence[str]) -> np.ndarray:
    """Return rows that are 1 at each of their tags and 0 elsewhere; `rank_tags` is the way back.

    Parameters
    ----------
    labels : sequence of n sequences of str
        The tags of each clip.
    names : sequence of n_tags str
        All tags, in the order of the network's outputs.

    Returns
    -------
    ndarray of float32, shape (n, n_tags)

    Raises
    ------
    ValueError
        If a tag is not among the names.
    """
    numbers = {name: i for i, name in enumerate(names)}
    for i, some in enumerate(labels):
        if unknown := [tag for tag in some if tag not in numbers]:
            raise ValueError(
                f"tags: row {i} has {unknown[0]!r}, which is none of {len(names)} tags"
            )
    return multi_hot([[numbers[tag] for tag in some] for some in labels], len(names))


def blurred(frequencies, bins: PitchBins, deviation: float = 25.0) -> np.ndarray:
    """Return rows with a bump of height 1 at their pitch, as CREPE is trained.

    Kim et al., "CREPE", ICASSP 2018, equation 3: exp(-(c_i - c)^2 / (2 * 25^2)), so that a bin next
    to the right one is hardly wrong.

    Parameters
    ----------
    frequencies : array, shape (n,) [Hz]
        0, NaN or less than 0 (a guess where nothing sounds, as melodies are estimated) where there
        is no pitch: that row is 0.
    bins : PitchBins
    deviation : float [cents]

    Returns
    -------
    ndarray of float32, shape (n, n_bins)
    """
    frequencies = np.asarray(frequencies, np.float64)
    suspect_notes("blurred", frequencies)
    cents = to_cents(np.where(frequencies > 0, frequencies, 0))
    distance = bins.cents - cents[:, None]
    return np.exp(-(distance**2) / (2 * deviation**2)).astype(np.float32)


def salience(frequencies: Sequence[Any], bins: PitchBins, deviation: float = 20.0) -> np.ndarray:
    """Return the salience of all pitches that sound at once, as deep salience is trained.

    Bittner et al., "Deep salience representations for F0 estimation in polyphonic music", ISMIR
    2017, section 3: 1 in the nearest bin of each pitch, blurred along the frequencies, at most 1.

    Parameters
    ----------
    frequencies : sequence of n arrays [Hz]
        The pitches of each frame, any number; those outside of the bins are left out.
    bins : PitchBins
    deviation : float [cents]
        A bin of 20 cents in the paper's own code.

    Returns
    -------
    ndarray of float32, shape (n_bins, n)
    """
    steps = np.arange(bins.n_bins) * bins.width
    bump = np.exp(-((steps - steps[:, None]) ** 2) / (2 * deviation**2))  # a row for each bin
    target = np.zeros((len(frequencies), bins.n_bins))
    if len(frequencies):
        suspect_notes("salience", np.concatenate([np.ravel(some) for some in frequencies]))
    for i, some in enumerate(frequencies):
        found = np.unique(bins.nearest(np.atleast_1d(np.asarray(some, np.float64))))
        target[i] = bump[found[found >= 0]].sum(axis=0)
    return np.minimum(target, 1).T.astype(np.float32)


def onsets(
    times, n_frames: int, frame_rate: float, neighbours: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Return which frames are onsets, and how much each frame counts in the loss.

    Schlüter & Böck, "Improved musical onset detection with convolutional neural networks",
    ICASSP 2014, section 4.3: a label may be a frame off, so the frames beside it are onsets too,
    with a quarter of the weight.

    Parameters
    ----------
    times : array [s]
        Those beyond the frames are left out.
    n_frames : int
    frame_rate : float [frames per second]
    neighbours : float
        The weight of the frames beside an onset; with 0 they are no onsets.

    Returns
    -------
    target, weight : ndarray of float32, shape (n_frames,)

    Raises
    ------
    ValueError
        If a time is not finite, or the frame rate not above 0.
    """
    target, weight = np.zeros(n_frames, np.float32), np.ones(n_frames, np.float32)
    check_rate("onsets", frame_rate)
    times = _finite("onsets", times)
    frames = np.round(times * frame_rate).astype(np.int64)
    frames = frames[(frames >= 0) & (frames < n_frames)]
    if neighbours:
        beside = np.concatenate([frames - 1, frames + 1])
        beside = beside[(beside >= 0) & (beside < n_frames)]
        target[beside], weight[beside] = 1, neighbours
    target[frames], weight[frames] = 1, 1
    return target, weight


def activity(segments, n_frames: int, frame_rate: float, smoothing: float = 0.02) -> np.ndarray:
    """Return in which frames something sounds, such as a voice.

    Parameters
    ----------
    segments : array, shape (k, 2) [s]
        Where each begins and ends.
    n_frames : int
    frame_rate : float [frames per second]
    smoothing : float
        What a frame without counts for; 1 minus this one with. Schlüter & Grill, "Exploring data
        augmentation for improved singing voice detection with neural networks", ISMIR 2015, train
        on 0.02 and 0.98 in their published code.

    Returns
    -------
    ndarray of float32, shape (n_frames,)

    Raises
    ------
    ValueError
        If a time is not finite, or the frame rate not above 0.
    """
    check_rate("activity", frame_rate)
    target = np.full(n_frames, smoothing, np.float32)
    for start, stop in _finite("activity", segments).reshape(-1, 2):
        first, last = (round(time * frame_rate) for time in (start, stop))
        target[max(first, 0) : max(last, 0)] = 1 - smoothing
    return target


def suspect_notes(function: str, frequencies: np.ndarray) -> None:
    """Warn where what should be Hz looks like MIDI notes.

    That is three whole numbers, none above 108, of which two are a semitone or a tone apart. A bass
    in whole Hz has larger steps.
    """
    if not frequencies.size or not 0 < frequencies.max() <= 108:
        return
    found = np.unique(frequencies[frequencies > 0])
    is_whole = np.array_equal(found, np.round(found))
    if len(found) > 2 and is_whole and np.diff(found).min() <= 2:
        mistake.likely(
            f"{function}: frequencies are whole numbers up to 108, as MIDI notes are; it takes Hz: "
            "440 * 2 ** ((note - 69) / 12)"
        )


def check_rate(function: str, frame_rate: float) -> None:
    """Raise ValueError where a frame rate is not above 0."""
    if not 0 < frame_rate < np.inf:
        raise ValueError(f"{function}: frame_rate is {frame_rate}; it is finite and above 0")


def _finite(function, times):
    """Return times as floats; raise if one is not finite."""
    times = np.asarray(times, np.float64)
    if not np.isfinite(times).all():
        raise ValueError(f"{function}: {np.sum(~np.isfinite(times))} times are not finite")
    return times


def _name(model):
    return model.__name__ if isinstance(model, type) else type(model).__name__
