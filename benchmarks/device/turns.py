"""Both sides in turns, A B A B, as everywhere in these benchmarks, but by the clock of a GPU."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import minicnn as mc
from benchmarks.harness import Side, WrongResult, compared, quartiles

TURNS = 15
FEWEST = 5
WARMING = 3  # the first compiles, or searches for the fastest algorithm
SHORTEST = 5e-3  # [s] what is faster than this is called several times per reading of the clock
MOST_CALLS = 50


def alternate(
    device: Any,
    sides: Mapping[str, Side],
    *,
    seconds: float,
    flushed: bool,
    turns: int = TURNS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time the sides in turns, once each has warmed up.

    Parameters
    ----------
    device : Device with a clock
    sides : mapping from name to Side
    seconds : float [s]
        Stop when this time is used up, though not before the fifth turn.
    flushed : bool
        Whether each call meets an empty cache and is timed alone; else several follow each other,
        as in training.
    turns : int
    clock : callable
        Of the process, for `seconds`.

    Returns
    -------
    dict from name to list of float [s]
    """
    counts = {}
    for name, side in sides.items():
        *_, last = [device.seconds(side(), flushed=flushed) for _ in range(WARMING)]
        counts[name] = 1 if flushed else min(math.ceil(SHORTEST / max(last, 1e-9)), MOST_CALLS)
    readings: dict[str, list[float]] = {name: [] for name in sides}
    gc.collect()
    gc.disable()  # so that one side does not clear away what the other left
    try:
        started = clock()
        for turn in range(turns):
            if turn >= FEWEST and clock() - started >= seconds:
                break
            for name, side in sides.items():
                readings[name].append(device.seconds(side(), counts[name], flushed=flushed))
    finally:
        gc.enable()
    return readings


def compare(
    device: Any,
    ours: Mapping[str, Side | str],
    theirs: Mapping[str, Side | str],
    *,
    seconds: float,
    flushed: bool,
) -> dict[str, Any]:
    """Return the figures of every way to do the same work, and how the fastest ones compare.

    Parameters
    ----------
    device : Device with a clock
    ours, theirs : mapping from name to Side, or to why there is none
        A name ends with "eager" or "graph".
    seconds, flushed
        As in `alternate`.

    Returns
    -------
    dict
        "ours" and "pytorch" have the figures by name, "fastest" is the name of the fastest on each
        side, and "ratio" PyTorch's fastest median by ours, "paired" its quartiles turn by turn;
        "alike" has that ratio among those that run eagerly and among graphs, None where a side has
        none. "missing" says why a way is not there.
    """
    ways = {("ours", n): side for n, side in ours.items()}
    ways |= {("pytorch", n): side for n, side in theirs.items()}
    present = {way: side for way, side in ways.items() if not isinstance(side, str)}
    readings = alternate(device, present, seconds=seconds, flushed=flushed)
    found: dict[str, dict[str, Any]] = {"ours": {}, "pytorch": {}}
    for (side, name), times in readings.items():
        found[side][name] = {**quartiles(times), "seconds": times}
    return {
        **found,
        "missing": {name: why for (_, name), why in ways.items() if isinstance(why, str)},
        **_between(found["ours"], found["pytorch"]),
        "alike": {
            kind: _between(*(_ending(figures, kind) for figures in found.values()))["ratio"]
            for kind in ("eager", "graph")
        },
    }


def apart(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """Return the norm of the difference of all results together, by the norm of theirs.

    Raises
    ------
    WrongResult
        If their numbers or shapes are not the same.
    """
    ours, theirs = list(map(_array, ours)), list(map(_array, theirs))
    shapes = [[array.shape for array in side] for side in (ours, theirs)]
    if shapes[0] != shapes[1]:
        raise WrongResult(f"results have the shapes {shapes[0]}, expected are {shapes[1]}")
    pairs = zip(ours, theirs, strict=True)
    difference = sum(_square(one - other) for one, other in pairs)
    return math.sqrt(difference / max(sum(map(_square, theirs)), np.finfo(np.float32).tiny))


def verify(where: str, ours: Sequence[Any], theirs: Sequence[Any], allowed: float) -> float:
    """Return how far both sides are apart.

    Raises
    ------
    WrongResult
        If that is more than is allowed, or no number.
    """
    error = apart(ours, theirs)
    if not error <= allowed:
        raise WrongResult(
            f"{where}: the norm of the difference is {error:.2g} of the result's; "
            f"{allowed:.2g} is allowed"
        )
    return error


def _between(ours, theirs):
    """Return the fastest of both sides and their ratio; None where a side has none."""
    if not ours or not theirs:
        return {"fastest": None, "ratio": None, "paired": None}
    fastest = [min(side, key=lambda name: side[name]["median"]) for side in (ours, theirs)]
    return {
        "fastest": dict(zip(("ours", "pytorch"), fastest, strict=True)),
        **compared(theirs[fastest[1]], ours[fastest[0]]),
    }


def _ending(figures, kind):
    return {name: each for name, each in figures.items() if name.endswith(kind)}


def _array(result):
    """Return an array of a result of either side, in the same memory where that is possible."""
    if isinstance(result, np.ndarray) or not hasattr(result, "detach"):
        return result
    tensor = result.detach()
    return mc.from_dlpack(tensor.float() if tensor.element_size() == 2 else tensor).data


def _square(array):
    """Return the sum of squares."""
    return float((array * array).sum(dtype=np.float64))
