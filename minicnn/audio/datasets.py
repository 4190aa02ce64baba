"""Recordings with labels: a folder of your own, or any data set that mirdata knows.

`load("my/folder", "onsets")` reads `my/folder/labels.csv`. Its first row names the columns:

========== ================================ ======================================================
task       columns                          the label of a track
========== ================================ ======================================================
classes    file, label                      str: an instrument or a genre
tags       file, tags                       tuple of str; in the file, `;` is between them
onsets     file, time                       array, shape (k,) [s], in order
voice      file, start, end                 array, shape (k, 2) [s]: where there is a voice
pitch      file, time, frequency            times [s], frequencies [Hz]: 0 where there is no pitch
multi_f0   file, time, frequency            times [s], a list of an array of frequencies for each
========== ================================ ======================================================

A file with several onsets, segments or frames has a row for each; of several pitches, each has its
row, at the same time. A row with a file and nothing more says that nothing is there. So a file by
hand may be::

    file,start,end
    songs/one.wav,0.5,3.25
    songs/one.wav,7,9.5
    songs/two.flac,,

Where labels have files of their own, the columns are `file, labels`: the second names a file of
rows of what else would stand beside `file`, with or without a first row of names, with commas,
semicolons, tabs or spaces between; for multi_f0, all frequencies of a time stand in its row.
Onsets have one column there, so a comma is a decimal one.

`voice` may have a column `label` more, for tables that name every segment: sing, voice, vocals or 1
is one; nosing, novoice, instrumental, silence or 0 is none. Any table may have a column `split`.
Files are named from the table's folder on, and lie within it, themselves or as links.

`load("mirdata:orchset:/path/to/it", "pitch")` does the same for a public data set that was
downloaded before (`pip install "minicnn[data]"`); `mirdata_sets.SETS` says which have what.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np

from minicnn.audio import sound
from minicnn.rng import generator

TASKS = ("classes", "tags", "onsets", "voice", "pitch", "multi_f0")


@dataclass(frozen=True)
class Track:
    """One recording; nothing of its sound is read here, and its label when it is asked for.

    Attributes
    ----------
    name : str
        The file as the table names it, or the name of the data set's own.
    path : Path
        The sound.
    split : str or None
        Such as train or test, where the data set says so.
    label
        See the module's table. Reading it raises ValueError, which names the track, if its labels
        cannot be read.
    """

    name: str
    path: Path
    split: str | None = None
    read: Callable[[], Any] = field(repr=False, compare=False, kw_only=True)

    @cached_property
    def label(self) -> Any:
        """What is to be learned of this track."""
        return self.read()

    def load(self, sample_rate: float) -> tuple[np.ndarray, Any]:
        """Return the samples at this rate [Hz], float32 of one channel, and the label.

        Raises
        ------
        FileNotFoundError, ValueError
            If the sound or the label cannot be read.
        """
        samples, _ = sound.load(self.path, sample_rate)
        return samples, self.label


@dataclass(frozen=True)
class Dataset(Sequence):
    """Tracks with labels of one task.

    Attributes
    ----------
    name : str
    task : str
    tracks : tuple of Track
    license : str
        In the data set's own words. It is up to you to keep to it.
    left_out : tuple of str
        What is wrong with each track that is not here, with `on_error="skip"`.
    numbered : tuple of Track
        Of a split, the tracks of the whole data set, whose classes or tags have the numbers.
    """

    name: str
    task: str
    tracks: tuple[Track, ...]
    license: str = "unknown"
    left_out: tuple[str, ...] = ()
    numbered: tuple[Track, ...] = field(default=(), repr=False, compare=False, kw_only=True)

    def __len__(self) -> int:
        return len(self.tracks)

    @overload
    def __getitem__(self, index: int) -> Track: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Track, ...]: ...
    def __getitem__(self, index):
        return self.tracks[index]

    def __str__(self) -> str:
        text = f"{self.name}: {len(self)} tracks with {self.task}; license: {self.license}"
        if self.left_out:
            text += "".join(f"\n  left out: {each}" for each in self.left_out)
        return text

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the parts that tracks belong to, in alphabetical order."""
        return tuple(sorted({track.split for track in self.tracks if track.split is not None}))

    def split(self, name: str) -> Dataset:
        """Return the tracks of one part; their classes and tags keep their numbers.

        Raises
        ------
        ValueError
            If there is no such part.
        """
        if name not in self.splits:
            there = ", ".join(self.splits) or "no splits"
            raise ValueError(f"{self.name}: there is no split {name!r}; there are {there}")
        some = tuple(each for each in self.tracks if each.split == name)
        return replace(self, tracks=some, numbered=self.numbered or self.tracks)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """All classes or tags, in alphabetical order: number i of a network's outputs is names[i].

        Those of a split are those of the whole data set.

        Raises
        ------
        ValueError
            If the labels are no names.
        """
        tracks = self.numbered or self.tracks
        if self.task == "classes":
            return tuple(sorted({track.label for track in tracks}))
        if self.task == "tags":
            return tuple(sorted({tag for track in tracks for tag in track.label}))
        raise ValueError(f"{self.name}: {self.task} have no names; classes and tags have")


