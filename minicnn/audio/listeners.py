"""Who plays what: a table of real listeners, or a simulated population where none can be had.

In a population, few songs are played by most, and most by few; some listeners play a lot, and most
a little; and each has a taste, for some features of songs and against others. So whoever knows only
which songs are popular does well, who knows who played what does better, and who can tell the
features of a song from its sound can recommend it before anybody has played it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from tqdm import tqdm

from minicnn.audio.label_table import table_rows
from minicnn.rng import generator

_COLUMNS = ("listener", "file", "count")
_CHUNK = 256  # listeners at a time: 40 MB of doubles for 20,000 songs


@dataclass(frozen=True)
class Population:
    """Listeners, and what they play.

    Attributes
    ----------
    plays : scipy.sparse.csr_array of int32, shape (n_listeners, n_songs)
        How often each listener has played each song.
    tastes : ndarray, shape (n_listeners, n_features)
        How much a listener likes each feature; below 0 for dislike.
    popularity : ndarray, shape (n_songs,)
        The part of all plays that a song would have if all tastes were alike.
    """

    plays: Any
    tastes: np.ndarray
    popularity: np.ndarray


def simulate(
    songs,
    n_listeners: int,
    *,
    plays: float = 150.0,
    taste: float = 2.0,
    popularity: float = 0.8,
    activity: float = 1.0,
    rng: Any = None,
    progress: bool = True,
) -> Population:
    """Return a population that plays these songs.

    Each play is drawn for itself: listener u plays song i with a probability in proportion to
    popularity_i * exp(taste * liking_ui). Likings are the products of standardised features with
    the listener's taste, normal numbers; over all songs, they have mean 0 and deviation 1.
    Popularities are those of Zipf's law, 1 / rank^popularity, and ranks are drawn by lot.

    Parameters
    ----------
    songs : array, shape (n_songs, n_features)
        Features of each song: its styles or tags as 0 and 1, or other numbers.
    n_listeners : int
    plays : float
        How many plays a listener has in the mean; those of one song, too, count.
    taste : float
        How much taste decides; with 0, everybody plays what is popular.
    popularity : float
        How uneven songs are; with 0, they are all alike.
    activity : float
        How uneven listeners are: the deviation of the logarithm of their numbers of plays.
    rng : int, Generator or None
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Population

    Raises
    ------
    ValueError
        If songs are no matrix of finite numbers, all songs have the same features, or a number is
        out of range.
    """
    features = np.asarray(songs, np.float64)
    if features.ndim != 2 or not features.size or not np.isfinite(features).all():
        raise ValueError(
            f"simulate: songs are {features.shape}; they must be (songs, features), all finite"
        )
    if taste and not np.ptp(features, axis=0).any():
        raise ValueError(f"simulate: all {len(features)} songs have the same features")
    for name, value, least in (
        ("n_listeners", n_listeners, 1),
        ("plays", plays, 1),
        ("taste", taste, 0),
        ("popularity", popularity, 0),
        ("activity", activity, 0),
    ):
        if not least <= value < np.inf:
            raise ValueError(
                f"simulate: {name} is {value}; it must be at least {least}, and finite"
            )
    random = generator(rng)
    deviation = features.std(axis=0)
    features = (features - features.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    chances = random.permutation(np.arange(1.0, len(features) + 1) ** -popularity)
    tastes = random.standard_normal((n_listeners, features.shape[1]))
    counts = _counts(random, n_listeners, plays, activity)
    drawn = []
    with tqdm(total=n_listeners, disable=not progress, dynamic_ncols=True, unit="listener") as bar:
        for first in range(0, n_listeners, _CHUNK):
            some = slice(first, first + _CHUNK)
            ends = np.cumsum(chances * _attraction(tastes[some], features, taste), axis=1)
            for sums, count in zip(ends, counts[some], strict=True):
                places = random.random(count) * sums[-1]
                # A place that is rounded up to the very end is the last song's.
                drawn.append(np.minimum(np.searchsorted(sums, places, "right"), len(sums) - 1))
            bar.update(len(ends))
    who = np.repeat(np.arange(n_listeners), counts)
    what = np.concatenate(drawn)
    found = scipy.sparse.coo_array(
        (np.ones(len(who), np.int32), (who, what)), shape=(n_listeners, len(features))
    )
    return Population(found.tocsr(), tastes, chances / chances.sum())


def read(path: str | os.PathLike, songs: Sequence[str]) -> Any:
    """Return who plays what, from a table with the columns listener, file and count.

    Of a listener and a song that have several rows, the counts are added up. Songs without a row
    are played by nobody.

    Parameters
    ----------
    path : path-like
        Text in UTF-8 with commas, semicolons or tabs between.
    songs : sequence of str
        The files, as the table names them: their order is that of the columns.

    Returns
    -------
    scipy.sparse.csr_array of int64, shape (n_listeners, n_songs)
        Listeners are in the order of the table.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If it has other columns, a song that is not among these, a count that is none, or no rows.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"read: there is no file {str(path)!r}")
    lines, _ = table_rows(path)
    header = [name.strip().lower() for name in lines[0][1]] if lines else []
    if sorted(header) != sorted(_COLUMNS):
        raise ValueError(
            f"read: {path} has columns {', '.join(header)}; plays need {', '.join(_COLUMNS)}"
        )
    columns = {song: column for column, song in enumerate(songs)}
    rows: dict[str, int] = {}
    found = []
    for line, values in lines[1:]:
        where = f"read: {path.name} line {line}"
        if len(values) != len(header):
            raise ValueError(f"{where} has {len(values)} values, not {', '.join(header)}")
        listener, song, count = (values[header.index(name)].strip() for name in _COLUMNS)
        if song not in columns:
            raise ValueError(f"{where}: there is no song {song!r}")
        if not (count.isascii() and count.isdecimal()):
            raise ValueError(f"{where}: a count is {count!r}; it must be a whole number")
        found.append((int(count), rows.setdefault(listener, len(rows)), columns[song]))
    if not found:
        raise ValueError(f"read: {path} has no rows but the names of its columns")
    counts, who, what = np.array(found).T
    shape = len(rows), len(songs)
    return scipy.sparse.coo_array((counts, (who, what)), shape=shape).tocsr()


def _counts(random, n_listeners, plays, activity):
    """Return how many plays each listener has, at least 1, log-normal with this mean."""
    counts = random.lognormal(np.log(plays) - activity**2 / 2, activity, n_listeners)
    return np.maximum(np.round(counts), 1).astype(np.int64)


def _attraction(tastes, features, strength):
    """Return by how much taste multiplies the chances of each song, the best liked by 1."""
    liking = tastes @ features.T
    deviation = liking.std(axis=1, keepdims=True)
    liking *= strength / np.where(deviation > 0, deviation, 1)
    # Only ratios count, and the exponential of a strong taste would overflow.
    liking -= liking.max(axis=1, keepdims=True)
    return np.exp(liking, out=liking)
