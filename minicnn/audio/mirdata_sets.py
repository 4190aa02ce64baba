"""Public data sets through mirdata, and where in each the labels of a task are.

Nothing is fetched. Whoever has a data set has downloaded it before, with mirdata or by hand:
`mirdata.initialize("orchset", data_home="/data/orchset").download()`. mirdata keeps the list of a
data set's files, its index, apart from the data; where it was not downloaded, a copy in the data
set's folder will do.

Two have less than it seems. Tracks of IRMAS's test part have several instruments, so its classes
are those of its training part, and its tags those of both. For each clip of OpenMIC, people were
asked about some instruments only: those that nobody was asked about are none of its tags, though
they may well be heard, so a score there is too low.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.audio.datasets import Track


@dataclass(frozen=True)
class Recipe:
    """Where a data set of mirdata has what we need.

    Attributes
    ----------
    labels : dict of str to callable
        For each task that it has labels for, what returns the label of a track of mirdata's.
    sound : str
        The attribute of a track that is the path of its sound.
    split : str, optional
        The attribute that says which part a track belongs to.
    mixes : bool
        Whether its recordings are what mirdata calls multitracks.
    only : dict of str to str
        For a task that only one part has labels for, which one; the others are not loaded.
    """

    labels: dict[str, Callable[[Any], Any]]
    sound: str = "audio_path"
    split: str | None = None
    mixes: bool = field(default=False, kw_only=True)
    only: dict[str, str] = field(default_factory=dict, kw_only=True)


def _of(name, convert):
    """Return what converts an attribute of a track; None, which mirdata has for a missing file."""

    def read(track):
        found = getattr(track, name)
        return None if found is None else convert(found)

    return read


def _starts(events):
    """Return when notes or events begin [s]."""
    return np.sort(np.asarray(events.intervals, np.float64)[:, 0])


def _spans(events):
    """Return when notes or events begin and end [s]."""
    return np.asarray(events.intervals, np.float64).reshape(-1, 2)


def _sung(events):
    """Return where somebody sings in RWC: not in b, breaks, nor in s, solos of instruments."""
    sung = [event.partition(":")[0] not in ("b", "s") for event in events.events]
    return _spans(events)[np.array(sung, bool)]


def _pitch(contour):
    """Return times [s] and frequencies [Hz], 0 where there is no voice."""
    voiced = np.asarray(contour.voicing) > 0
    return np.asarray(contour.times), np.where(voiced, _hertz(contour, contour.frequencies), 0.0)


def _pitches(contours):
    """Return times [s] and an array of frequencies [Hz] for each."""
    rows = [_hertz(contours, some) for some in contours.frequency_list]
    return np.asarray(contours.times), [row[row > 0] for row in rows]


def _melody(contour):
    """Return one pitch as if it were several."""
    times, frequencies = _pitch(contour)
    return times, [np.array([each] if each else []) for each in frequencies]


def _hertz(contour, numbers):
    numbers = np.asarray(numbers, np.float64)
    return 440 * 2 ** ((numbers - 69) / 12) if contour.frequency_unit == "midi" else numbers


def _strokes(track):
    """Return the onsets of all four strokes of a tabla."""
    strokes = (track.onsets_b, track.onsets_d, track.onsets_rb, track.onsets_rt)
    times = [stroke.times for stroke in strokes if stroke is not None]
    return np.sort(np.concatenate(times)) if times else np.zeros(0)


def _plucks(strings):
    """Return the onsets of all strings of a guitar."""
    times = [_starts(notes) for notes in strings.values() if notes is not None]
    return np.sort(np.concatenate(times)) if times else np.zeros(0)


def _jazz_onsets(events):
    """Return onsets, of which mirdata makes intervals from each to the next."""
    return np.append(events.intervals[:, 0], events.intervals[-1:, 1])


def _first(instruments):
    """Return the instrument of a track of IRMAS's training part, which has one."""
    return instruments[0]


def _likely(scores):
    """Return the instruments of OpenMIC that listeners heard, of those they were asked about."""
    return tuple(name for name, score in scores.items() if score >= 0.5)