def load(source: str | os.PathLike, task: str, *, on_error: str = "raise") -> Dataset:
    """Return the tracks of a data set, with their labels for one task.

    Parameters
    ----------
    source : path or str
        A folder with a file `labels.csv`, or such a file itself; or `mirdata:NAME:FOLDER`, or
        `mirdata:NAME@VERSION:FOLDER`.
    task : "classes", "tags", "onsets", "voice", "pitch" or "multi_f0"
    on_error : "raise" or "skip"
        What happens where a track's sound is missing or no sound, its labels cannot be read, or lie
        beyond its end: an error that lists all such tracks, or a data set without them, whose
        `left_out` lists them, and one warning. Labels of mirdata are read when they are asked for.

    Returns
    -------
    Dataset
        In the order of the table.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, table or data set.
    ValueError
        If the task, on_error or the table is none, or if a track is wrong.
    """
    if task not in TASKS:
        raise ValueError(f"load: there is no task {task!r}; there are {', '.join(TASKS)}")
    if on_error not in ("raise", "skip"):
        raise ValueError(f"load: on_error is {on_error!r}; it must be raise or skip")
    if str(source).startswith("mirdata:"):
        from minicnn.audio import mirdata_sets

        name, license_, found = mirdata_sets.tracks(str(source), task)
    else:
        from minicnn.audio import label_table

        name, license_, found = label_table.tracks(Path(source), task)
    tracks: list[Track] = []
    wrong: list[str] = []
    count_wrong = 0
    for each in found:
        if not isinstance(each, str):
            tracks.append(each)
            continue
        count_wrong += 1
        if on_error == "skip" or count_wrong <= 5:  # no more are named
            wrong.append(each)
    dataset = Dataset(name, task, tuple(tracks), license_, tuple(wrong))
    if wrong:
        some = "; ".join(wrong[:5]) + (f"; and {count_wrong - 5} more" if count_wrong > 5 else "")
        count = f"{count_wrong} of {count_wrong + len(tracks)} tracks"
        if on_error == "raise":
            raise ValueError(f"load: {name}: {count} cannot be used: {some}")
        warnings.warn(f"load: {name}: left out {count}: {some}", RuntimeWarning, stacklevel=2)
    return dataset


# What data sets call their parts.
PARTS: dict[str, tuple[str, ...]] = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}


class Parts(NamedTuple):
    """The parts of a data set: to learn from, to choose by, and to be judged by."""

    train: Dataset
    valid: Dataset
    test: Dataset


