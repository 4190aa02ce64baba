"""Processes that tests end before their time: how they are started, hit, and looked for after."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 120  # how long a process may take to begin or to end on a machine that is busy [s]


def cores():
    """Return how many processes may run at once here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def crew():
    """Yield a pool of as many threads as there are cores; at an error it begins nothing more."""
    pool = ThreadPoolExecutor(cores())
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Life:
    """How a process lived: what it said, and whether a signal came before its end."""

    said: list[str]
    errors: str
    code: int
    hit: bool


def live(module, *arguments, after=None, when=None, number=signal.SIGKILL, to_all=False):
    """Run a module, until its end or until a signal, and return its life.

    The signal comes so many seconds after the process says "ready", and then as soon as `when()`
    holds. It goes to the process, or to all of its group, as Ctrl-C in a terminal does. Raise
    AssertionError if any process of the group is left.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with contextlib.ExitStack() as stack:
        stack.callback(_end, process)
        first = process.stdout.readline()
        assert first.startswith("ready"), process.stderr.read()
        hit = False
        if after is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(after)
            while when is not None and process.poll() is None and not when():
                time.sleep(0.0005)
            if hit := process.poll() is None:
                (os.killpg if to_all else os.kill)(process.pid, number)
        said, errors = process.communicate(timeout=PATIENCE)
        assert_alone(process.pid)
    return Life(said.splitlines(), errors, process.returncode, hit)


def _end(process):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.communicate()


def assert_alone(group):
    """Raise if processes of a group go on although its first one has ended."""
    deadline = time.monotonic() + PATIENCE
    while left := members(group):
        assert time.monotonic() < deadline, f"processes {left} are orphans"
        time.sleep(0.02)


def members(group):
    """Return the processes of a group that live; a zombie only waits to be noticed."""
    if not Path("/proc/self/stat").exists():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, 0)
            return [group]
        return []
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                found.append(int(path.parent.name))
    return found


def at_once(function, count, wanted):
    """Call `function(rng)` in all cores until the numbers that it returns add up to `wanted`.

    At least `count` calls, each with a generator of its own, which follows from its number.
    """
    total, number = 0, 0
    with crew() as pool:
        while number < count or total < wanted:
            many = range(number, number + max(count - number, min(cores(), wanted - total)))
            total += sum(pool.map(lambda i: function(random.Random(i)), many))
            number = many.stop
    return number, total
