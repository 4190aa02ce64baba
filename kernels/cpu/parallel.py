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
import inspect
import os
import threading
import time
from functools import update_wrapper
from queue import SimpleQueue
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ..threads import get_num_threads
from .compiled import compiled
from .team import STOP, new_state, serve, share

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
        self.kernel = compiled(**options)(function)
        self._launch = _launcher(self.kernel)

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
        state = _team.ready(min(threads, count) if elements >= LEAST else 1)
        if self._launch(*state, count, arguments):
            raise MemoryError(f"{self._name} failed: there is hardly memory for its workspace")


def parallel(**options):
    """Return a decorator: a compiled kernel whose items several threads share.

    The last arguments of the function are the range of items, `start` and `stop`; before them may
    stand `worker`, the number of the thread that does them, for a kernel that has a room for each.
    """
    return lambda function: Parallel(function, **options)


def _launcher(kernel):
    """Return the compiled function that has a team do a kernel."""
    function = kernel.py_func

    def launch(state, threads, count, arguments):
        addresses: tuple = _task(kernel, arguments)
        return share(state, threads, count, addresses[0], addresses[1])

    # It is kept on disk by the name of the kernel, beside it.
    launch.__module__, launch.__qualname__ = function.__module__, f"{function.__qualname__}_launch"
    place = {name: getattr(function.__code__, name) for name in ("co_filename", "co_firstlineno")}
    launch.__code__ = launch.__code__.replace(**place)
    launcher: Any = compiled()(launch)
    launcher._cache._py_func = function
    return launcher


@intrinsic
def _task(typing, kernel, arguments):
    """Return the addresses of a function of `team.share`'s, and of the block that it gets.

    The function takes the arguments from the block, and calls the kernel for a part of its items.
    """
    word = types.int64
    takes = len(inspect.signature(kernel.dispatcher.py_func).parameters) - len(arguments)
    call = kernel.get_call_type(typing, (*arguments, *[word] * takes), {})
    found = kernel.dispatcher.get_compile_result(call)
    signature = types.UniTuple(word, 2)(kernel, arguments)

    def generate(context, builder, signature, values):
        number = ir.IntType(64)
        kind = ir.FunctionType(ir.IntType(32), [number] * 4)
        task = ir.Function(builder.module, kind, builder.function.name + ".task")
        task.linkage = "internal"
        kept = cgutils.alloca_once_value(builder, values[1])

        inside = ir.IRBuilder(task.append_basic_block())
        block, *part, worker = task.args
        packed = inside.load(inside.inttoptr(block, kept.type))
        given = cgutils.unpack_tuple(inside, packed)
        last = [worker, *part][-takes:]
        function = context.declare_function(builder.module, found.fndesc)
        status, _ = context.call_conv.call_function(
            inside, function, call.return_type, call.args, [*given, *last]
        )
        inside.ret(inside.zext(status.is_error, ir.IntType(32)))
        context.add_linking_libs([found.library])
        addresses = [builder.ptrtoint(place, number) for place in (task, kept)]
        return context.make_tuple(builder, signature.return_type, addresses)

    return signature, generate


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
