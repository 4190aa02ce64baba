"""What a network is to say, made of labels; and labels again, of what it says.

Pitches are frequencies [Hz]. On a network's axis they are bins of equal width in cents, hundredths
of a semitone, which count from 10 Hz as everywhere in this field. 0 Hz says that there is no pitch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

REFERENCE = 10.0  # 0 cents [Hz]
MANY = 1 << 14  # frames that are looked at together


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
    _check_rate("onsets", frame_rate)
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
    _check_rate("activity", frame_rate)
    target = np.full(n_frames, smoothing, np.float32)
    for start, stop in _finite("activity", segments).reshape(-1, 2):
        first, last = (round(time * frame_rate) for time in (start, stop))
        target[max(first, 0) : max(last, 0)] = 1 - smoothing
    return target


def local_average(
    activations, bins: PitchBins, radius: int = 4, path=None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pitch of each frame, the weighted mean of the bins around its largest activation.

    The mean is one of cents, over 9 bins, as in CREPE's published code; the paper takes all 360,
    which lets a second voice pull the pitch away.

    Parameters
    ----------
    activations : array, shape (n, n_bins)
        Probabilities.
    bins : PitchBins
    radius : int [bins]
        How far the mean reaches to either side, up to the ends of the axis.
    path : array of int, shape (n,), optional
        The bins to average around instead of the largest: that of `pitch_path`.

    Returns
    -------
    frequency : ndarray, shape (n,) [Hz]
    confidence : ndarray, shape (n,)
        The largest activation.

    Raises
    ------
    ValueError
        If there are not as many activations as bins.
    """
    activations = _frames("local_average", activations, bins)
    centre = activations.argmax(axis=1) if path is None else np.asarray(path)
    near = centre[:, None] + np.arange(-radius, radius + 1)
    inside = (near >= 0) & (near < bins.n_bins)
    near = near.clip(0, bins.n_bins - 1)
    weights = np.where(inside, np.take_along_axis(activations, near, axis=1), 0)
    total = weights.sum(axis=1)
    # Where all is 0 the centre is as good as any.
    mean = (weights * bins.cents[near]).sum(axis=1) / np.where(total > 0, total, 1)
    mean = np.where(total > 0, mean, bins.cents[centre])
    return to_hertz(mean), activations.max(axis=1)


def pitch_path(activations, reach: int = 12, trust: float = 0.1) -> np.ndarray:
    """Return the most likely sequence of bins, which does not jump far from frame to frame.

    The hidden Markov model of CREPE's published code. What is observed is the largest activation of
    each frame. It is the true bin with probability `trust` beside the 1 - trust that all bins
    share; from bin to bin a step of d has probability max(reach - |d|, 0), normalised.

    Parameters
    ----------
    activations : array, shape (n, n_bins)
    reach : int [bins]
        Steps are shorter than this.
    trust : float

    Returns
    -------
    ndarray of int, shape (n,)
    """
    activations = np.asarray(activations)
    n_bins = activations.shape[1]
    observed = activations.argmax(axis=1)
    emission = np.full((len(observed), n_bins), np.log((1 - trust) / n_bins))
    emission[np.arange(len(observed)), observed] = np.log(trust + (1 - trust) / n_bins)
    steps = np.arange(-reach + 1, reach)
    to = np.arange(n_bins)[:, None] + steps
    weights = np.where((to >= 0) & (to < n_bins), reach - np.abs(steps), 0)
    with np.errstate(divide="ignore"):
        return viterbi(emission, np.log(weights / weights.sum(axis=1, keepdims=True)))


