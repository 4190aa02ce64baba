"""Labels, made of what a network says: pitches, onsets, voices and tags.

The way back from `targets`, whose bins pitches have here too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from minicnn.audio.targets import PitchBins, check_rate, to_hertz

MANY = 1 << 14  # frames that are looked at together


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
    check_rate("pick_onsets", frame_rate)
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
        If a probability is NaN, the frame rate not above 0, or the median below 0 or infinite.
    """
    probabilities = np.asarray(probabilities, np.float64)
    check_rate("median_filter", frame_rate)
    if not 0 <= median < np.inf:
        raise ValueError(f"median_filter: median is {median} s; it is finite and 0 or more")
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


def _frames(function, activations, bins):
    """Return activations (n, n_bins); raise where they have another number of bins."""
    activations = np.asarray(activations, np.float64)
    if activations.ndim != 2 or activations.shape[1] != bins.n_bins:
        raise ValueError(
            f"{function}: activations have {activations.shape[-1]} bins and {activations.ndim} "
            f"axes; there are {bins.n_bins} bins in 2 axes"
        )
    if activations.size and activations.min() < 0:
        raise ValueError(
            f"{function}: activations run from {activations.min():.3g} to {activations.max():.3g}; "
            "probabilities lie in [0, 1]: ops.sigmoid makes them of logits"
        )
    return activations