def parts(
    task: str,
    corpus: str,
    sizes: tuple[int, int, int],
    *,
    data: str | os.PathLike | None = None,
    soundfont: Sequence[str] = (),
    seconds: float | None = None,
    sample_rate: int = 22050,
    rng: Any = None,
) -> Parts:
    """Return what a network is trained, chosen and judged by: parts of a data set, or generated.

    Parameters
    ----------
    task : str
        One of `TASKS`.
    corpus : str
        What is generated where there is no data set, see `synth.corpus`.
    sizes : (int, int, int)
        How many clips are generated for each part.
    data : path or str, optional
        The data set, see `load`. If its tracks have no parts train, valid and test, by these names
        or those of `PARTS`, the ones that it lacks are drawn from its training part, or from all
        that is in none of them: a tenth each, one track at least.
    soundfont : sequence of str
        Banks that play what is generated, see `soundfont.corpus`: the first the training and
        validation parts, the last the test. By default the synthesised band plays it.
    seconds : float, optional
        How long generated clips are.
    sample_rate : int [Hz]
        Of generated clips.
    rng : int, Generator or None
        What is generated, or drawn, follows from it.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no such data set, corpus or bank, too few tracks, or both data and soundfont.
    """
    if data is not None:
        if soundfont:
            raise ValueError(
                f"parts: a soundfont ({soundfont[0]}) plays what is generated, and with data "
                f"({data}) nothing is; give one of the two"
            )
        return _divided(load(data, task), generator(rng))
    from minicnn.audio import generated, synth
    from minicnn.audio import soundfont as soundfonts

    seed = int(rng) if isinstance(rng, (int, np.integer)) else int(generator(rng).integers(2**63))
    made = []
    for split, size in zip(("train", "valid", "test"), sizes, strict=True):
        options: dict[str, Any] = dict(seconds=seconds, sample_rate=sample_rate, rng=seed)
        if soundfont:
            bank = soundfont[-1 if split == "test" else 0]
            clips = soundfonts.corpus(corpus, bank, split, size, **options)
        else:
            clips = synth.corpus(corpus, split, size, **options)
        made.append(generated.dataset([clips], task))
    return Parts(*made)


def _divided(dataset, rng):
    """Return the parts of a data set; those that it lacks are drawn."""
    names = {other: name for name, others in PARTS.items() for other in others}
    part_of = [names.get((track.split or "").lower()) for track in dataset.tracks]
    there = {
        name: _some(dataset, [i for i, part in enumerate(part_of) if part == name])
        for name in PARTS
        if name in part_of
    }
    # What is in another part, such as that of the test, must not be learned from.
    rest = _some(dataset, [i for i, part in enumerate(part_of) if part is None])
    whole = there.pop("train", rest)
    drawn = [name for name in ("valid", "test") if name not in there]
    tenth = max(len(whole) // 10, 1)
    if len(whole) <= tenth * len(drawn):
        raise ValueError(
            f"{dataset.name}: {len(whole)} tracks are too few for {len(drawn) + 1} parts"
        )
    order = rng.permutation(len(whole))
    for i, name in enumerate(drawn):
        there[name] = _some(whole, sorted(order[i * tenth : (i + 1) * tenth]))
    return Parts(train=_some(whole, sorted(order[len(drawn) * tenth :])), **there)


def _some(dataset, indices):
    """Return some of the tracks of a data set; classes and tags keep their numbers."""
    some = tuple(dataset[i] for i in indices)
    return replace(dataset, tracks=some, numbered=dataset.numbered or dataset.tracks)


def pitches_at(label: tuple[Any, Any], times: Any) -> list[Any]:
    """Return the pitches at these times, from a label of the tasks pitch or multi_f0.

    Parameters
    ----------
    label : (times [s], pitches [Hz])
        A number or an array for each time, which increase.
    times : array, shape (n,) [s]

    Returns
    -------
    list of n numbers or arrays [Hz]
        Those of the nearest time of the label; beyond its last one, as far as its step, the last.
        Further away there is none: 0, or an empty array. The step is the median one; a label of a
        single time holds for all.
    """
    at, pitches = np.asarray(label[0], np.float64), label[1]
    times = np.asarray(times, np.float64)
    several = np.ndim(pitches[0]) if len(pitches) else not isinstance(pitches, np.ndarray)
    none = np.zeros(0) if several else 0.0
    if not len(at):
        return [none] * len(times)
    step = np.median(np.diff(at)) if len(at) > 1 else np.inf
    after = np.clip(np.searchsorted(at, times), 1, max(len(at) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(at) - 1)
    nearest = np.where(times - at[before] <= at[after] - times, before, after)
    near = np.abs(at[nearest] - times) <= step * (1 + 1e-9)  # steps are rounded
    return [pitches[i] if ok else none for i, ok in zip(nearest, near, strict=True)]