def viterbi(emission, transition, start=None) -> np.ndarray:
    """Return the most likely path through states that reach only their neighbours.

    Exact, in memory and time of the band: a dense matrix of 360 states takes 16 times as long.

    Parameters
    ----------
    emission : array, shape (n, states)
        The logarithm of how likely each frame is in each state.
    transition : array, shape (states, 2 k + 1)
        The logarithm of how likely a state is followed by the one k before it, ..., by itself, ...,
        by the one k after it; -inf where there is none.
    start : array, shape (states,), optional
        The logarithm of how likely each state is the first; by default all are alike.

    Returns
    -------
    ndarray of int, shape (n,)
        Among equally likely paths, the one of lower states from the end on.

    Raises
    ------
    ValueError
        If the band has no middle, or there is no path that is possible.

    References
    ----------
    Rabiner, "A tutorial on hidden Markov models and selected applications in speech recognition",
    Proceedings of the IEEE 77, 1989, section III.B.
    """
    emission, transition = np.asarray(emission, np.float64), np.asarray(transition, np.float64)
    n, states = emission.shape
    if transition.shape[0] != states or transition.shape[1] % 2 == 0:
        raise ValueError(
            f"viterbi: transition is {transition.shape}; it takes ({states}, an odd number)"
        )
    if n == 0:
        return np.zeros(0, np.int64)
    k = transition.shape[1] // 2
    # Seen from where a step ends: entry j of row i is the step from state i + j - k.
    from_states = np.arange(states)[:, None] + np.arange(-k, k + 1)
    there = (from_states >= 0) & (from_states < states)
    arriving = np.where(
        there, transition[from_states.clip(0, states - 1), np.arange(2 * k, -1, -1)], -np.inf
    )
    best = emission[0] + (0 if start is None else np.asarray(start, np.float64))
    came = np.zeros((n, states), np.int64)
    room = np.full(states + 2 * k, -np.inf)
    for t in range(1, n):
        room[k : k + states] = best
        score = sliding_window_view(room, 2 * k + 1) + arriving
        step = score.argmax(axis=1)
        came[t] = np.arange(states) + step - k
        best = np.take_along_axis(score, step[:, None], axis=1)[:, 0] + emission[t]
    if not best.max() > -np.inf:
        raise ValueError(f"viterbi: no path through the {n} frames is possible")
    path = np.empty(n, np.int64)
    path[-1] = best.argmax()
    for t in range(n - 1, 0, -1):
        path[t - 1] = came[t, path[t]]
    return path


