"""One kernel on all cores.

`parallel` makes of a function over a range of items a kernel that several threads share. No two
parts of the range write to the same place, and no item depends on what part it falls into. So
results are the same, bit for bit, for any number of threads.

Numba has threads too, but one of its layers (omp) kills a child that forks, as data loaders do, and
another (workqueue) aborts the process where two Python threads call it at once. So helpers are
threads of Python's own, that spend their time in `team`. One that sleeps is woken, and joins late
or not at all; nobody waits for it.
"""

import atexit
import contextlib
import ctypes
import os
import threading
import time
from functools import update_wrapper
from queue import SimpleQueue
from typing import Any

from ..threads import get_num_threads
from .compiled import compiled
from .launcher import UNKNOWN, launcher_of, places_of
from .team import STOP, new_state, serve

# Whoever has fewer numbers is done before a helper has begun.
LEAST = 1 << 14  # [elements]
# As many multiply-adds take as long as one of these elements.
WORK = 32

_C: Any = ctypes.CDLL(None) if os.name == "posix" else None
_MOVABLE = hasattr(os, "sched_setaffinity") and hasattr(_C, "sched_getcpu")


class Parallel:
    """A kernel over a range of items; see `parallel`."""

    def __init__(self, function, **options):
        update_wrapper(self, function)
        self._name = function.__name__
        self._kernel = compiled(no_cpython_wrapper=True, **options)(function)
        self._launch = launcher_of(self._kernel)

    def __call__(self, *arguments, count, elements, workers=None):
        """Do all items.

        Parameters
        ----------
        arguments
            What the kernel takes, up to `worker` or `start`.
        count : int
            How many items there are.
        elements : int
            How many numbers all items hold together: says whether a second thread is worth it.
        workers : int, optional
            How many workers there is room for, where the kernel has rooms for each.
        """
        threads = workers or get_num_threads()
        state, threads = _team.ready(min(threads, count) if elements >= LEAST else 1)
        done = self._launch(state, threads, count, arguments, 0, 0)
        if done == UNKNOWN:
            places = places_of(self._kernel, state, arguments)
            done = self._launch(state, threads, count, arguments, *places)
        if done:
            raise MemoryError(f"{self._name}: no memory for its workspace, or an error in it")


def parallel(**options):
    """Return a decorator: a compiled kernel, which returns nothing, whose items threads share.

    The last arguments of the function are the range of items, `start` and `stop`; before them may
    stand `worker`, the number of the thread that does them, for a kernel that has a room for each.
    """
    return lambda function: Parallel(function, **options)


class _Helper:
    """A thread that works for the team, or sleeps until it is woken."""

    def __init__(self, state, number):
        self._state, self._number = state, number
        self._bell: SimpleQueue = SimpleQueue()
        self.is_asleep = False
        self._thread = threading.Thread(target=self._run, name=f"minicnn {number}", daemon=True)
        self._thread.start()

    def wake(self, processor):
        """Let it look for jobs again, on another processor than this one."""
        self.is_asleep = False
        self._bell.put(processor)

    def _run(self):
        while True:
            serve(self._state, self._number)
            self.is_asleep = True
            processor = self._bell.get()
            self.is_asleep = False
            _leave(processor)

    def has_left(self):
        """Whether it is not in machine code and does not enter it by itself."""
        return self.is_asleep or not self._thread.is_alive()


class _Team:
    """The helpers, and what they share with those who give out jobs."""

    def __init__(self):
        self._state, self._helpers, self._starting = new_state(), [], threading.Lock()

    def ready(self, threads):
        """Return the state, and with how many threads a job can be done; wake the helpers."""
        if threads < 2:
            return self._state, 1
        if len(self._helpers) < threads - 1:
            self._start(threads - 1)
        for helper in self._helpers[: threads - 1]:
            if helper.is_asleep:
                helper.wake(_processor())
        return self._state, min(threads, 1 + len(self._helpers))

    def stop(self):
        """Wait until no helper is in machine code: it goes before they do."""
        self._state[STOP] = 1
        while not all(helper.has_left() for helper in self._helpers):
            time.sleep(0)

    def _start(self, count):
        with self._starting, contextlib.suppress(RuntimeError):  # the interpreter is about to exit
            while len(self._helpers) < count:
                self._helpers.append(_Helper(self._state, 1 + len(self._helpers)))


def _processor():
    """Return the number of the processor that this thread runs on, None where it cannot be told."""
    return _C.sched_getcpu() if _MOVABLE else None


def _leave(processor):
    """Move this thread to another processor if it is on this one.

    A thread that is woken begins on the processor of the one that woke it, and Linux may take 50 ms
    to move it elsewhere, while both have half of one processor.
    """
    if processor is None or _processor() != processor:
        return
    with contextlib.suppress(OSError):  # some sandboxes forbid it
        others = os.sched_getaffinity(os.getpid()) - {processor}
        if others:
            os.sched_setaffinity(0, others)
            os.sched_setaffinity(0, {*others, processor})  # it has moved, and is free again


def _start_anew():
    """A child that forked has none of its parent's threads."""
    global _team
    _team = _Team()


_team = _Team()
atexit.register(lambda: _team.stop())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
