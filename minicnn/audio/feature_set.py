"""What a network hears of many recordings: their features, and the windows that it takes."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, overload

import numpy as np
from tqdm import tqdm

from minicnn.audio.front_end import FrontEnd
from minicnn.kernels.threads import get_num_threads, set_num_threads
from minicnn.workers import WorkerPool, note

_ENOUGH = 24  # tracks for each process; for fewer it does not pay to start one


class Statistics(NamedTuple):
    """Figures of each channel and band, over all frames of all recordings.

    Attributes
    ----------
    mean, deviation, least, most : ndarray of float32, shape (C, [F,] 1)
    """

    mean: np.ndarray
    deviation: np.ndarray
    least: np.ndarray
    most: np.ndarray

    def standardise(self, x: np.ndarray) -> np.ndarray:
        """Return features with mean 0 and deviation 1 in each band."""
        return (x - self.mean) / np.maximum(self.deviation, 1e-5)

    def to_unit(self, x: np.ndarray) -> np.ndarray:
        """Return features from 0, the least of all bands, to 1, the largest."""
        least, most = self.least.min(), self.most.max()
        return (x - least) / np.maximum(most - least, 1e-5)


class FeatureSet(Sequence[np.ndarray]):
    """What a front end made of each recording: arrays of shape (C, [F,] T).

    Attributes
    ----------
    front_end : FrontEnd
    names : sequence of str
        What the recordings are called.
    """

    front_end: FrontEnd
    names: Sequence[str]

    def statistics(self) -> Statistics:
        """Return what a network's input is scaled by, such as to mean 0 and variance 1 per band.

        Raises
        ------
        ValueError
            If there are no features.
        """
        if not len(self):
            raise ValueError("statistics: there are no features")
        count, total, squares = 0, np.zeros(()), np.zeros(())
        least, most = np.array(np.inf), np.array(-np.inf)
        for x in self:
            count += x.shape[-1]
            total = total + x.sum(axis=-1, keepdims=True, dtype=np.float64)
            squares = squares + np.square(x, dtype=np.float64).sum(axis=-1, keepdims=True)
            least = np.minimum(least, x.min(axis=-1, keepdims=True))
            most = np.maximum(most, x.max(axis=-1, keepdims=True))
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        return Statistics(*(part.astype(np.float32) for part in (mean, deviation, least, most)))

    def times(self, index: int) -> np.ndarray:
        """Return the time of each window of a recording, shape (n_windows,) [s]."""
        return self.front_end.window_times(self[index].shape[-1])

    def pieces(
        self, targets: Sequence[Any], length: int, around: int = 0
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return recordings cut into pieces of one length, for networks that slide along them.

        Augmentations take such pieces; with `augment.RandomCrop` each epoch has other parts of
        them. Beyond a recording is what windows see there, and the target is 0.

        Parameters
        ----------
        targets : sequence, one array of shape (..., T) for each recording
            What its frames are to be answered with.
        length : int [frames]
            Of a piece.
        around : int [frames]
            What each piece has more before it and behind it, so that pieces overlap.

        Returns
        -------
        list of (array, shape (C, [F,] length + 2 around), and array, shape (..., the same))

        Raises
        ------
        ValueError
            If there are not as many targets as recordings, or values as frames.
        """
        if len(targets) != len(self):
            raise ValueError(f"pieces: there are {len(targets)} targets for {len(self)} files")
        found = []
        for x, target, name in zip(self, map(np.asarray, targets), self.names, strict=True):
            if target.shape[-1:] != x.shape[-1:]:
                raise ValueError(
                    f"pieces: the target of {name!r} is {target.shape} for {x.shape[-1]} frames"
                )
            sides = around, around + -x.shape[-1] % length
            x = self.front_end.extended(x, *sides)
            target = np.pad(target, [(0, 0)] * (target.ndim - 1) + [sides])
            for start in range(0, x.shape[-1] - 2 * around, length):
                part = slice(start, start + length + 2 * around)
                found.append((x[..., part], target[..., part]))
        return found

    def windows(
        self,
        targets: Sequence[Any] | None = None,
        *,
        per_window: bool = False,
        scale: Callable | None = None,
    ) -> WindowDataset:
        """Return the inputs of the network, of all recordings, as a data set for a `DataLoader`.

        Parameters
        ----------
        targets : sequence, one for each recording, optional
            What its windows are to be answered with.
        per_window : bool
            Whether that is an array with a row for each window, as for pitches, onsets or voices,
            at `times`; or the same for all windows, as for tags.
        scale : callable, optional
            From windows, one or many, to what the network is given, such as a method of
            `statistics()`. A whole batch at once is quicker than a loader's transform.

        Raises
        ------
        ValueError
            If there are not as many targets as recordings, or rows as windows.
        """
        return WindowDataset(self, targets, per_window=per_window, scale=scale)