def pick_onsets(
    activations, frame_rate: float, threshold: float = 0.54, smooth: int = 5, combine: float = 0.03
) -> np.ndarray:
    """Return when onsets are, from how likely each frame is one.

    As madmom does behind this network: smoothed by a Hamming window, which is not normalised, so
    the threshold belongs to its sum; a frame counts that is no less than its neighbours; of onsets
    that are closer than `combine`, the first one stays.

    Parameters
    ----------
    activations : array, shape (n,)
        Probabilities.
    frame_rate : float [frames per second]
    threshold : float
    smooth : int [frames]
        The length of the window; 1 leaves the activations as they are.
    combine : float [s]

    Returns
    -------
    ndarray [s]

    Raises
    ------
    ValueError
        If the frame rate is not above 0, or the window empty.
    """
    activations = np.asarray(activations, np.float64)
    _check_rate("pick_onsets", frame_rate)
    if smooth < 1:
        raise ValueError(f"pick_onsets: smooth is {smooth}; a window has 1 frame or more")
    if not activations.size:
        return np.zeros(0)
    curve = np.convolve(activations, np.hamming(smooth), "full")
    curve = curve[(smooth - 1) // 2 :][: activations.size]
    padded = np.pad(curve, 1, constant_values=-np.inf)
    peaks = (curve >= padded[:-2]) & (curve >= padded[2:]) & (curve >= threshold)
    kept: list[float] = []
    for time in np.flatnonzero(peaks) / frame_rate:
        if not kept or time - kept[-1] > combine + 1e-9:  # the difference of two times is rounded
            kept.append(time)
    return np.array(kept)


def salience_peaks(activations, bins: PitchBins, threshold: float = 0.3) -> list[np.ndarray]:
    """Return the pitches of each frame: bins above both neighbours, and no less than the threshold.

    Parameters
    ----------
    activations : array, shape (n_bins, n)
        Probabilities.
    bins : PitchBins
    threshold : float
        0.3 in the paper's published code; to be chosen on validation data.

    Returns
    -------
    list of n arrays [Hz], low to high
    """
    frames = _frames("salience_peaks", np.asarray(activations).T, bins)
    inner = frames[:, 1:-1]
    peaks = (inner > frames[:, :-2]) & (inner > frames[:, 2:]) & (inner >= threshold)
    hertz = to_hertz(bins.cents)[1:-1]
    return [hertz[frame] for frame in peaks]


def is_active(
    probabilities, frame_rate: float, threshold: float = 0.5, median: float = 0.8
) -> np.ndarray:
    """Return in which frames something sounds, without moments that are shorter than it could.

    Parameters
    ----------
    probabilities : array, shape (n,)
    frame_rate : float [frames per second]
    threshold : float
        To be chosen on validation data.
    median : float [s]
        See `median_filter`.

    Returns
    -------
    ndarray of bool, shape (n,)

    Raises
    ------
    ValueError
        If a probability is NaN, or the frame rate not above 0.
    """
    return median_filter(probabilities, frame_rate, median) > threshold


def median_filter(probabilities, frame_rate: float, median: float = 0.8) -> np.ndarray:
    """Return the median around each frame: what `is_active` compares with a threshold.

    Parameters
    ----------
    probabilities : array, shape (n,)
    frame_rate : float [frames per second]
    median : float [s]
        The length of the filter, 0.8 s in Schlüter & Grill's code; here always an odd number
        of frames, so that nothing moves. At the ends it takes what is there.

    Returns
    -------
    ndarray, shape (n,)

    Raises
    ------
    ValueError
        If a probability is NaN, or the frame rate not above 0.
    """
    probabilities = np.asarray(probabilities, np.float64)
    _check_rate("median_filter", frame_rate)
    if np.isnan(probabilities).any():
        raise ValueError(f"median_filter: {np.isnan(probabilities).sum()} probabilities are NaN")
    half = round(median * frame_rate / 2)
    padded = np.pad(probabilities, half, constant_values=np.nan)
    medians = np.zeros(len(probabilities))
    # The median copies its windows: those of three hours at once would be a gigabyte.
    for start in range(0, len(medians), MANY):
        stop = min(start + MANY, len(medians))
        windows = sliding_window_view(padded[start : stop + 2 * half], 2 * half + 1)
        medians[start:stop] = np.nanmedian(windows, axis=1)
    return medians


def rank_tags(
    probabilities, names: Sequence[str], count: int | None = None
) -> list[tuple[str, float]]:
    """Return tags with their probabilities, the likeliest first.

    Parameters
    ----------
    probabilities : array, shape (n_tags,)
    names : sequence of n_tags str
    count : int, optional
        So many; by default all.

    Raises
    ------
    ValueError
        If there are not as many names as probabilities.
    """
    probabilities = np.asarray(probabilities, np.float64)
    if probabilities.shape != (len(names),):
        raise ValueError(
            f"rank_tags: probabilities have shape {probabilities.shape}; there are "
            f"{len(names)} names"
        )
    order = np.argsort(-probabilities, kind="stable")[:count]
    return [(names[i], float(probabilities[i])) for i in order]


def average_segments(probabilities, mean: str = "arithmetic") -> np.ndarray:
    """Return what the segments of a clip say together.

    Parameters
    ----------
    probabilities : array, shape (n_segments, n_classes)
    mean : "arithmetic" or "geometric"
        Taggers average probabilities; Lostanlen & Cella, "Deep convolutional networks on the pitch
        spiral for musical instrument recognition", ISMIR 2016, their logarithms.

    Returns
    -------
    ndarray, shape (n_classes,)

    Raises
    ------
    ValueError
        If there are no segments, or no such mean.
    """
    probabilities = np.asarray(probabilities, np.float64)
    if not len(probabilities):
        raise ValueError("average_segments: there are no segments")
    if mean == "arithmetic":
        return probabilities.mean(axis=0)
    if mean == "geometric":
        with np.errstate(divide="ignore"):
            return np.exp(np.log(probabilities).mean(axis=0))
    raise ValueError(f"average_segments: mean is {mean!r}; it must be arithmetic or geometric")


def _check_rate(function, frame_rate):
    if not 0 < frame_rate < np.inf:
        raise ValueError(f"{function}: frame_rate is {frame_rate}; it is finite and above 0")


def _finite(function, times):
    """Return times as floats; raise if one is not finite."""
    times = np.asarray(times, np.float64)
    if not np.isfinite(times).all():
        raise ValueError(f"{function}: {np.sum(~np.isfinite(times))} times are not finite")
    return times


def _frames(function, activations, bins):
    """Return activations (n, n_bins); raise where they have another number of bins."""
    activations = np.asarray(activations, np.float64)
    if activations.ndim != 2 or activations.shape[1] != bins.n_bins:
        raise ValueError(
            f"{function}: activations have {activations.shape[-1]} bins and {activations.ndim} "
            f"axes; there are {bins.n_bins} bins in 2 axes"
        )
    return activations


def _name(model):
    return model.__name__ if isinstance(model, type) else type(model).__name__
