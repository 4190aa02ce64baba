"""What figures are measured on: the machine, its limits, the threads in use, and all versions."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

import minicnn as mc
from minicnn.doctor import processor_name

CUPY = "cupy-cuda12x", "cupy-cuda13x"
BUSY = 0.25  # [cores] that others may take of those in use


@dataclass(frozen=True)
class Limits:
    """What a machine can do: multiply-adds [FLOP/s], 2 FLOP each, and memory traffic [bytes/s]."""

    flops: float
    bandwidth: float

    def bound(self, flop: float, traffic: float) -> tuple[str, float]:
        """Return which limit is nearer under the roofline, and the seconds that it asks for.

        Williams, Waterman & Patterson, "Roofline", Communications of the ACM 52(4), 2009.
        """
        compute, memory = flop / self.flops, traffic / self.bandwidth
        return ("compute", compute) if compute > memory else ("memory", memory)


def measure_limits(threads: int, size: int) -> Limits:
    """Measure a float32 product of size x size matrices and a copy of 16 of them, through NumPy.

    The best of several counts. A kernel that beats NumPy's matrix product exceeds the first limit,
    and one whose arrays stay in the cache the second.
    """
    a, b, product = np.ones((3, size, size), np.float32)
    multiply = _best(lambda: np.matmul(a, b, out=product))
    source, target = np.ones((2, 16 * size * size), np.float32)
    parts = np.array_split(target, threads), np.array_split(source, threads)
    settle()
    with ThreadPoolExecutor(threads) as pool:  # NumPy itself copies with one thread
        copy = _best(lambda: list(pool.map(np.copyto, *parts)))
    return Limits(flops=2 * size**3 / multiply, bandwidth=2 * source.nbytes / copy)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Let both sides, and the libraries below them, use this many threads inside the block."""
    import torch  # seconds, for which who only asks about the machine need not wait

    ours, theirs = mc.get_num_threads(), torch.get_num_threads()
    with threadpool_limits(count):
        mc.set_num_threads(count)
        torch.set_num_threads(count)
        try:
            yield
        finally:
            mc.set_num_threads(ours)
            torch.set_num_threads(theirs)


def settle(longest: float = 0.5) -> None:
    """Wait until no thread of this process spins, at most so many seconds.

    The threads of a library look for new work for a while before they sleep, those of OpenBLAS for
    2 ** 26 cycles, and keep cores from the library that comes next: with two threads on two cores
    PyTorch's layer of 0.3 ms took 7 ms after a matrix product of NumPy. One thread never spins.
    """
    import torch

    end = time.perf_counter() + longest
    while torch.get_num_threads() > 1 and time.perf_counter() < end:
        before = time.process_time()
        time.sleep(0.012)  # longer than a tick, at which the system counts what threads have used
        if time.process_time() - before < 1e-3:
            return


class Watch:
    """Watch what other programs take of the machine from now on.

    One core lost to them can cost two threads a hundredfold, as each waits for the other's share.

    Parameters
    ----------
    with_children : bool
        Whether processes that this one starts and waits for count as its own.
    """

    def __init__(self, *, with_children: bool = False):
        self._with_children = with_children
        self._started, self._before = time.perf_counter(), self._seconds()

    def cores(self) -> float | None:
        """Return how many cores other programs used on average so far; None where unknown."""
        if self._before is None:
            return None
        used = self._seconds() - self._before
        return max(used, 0.0) / (time.perf_counter() - self._started)

    def _seconds(self):
        seconds = _seconds_of_others()
        if seconds is None or not self._with_children:
            return seconds
        own = os.times()
        return seconds - own.children_user - own.children_system


def company(watch: Watch, threads: int) -> dict[str, Any]:
    """Return how many cores other programs used, and whether so many threads missed them."""
    others = watch.cores()
    spare = max(os.cpu_count() - threads, 0)
    return {"others": others, "busy": others is not None and others > spare + BUSY}


def describe() -> dict[str, Any]:
    """Return the processor, its cores, the memory [bytes or None], the system and NumPy's BLAS."""
    return {
        "cpu": processor_name(),
        "cores": os.cpu_count(),
        "memory": _memory(),
        "system": platform.platform(),
        # The architecture that a BLAS takes this processor for can halve its speed.
        "blas": [
            f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip()
            for pool in threadpool_info()
            if pool["user_api"] == "blas"
        ],
    }


def versions() -> dict[str, str]:
    """Return the version of Python and of every library that has a part in the figures."""
    found = {"python": platform.python_version(), "minicnn": mc.__version__}
    for library in ("numpy", "numba", "torch", "onnx", "onnxruntime", *CUPY):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[library] = importlib.metadata.version(library)
    return found


def commit() -> str | None:
    """Return the commit of this checkout, marked if files differ from it; None outside one."""
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True)
    except OSError:  # there is no git
        return None
    return done.stdout.strip() or None


def _seconds_of_others():
    """Return the seconds that all cores have worked for other programs; None outside Linux."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    ticks = [int(field) for field in stat.read_text().split(maxsplit=9)[1:9]]
    waiting = ticks[3] + ticks[4]  # user, nice, system, idle, iowait, irq, softirq, steal
    own = os.times()
    return (sum(ticks) - waiting) / os.sysconf("SC_CLK_TCK") - own.user - own.system


def _memory():
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _best(function: Callable[[], Any], repeats=7):
    """Return the shortest time of a call [s], after one to warm up."""
    times = []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times[1:])