class WindowDataset:
    """The windows of recordings one after another: a sample is a window, and its target.

    Only what is asked for is read. Worker processes open files again instead of copying them.

    Parameters
    ----------
    features : FeatureSet
    targets : sequence, one for each recording, optional
    per_window : bool
        Whether the target of a recording is an array with a row for each window.
    scale : callable, optional
        See `FeatureSet.windows`.

    Attributes
    ----------
    files : ndarray of int, shape (N,)
        Which recording each window is of.

    Raises
    ------
    ValueError
        If there are not as many targets as recordings, or rows as windows.
    """

    def __init__(
        self,
        features: FeatureSet,
        targets: Sequence[Any] | None = None,
        *,
        per_window: bool = False,
        scale: Callable | None = None,
    ):
        if targets is not None and len(targets) != len(features):
            raise ValueError(
                f"WindowDataset: there are {len(targets)} targets for {len(features)} files"
            )
        self.features, self.targets, self.per_window = features, targets, per_window
        self.scale = scale
        counts = np.array([len(features.times(i)) for i in range(len(features))], int)
        self.files = np.repeat(np.arange(len(counts)), counts)
        self._first = np.cumsum(counts) - counts
        if per_window and targets is not None:
            for name, rows, count in zip(features.names, targets, counts, strict=True):
                if len(rows) != count:
                    raise ValueError(
                        f"WindowDataset: there are {len(rows)} targets for {count} windows of "
                        f"{name!r}"
                    )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple:
        file = int(self.files[index])
        place = range(len(self))[index] - int(self._first[file])
        window = self.features.front_end.window(self.features[file], place)
        window = window if self.scale is None else self.scale(window)
        if self.targets is None:
            return (window,)
        target = self.targets[file]
        return window, target[place] if self.per_window else target

    def batch(self, indices: np.ndarray) -> tuple:
        """Return the samples of these indices, stacked: what the loader uses where it can."""
        files = self.files[indices]
        places = np.asarray(indices) - self._first[files]
        pairs = [*zip(files.tolist(), places.tolist(), strict=True)]
        front_end = self.features.front_end
        windows = np.stack([front_end.window(self.features[i], place) for i, place in pairs])
        windows = windows if self.scale is None else self.scale(windows)
        if self.targets is None:
            return (windows,)
        answers = [
            self.targets[i][place] if self.per_window else self.targets[i] for i, place in pairs
        ]
        return windows, np.stack(answers)

    def means(self, values: Any) -> np.ndarray:
        """Return for each recording the mean of what a network says of its windows.

        Parameters
        ----------
        values : array, shape (N, ...)
            A row for each window.

        Returns
        -------
        ndarray, shape (n_recordings, ...)

        Raises
        ------
        ValueError
            If there are not as many rows as windows, or a recording has no window.
        """
        values = np.asarray(values)
        counts = np.bincount(self.files, minlength=len(self.features))
        if len(values) != len(self) or not counts.all():
            raise ValueError(
                f"means: there are {len(values)} rows for {len(self)} windows of "
                f"{np.count_nonzero(counts)} recordings, of {len(counts)}"
            )
        if not len(values):
            return values
        sums = np.add.reduceat(values, self._first, axis=0)
        return sums / counts.reshape(-1, *[1] * (values.ndim - 1)).astype(values.dtype)


