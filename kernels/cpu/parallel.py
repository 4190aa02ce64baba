"""One kernel on all cores: compiled functions on threads of Python's own.

Compiled functions let go of the interpreter, so they run side by side. Numba has threads too, but
one of its layers (omp) kills a child that forks, as data loaders do, and another (workqueue) aborts
the process where two Python threads call it at once.

No two parts write to the same place, and no item depends on what part it falls into. So results are
the same, bit for bit, for any number of threads.

A thread that is woken begins on the processor of the one that woke it, and Linux may take 50 ms to
move it elsewhere, while both have half of one processor: so helpers move away by themselves.

The caller works too, and takes part after part. A helper that wakes up late, or is busy with
another caller, finds less to do or nothing; nobody waits for it. `concurrent.futures`, where the
caller sleeps until all is done, took 50 to 150 us more for every kernel.
"""

import contextlib
import ctypes
import os
import threading
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

from ..threads import get_num_threads

# In twice the time that it takes to wake another thread a core moves so much memory.
LEAST = 1 << 19  # [elements]
# As many multiply-adds take as long as one of these elements.
WORK = 32

_C: Any = ctypes.CDLL(None) if os.name == "posix" else None
_MOVABLE = hasattr(os, "sched_setaffinity") and hasattr(_C, "sched_getcpu")

_helpers: list[threading.Thread] = []
_jobs: SimpleQueue = SimpleQueue()
_starting = threading.Lock()


def in_parts(function, count, elements):
    """Call `function(start, stop)` for parts of `range(count)`, on several threads if it pays.

    Parameters
    ----------
    function : callable
        Spends its time in compiled code.
    count : int
        How many items there are, of which parts may be done apart.
    elements : int
        How many numbers all items hold together: says whether a second thread is worth it.
    """
    threads = min(get_num_threads(), count, elements // LEAST + 1)
    if threads < 2:
        function(0, count)
        return
    # Twice as many parts as threads: another program may hold up one of them.
    parts = min(2 * threads, count)
    job = _Job(function, [part * count // parts for part in range(parts + 1)])
    for _ in range(_available(threads - 1)):
        _jobs.put(job)
    job.run()
    job.wait()


class _Job:
    """A function and the parts that nobody has taken yet."""

    def __init__(self, function, cuts):
        self._function, self._parts = function, iter(list(pairwise(cuts)))
        self._lock, self._idle = threading.Lock(), threading.Event()
        self._running, self._error = 0, None
        self.processor = _processor()

    def run(self):
        """Do part after part until none is left."""
        while (part := self._take()) is not None:
            try:
                self._function(*part)
            except BaseException as error:
                self._error = self._error or error
            with self._lock:
                self._running -= 1
                if not self._running:
                    self._idle.set()

    def wait(self):
        """Wait for the parts that others are doing; raise the error of any part."""
        while True:
            with self._lock:
                if not self._running:
                    break
                self._idle.clear()
            self._idle.wait()
        if self._error is not None:
            raise self._error

    def _take(self):
        with self._lock:
            part = None if self._error else next(self._parts, None)
            self._running += part is not None
            return part


def _available(count):
    """Return how many helpers there are, at most `count`; start those that are missing."""
    if len(_helpers) < count:
        with _starting:
            while len(_helpers) < count:
                helper = threading.Thread(target=_help, args=(_jobs,), name="minicnn", daemon=True)
                try:
                    helper.start()
                except RuntimeError:
                    break  # the interpreter is about to exit
                _helpers.append(helper)
    return min(len(_helpers), count)


def _help(jobs):
    while True:
        job = jobs.get()
        _leave(job.processor)
        job.run()
        del job  # and with it the arrays that it worked on


def _processor():
    """Return the number of the processor that this thread runs on, None where it cannot be told."""
    return _C.sched_getcpu() if _MOVABLE else None


def _leave(processor):
    """Move this thread to another processor if it is on this one."""
    if processor is None or _processor() != processor:
        return
    others = os.sched_getaffinity(os.getpid()) - {processor}
    with contextlib.suppress(OSError):  # some sandboxes forbid it
        if others:
            os.sched_setaffinity(0, others)


def _start_anew():
    """A child that forked has none of its parent's threads."""
    global _jobs, _starting
    _helpers.clear()
    _jobs, _starting = SimpleQueue(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
