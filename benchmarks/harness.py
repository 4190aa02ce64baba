"""Verify, then time: the same work by minicnn and by PyTorch, in one process, in turns.

A side is a function that makes one call ready, off the clock, and returns it; the call is what is
timed, and what it returns is what is verified. So the work of both sides is equal by construction:
they start from the same arrays and must hand back the same results, each of which is compared
before the first reading of the clock. A side that left a gradient out would have nothing to show.

Nothing is done about denormal numbers: both sides meet them as a user would.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.machine import Limits, settle

Call = Callable[[], Sequence[Any]]
Side = Callable[[], Call]

# Rounding errors of a sum add up like a random walk: as many roundings of the largest result as
# the root of the number of terms, and some room for a side that sums in a worse order.
ROUNDINGS = 8
SHORTEST = 1e-3  # [s] what is faster than this is called several times per reading of the clock
MOST_CALLS = 1000
LONG = 0.05  # [s] what is faster than this needs to warm up again, after its threads have slept
FEWEST_REPEATS = 3


class WrongResult(AssertionError):  # noqa: N818
    """The two sides do not agree, so there is nothing to time."""


@dataclass(frozen=True)
class Problem:
    """Both sides of one case, ready to run.

    Parameters
    ----------
    ours : Side
    theirs : mapping from layout to Side
        PyTorch's ways to do it; the fastest of them is what minicnn is compared with.
    rivals : mapping from name to Side or None
        What else does the same work, compared one by one; None where it is not installed.
    terms : mapping from the name of each result to its number of summed terms
        Empty where results cannot be compared one by one, and `check` stands in.
    flop : float
        Arithmetic operations: 2 for each multiply-add, by the formula of the textbook algorithm.
    traffic : float [bytes]
        What must be moved at least: every input read once and every output written once.
    shapes : mapping from name to shape
    check : callable, optional
        Verifies what the results of a call cannot show; raises, or returns what `agree` returns.
    """

    ours: Side
    theirs: Mapping[str, Side]
    terms: Mapping[str, float]
    flop: float
    traffic: float
    shapes: Mapping[str, Sequence[int]]
    check: Callable[[], float] | None = None
    rivals: Mapping[str, Side | None] = field(default_factory=dict)

    def verify(self) -> float:
        """Return the worst error as a share of what is allowed; a wrong result raises."""
        shares = [self.check()] if self.check is not None else []
        if self.terms:
            ours, others = self.ours()(), {**self.theirs, **self.present}
            shares += [agree(name, ours, side()(), self.terms) for name, side in others.items()]
        return max(shares)

    @property
    def present(self) -> dict[str, Side]:
        """The rivals that are installed."""
        return {name: side for name, side in self.rivals.items() if side is not None}


@dataclass(frozen=True)
class Case:
    """One row of the report; its arrays exist from `build` on."""

    topic: str
    name: str
    work: str
    build: Callable[[], Problem]
    seconds: float = 10.0  # [s] after which it ends unless the command line says otherwise


def drawn(*, seed: int = 0, **shapes: Sequence[int]) -> dict[str, np.ndarray]:
    """Return float32 arrays of normal random numbers, the same ones for a seed."""
    rng = np.random.default_rng(seed)
    return {
        name: np.asarray(rng.standard_normal(shape, dtype=np.float32))
        for name, shape in shapes.items()
    }


def agree(
    where: str,
    ours: Sequence[Any],
    theirs: Sequence[Any],
    terms: Mapping[str, float],
    *,
    least: float = 0.0,
) -> float:
    """Compare the results of both sides, in the order of `terms`.

    What is allowed goes with the largest value of a result, which counts as `least` at least: some
    are nothing but the rounding errors of larger numbers.

    Returns
    -------
    float
        The worst error as a share of what is allowed, at most 1.

    Raises
    ------
    WrongResult
        If a result differs in number, shape, dtype or by more than rounding, with the figures.
    """
    if not len(ours) == len(theirs) == len(terms):
        raise WrongResult(
            f"{where}: {len(ours)} results of minicnn and {len(theirs)} of PyTorch "
            f"for {', '.join(terms)}"
        )
    worst = 0.0
    for (name, count), got, expected in zip(terms.items(), ours, theirs, strict=True):
        got, expected = np.asarray(got), expected.detach().numpy()
        if got.shape != expected.shape or got.dtype != expected.dtype:
            raise WrongResult(
                f"{where}: {name} is {got.dtype} {got.shape}, "
                f"PyTorch's is {expected.dtype} {expected.shape}"
            )
        error = float(np.abs(got - expected).max(initial=0))
        largest = float(np.abs(expected).max(initial=0))
        allowed = (
            ROUNDINGS * float(np.finfo(got.dtype).eps) * math.sqrt(count) * max(largest, least)
        )
        if not error <= allowed:
            raise WrongResult(
                f"{where}: {name} differs by {error:.3g} from PyTorch's, whose largest value is "
                f"{largest:.3g}; {count:.0f} summed terms allow {allowed:.3g}"
            )
        worst = max(worst, error / allowed if allowed else 0.0)
    return worst


def alternate(
    sides: Sequence[Side],
    repeats: int,
    seconds: float,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Time the sides in turns, A B A B, each once the threads of the other have gone to sleep.

    What is fast is called as often again before each turn, off the clock, to wake its own threads.

    Parameters
    ----------
    sides : sequence of Side
    repeats : int
        How often each side has its turn.
    seconds : float [s]
        Stop earlier when this time is used up, though not before the third turn.

    Returns
    -------
    list of list of float [s]
        The seconds per call of each side, turn by turn.
    """
    calls = [_calls(_timed(side, 0, 1, clock)) for side in sides]
    readings: list[list[float]] = [[] for _ in sides]
    gc.disable()  # so that one side does not clear away what the other left
    try:
        started = clock()
        for turn in range(repeats):
            if turn >= FEWEST_REPEATS and clock() - started >= seconds:
                break
            for side, (warming, count), times in zip(sides, calls, readings, strict=True):
                times.append(_timed(side, warming, count, clock))
    finally:
        gc.enable()
    return readings


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Return the lower quartile, the median and the upper quartile."""
    lower, median, upper = map(float, np.quantile(values, (0.25, 0.5, 0.75)))
    return {"lower": lower, "median": median, "upper": upper}


def compared(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ratio of the medians, and the quartiles of the ratio turn by turn."""
    pairs = zip(theirs["seconds"], ours["seconds"], strict=True)
    return {
        "ratio": theirs["median"] / ours["median"],
        "paired": quartiles([their_time / our_time for their_time, our_time in pairs]),
    }