@dataclass(frozen=True, eq=False)
class TrackFeatures(FeatureSet):
    """The features of tracks, in memory, and their labels.

    Attributes
    ----------
    front_end : FrontEnd
    names : tuple of str
    arrays : tuple of ndarray of float32, shape (C, [F,] T)
    labels : tuple
        As `datasets` has them.
    """

    front_end: FrontEnd
    names: tuple[str, ...]
    arrays: tuple[np.ndarray, ...]
    labels: tuple[Any, ...]

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, index):
        return self.arrays[index]


@overload
def track_features(
    model: list | tuple, tracks: Sequence[Any], *, workers: int | None = ..., progress: bool = ...
) -> list[TrackFeatures]: ...
@overload
def track_features(
    model: Any, tracks: Sequence[Any], *, workers: int | None = ..., progress: bool = ...
) -> TrackFeatures: ...
def track_features(model, tracks, *, workers=None, progress=True):
    """Compute the features of tracks, and keep them in memory with their labels.

    For what does not fit into memory there is `folder_features`.

    Parameters
    ----------
    model : Network or FrontEnd, or a list of them
        See `FrontEnd.of`. For several, such as a network and what it is compared with, a track is
        read, or generated, once for each sampling rate.
    tracks : sequence of tracks
        Such as a `datasets.Dataset`.
    workers : int, optional
        How many processes read or generate them; by default as many as there are cores, if there
        are tracks enough. They are started afresh (not forked), so a script must guard its start
        with `if __name__ == "__main__":`. With 0 or 1 all is done in this process.
        Features differ by rounding only.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    TrackFeatures, or a list of them

    Raises
    ------
    TypeError
        If the network takes no sound.
    FileNotFoundError, ValueError
        If a track or its label cannot be read, or workers is below 0.
    RuntimeError
        If a worker process dies, or none starts, as in a script that does not guard its start.
    """
    several = isinstance(model, (list, tuple))
    front_ends = [FrontEnd.of(each) for each in (model if several else [model])]
    if workers is not None and workers < 0:
        raise ValueError(f"track_features: workers is {workers}; it must be 0 or more")
    compute = functools.partial(_features, front_ends)
    if workers is None:
        workers = min(os.cpu_count() or 1, len(tracks) // _ENOUGH)
    bar = functools.partial(
        tqdm, total=len(tracks), disable=not progress, dynamic_ncols=True, unit="track"
    )
    if workers > 1:
        found = _in_processes(compute, tracks, workers, bar)
    else:
        found = _here(compute, tracks, bar)
    names = tuple(track.name for track in tracks)
    labels = tuple(label for _, label in found)
    sets = [
        TrackFeatures(front_end, names, tuple(arrays[i] for arrays, _ in found), labels)
        for i, front_end in enumerate(front_ends)
    ]
    return sets if several else sets[0]


def _here(compute, tracks, bar):
    """Return what this process computes of tracks: in one thread, as others would.

    Matrix products of several threads are rounded in another way.
    """
    threads = get_num_threads()
    set_num_threads(1)
    try:
        return list(bar(map(compute, tracks)))
    finally:
        set_num_threads(threads)


def _in_processes(compute, tracks, workers, bar):
    """Return what processes compute of tracks, in order."""
    from concurrent.futures.process import BrokenProcessPool

    with WorkerPool(workers) as pool:
        try:
            return list(bar(pool.map(_noted, itertools.repeat(compute), itertools.count(), tracks)))
        except BrokenProcessPool as error:
            raise RuntimeError(
                f"track_features: {pool.death(lambda number: repr(tracks[number].name))}; "
                "workers=0 shows an error of its own"
            ) from error


def _noted(compute, number, track):
    """Compute in a worker process, which leaves word of the track."""
    note(number)
    return compute(track)


def _features(front_ends, track):
    """Return the features of a track under each front end, and its label."""
    loaded = {rate: track.load(rate) for rate in {each.sample_rate for each in front_ends}}
    arrays = [each.transform(each.lengthened(loaded[each.sample_rate][0])) for each in front_ends]
    return arrays, loaded[front_ends[0].sample_rate][1]