SETS: dict[str, Recipe] = {
    "four_way_tabla": Recipe({"onsets": _strokes}),
    "good_sounds": Recipe({"classes": _of("instrument", str)}),
    "groove_midi": Recipe({"onsets": _of("drum_events", _starts)}, split="split"),
    "gtzan_genre": Recipe(
        {"classes": _of("genre", str), "tags": _of("genre", lambda genre: (genre,))}
    ),
    "guitarset": Recipe(
        {"onsets": _of("notes", _plucks), "multi_f0": _of("multif0", _pitches)},
        "audio_mic_path",
    ),
    "irmas": Recipe(
        {"classes": _of("instrument", _first), "tags": _of("instrument", tuple)},
        split="split",
        only={"classes": "train"},
    ),
    "jtd": Recipe({"onsets": _of("onsets", _jazz_onsets)}),
    "maestro": Recipe({"onsets": _of("notes", _starts)}, split="split"),
    "mdb_stem_synth": Recipe({"pitch": _of("f0", _pitch)}),
    "medley_solos_db": Recipe({"classes": _of("instrument", str)}, split="subset"),
    "medleydb_melody": Recipe(
        {"pitch": _of("melody2", _pitch), "multi_f0": _of("melody3", _pitches)}
    ),
    "medleydb_pitch": Recipe({"pitch": _of("pitch", _pitch), "classes": _of("instrument", str)}),
    "mtg_jamendo_autotagging_moodtheme": Recipe({"tags": _of("tags", tuple)}),
    "openmic2018": Recipe({"tags": _of("instruments", _likely)}, split="split"),
    "orchset": Recipe(
        {"pitch": _of("melody", _pitch), "multi_f0": _of("melody", _melody)}, "audio_path_mono"
    ),
    "rwc_popular": Recipe({"voice": _of("vocal_instrument_activity", _sung)}),
    "scms": Recipe({"voice": _of("activations", _spans), "pitch": _of("pitch", _pitch)}),
    "slakh": Recipe({"multi_f0": _of("multif0", _pitches)}, "mix_path", "split", mixes=True),
    "tinysol": Recipe({"classes": _of("instrument_full", str)}, split="split"),
    "tonas": Recipe({"pitch": _of("f0_corrected", _pitch), "onsets": _of("notes", _starts)}),
    "vocadito": Recipe(
        {
            "pitch": _of("f0", _pitch),
            "voice": _of("notes_a1", _spans),
            "onsets": _of("notes_a1", _starts),
        }
    ),
}


def tracks(source: str, task: str) -> tuple[str, str, Iterator[Track | str]]:
    """Return the name of a data set, its license, and each track or what is wrong with it.

    Parameters
    ----------
    source : str
        `mirdata:NAME:FOLDER` or `mirdata:NAME@VERSION:FOLDER`; without a folder, where mirdata
        puts it.
    task : str

    Raises
    ------
    ValueError
        If we have no recipe for it, it has no labels for this task, or its index is broken.
    FileNotFoundError
        If the folder or the index is not there.
    """
    _, name, home = [*source.split(":", 2), ""][:3]
    name, _, version = name.partition("@")
    if name not in SETS:
        raise ValueError(
            f"load: mirdata's {name!r} is none that has a recipe; there are {', '.join(SETS)}"
        )
    recipe = SETS[name]
    if task not in recipe.labels:
        have = ", ".join(each for each, other in SETS.items() if task in other.labels)
        raise ValueError(
            f"load: {name} has no {task}; it has {', '.join(recipe.labels)}; {task} are in {have}"
        )
    dataset = _opened(name, version, home)
    try:
        names = dataset.mtrack_ids if recipe.mixes else dataset.track_ids
    except Exception as error:  # mirdata raises whatever Python does
        raise ValueError(f"load: the index {dataset.index_path} cannot be read: {error}") from error

    def each():
        for key in names:
            try:
                track = _track(name, version, home, task, key)
            except ValueError as error:
                yield f"{key}: {error}"
            else:
                if track is not None:
                    yield track

    return source, _license(dataset), each()


@lru_cache(maxsize=8)
def _opened(name, version, home):
    """Return a data set of mirdata's, which has its index."""
    try:
        mirdata = import_module("mirdata")
    except ImportError as error:
        raise ImportError('load needs mirdata: pip install "minicnn[data]"') from error
    dataset = mirdata.initialize(name, data_home=home or None, version=version or "default")
    folder = Path(dataset.data_home)
    if not folder.is_dir():
        raise FileNotFoundError(f"load: there is no folder {str(folder)!r}")
    index = Path(dataset.index_path)
    if not index.is_file():
        copy = folder / index.name
        if not copy.is_file():
            raise FileNotFoundError(
                f"load: the index of {name} is not there; put {index.name} into {folder}, or run "
                f'mirdata.initialize("{name}").download(["index"])'
            )
        dataset.index_path = str(copy)
    return dataset


def _license(dataset):
    """Return the license that mirdata prints, without its own disclaimer."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        dataset.license()
    text = printed.getvalue().partition("***")[0]
    return " ".join(line.strip() for line in text.splitlines() if not line.startswith("==")).strip()


def _found(name, version, home, key):
    dataset = _opened(name, version, home)
    return dataset.multitrack(key) if SETS[name].mixes else dataset.track(key)


def _track(name, version, home, task, key):
    """Return a track whose sound is there, or None if its part has no such labels."""
    recipe = SETS[name]
    try:
        found = _found(name, version, home, key)
        path = getattr(found, recipe.sound)
        split = getattr(found, recipe.split) if recipe.split else None
    except Exception as error:  # as in _label
        raise ValueError(f"mirdata cannot read it: {error!r}") from error
    split = None if split in (None, "") else str(split)
    if task in recipe.only and split != recipe.only[task]:
        return None
    if path is None or not Path(path).is_file():
        raise ValueError(f"there is no file {path}" if path else "it has no sound")
    # Not a track of mirdata's: those cannot be sent to the workers of a data loader.
    return Track(key, Path(path), split, read=partial(_label, name, version, home, task, key))


def _label(name, version, home, task, key):
    found = _found(name, version, home, key)
    try:
        label = SETS[name].labels[task](found)
    except Exception as error:  # mirdata's readers raise whatever Python does in a broken file
        raise ValueError(f"{name}: the {task} of {key} cannot be read: {error}") from error
    if label is None:
        raise ValueError(f"{name}: there are no {task} of {key}")
    return label