def benchmark(
    case: Case,
    limits: Limits,
    *,
    repeats: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Verify one case, then time it.

    Returns
    -------
    dict
        The figures of minicnn ("ours") and of PyTorch ("pytorch", by layout), which layout is the
        "fastest", and "ratio": its median by ours, above 1 where minicnn is faster. "paired" has
        the quartiles of that ratio turn by turn. "rivals" has the same of what else ran, or None.

    Raises
    ------
    WrongResult
        If the sides do not agree; no clock was read then.
    """
    problem = case.build()
    try:
        share = problem.verify()
    except WrongResult as wrong:
        raise WrongResult(f"{case.topic}, {case.name}, {case.work}: {wrong}") from None
    bound, shortest = limits.bound(problem.flop, problem.traffic)
    sides = [problem.ours, *problem.theirs.values(), *problem.present.values()]
    ours, *others = (
        _figures(problem, shortest, times)
        for times in alternate(sides, repeats, seconds, clock=clock)
    )
    layouts = dict(zip(problem.theirs, others, strict=False))
    fastest = min(layouts, key=lambda layout: layouts[layout]["median"])
    present = dict(zip(problem.present, others[len(layouts) :], strict=True))
    rivals = {
        name: present[name] | compared(present[name], ours) if name in present else None
        for name in problem.rivals
    }
    return {
        "topic": case.topic,
        "case": case.name,
        "work": case.work,
        "shapes": {name: list(shape) for name, shape in problem.shapes.items()},
        "flop": problem.flop,
        "bytes": problem.traffic,
        "bound": bound,
        "tolerance_used": share,
        "ours": ours,
        "pytorch": layouts,
        "fastest": fastest,
        **compared(layouts[fastest], ours),
        **({"rivals": rivals} if rivals else {}),
    }


def _figures(problem, shortest, times):
    """Return what the seconds of one side say, where nothing faster than `shortest` is possible."""
    spread = quartiles(times)
    return {
        **spread,
        "gflops": problem.flop / spread["median"] / 1e9,
        "gbytes": problem.traffic / spread["median"] / 1e9,
        "fraction": shortest / spread["median"],
        "seconds": times,
    }


def _calls(seconds):
    """Return how many calls of this length warm up in each turn, and how many are timed."""
    count = min(math.ceil(SHORTEST / seconds), MOST_CALLS)
    return count if seconds < LONG else 0, count


def _timed(side, warming, count, clock):
    """Return the seconds of one call, averaged over `count` of them after some to warm up."""
    calls = [side() for _ in range(warming + count)]
    settle()
    for call in calls[:warming]:
        call()
    started = clock()
    for call in calls[warming:]:
        call()
    return max((clock() - started) / count, 1e-9)  # a coarse clock may not have moved
