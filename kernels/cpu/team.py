"""A caller and its helpers: threads that share the parts of one job, all in machine code.

A job is a function in machine code and how often it is to be called; who has nothing to do takes
the next part, so a thread that another program holds up finds less to do. Helpers wait for a job
by looking for it again and again, as those of OpenMP do, since to be woken takes longer than most
kernels; after a while they give up and sleep. Nothing here holds the interpreter.

Everything they tell each other stands in one array, `state`, a cache line for each number that more
than one of them writes.
"""

import os
import platform

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiled import compiled, linked

_LINE = 8  # numbers in a cache line
# Who may give out a job, the open one (0: none), how many are inside, the next part, whether one
# failed, whether all shall leave.
OWNER, JOB, INSIDE, NEXT, FAILED, STOP = (i * _LINE for i in range(6))
# The job itself: its number, items, parts, how many threads may join, the function, what it gets.
NUMBER, COUNT, PARTS, THREADS, TASK, BLOCK = (6 * _LINE + i for i in range(6))
SIZE = 8 * _LINE

# So often a helper looks for a job before it sleeps: about a millisecond.
PATIENCE = 1000
# Who misses so many jobs between two looks has no processor of its own, and is to be woken on one.
MISSED = 8
# A part for each thread would leave all waiting for one that another program holds up.
PARTS_EACH = 4

_WORD = ir.IntType(64)
_X86: tuple[str, list] = "llvm.x86.sse2.pause", []
_ARM = "llvm.aarch64.hint", [ir.Constant(ir.IntType(32), 1)]
_PAUSE = {"x86_64": _X86, "amd64": _X86, "arm64": _ARM, "aarch64": _ARM}
_YIELD = "sched_yield" if os.name == "posix" else "SwitchToThread"


def new_state():
    """Return the state of a team that has no job, aligned."""
    state = np.zeros(SIZE + _LINE, np.int64)
    first = -state.ctypes.data % (_LINE * 8) // 8
    return state[first : first + SIZE]


def _atomic(change):
    """Return an intrinsic of (state, place, value) that nothing is moved across."""

    @intrinsic
    def atomic(typing, state, place, value):
        def generate(context, builder, signature, values):
            data = context.make_array(signature.args[0])(context, builder, values[0]).data
            return change(builder, builder.gep(data, [values[1]]), values[2])

        return types.int64(state, types.int64, types.int64), generate

    return atomic


def _set(builder, place, value):
    builder.store_atomic(value, place, "seq_cst", 8)
    return value


def _replace(builder, place, value):
    """Put the value where 0 was; 1 if it was."""
    found = builder.cmpxchg(place, ir.Constant(_WORD, 0), value, "seq_cst")
    return builder.zext(builder.extract_value(found, 1), _WORD)


# The value before, what `_replace` says, the value there now.
add = _atomic(lambda builder, place, value: builder.atomic_rmw("add", place, value, "seq_cst"))
take = _atomic(_replace)
put = _atomic(_set)


@intrinsic
def look(typing, state, place):
    """Return a number of the state as it is now."""

    def generate(context, builder, signature, values):
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        return builder.load_atomic(builder.gep(data, [values[1]]), "seq_cst", 8)

    return types.int64(state, types.int64), generate


@intrinsic
def rest(typing):
    """Let the other thread of this core work, and any that waits for this core."""

    def generate(context, builder, signature, values):
        name, arguments = _PAUSE.get(platform.machine().lower(), (None, []))
        if name:
            pause = _declared(builder, name, ir.VoidType(), [value.type for value in arguments])
            for _ in range(16):
                builder.call(pause, arguments)
        builder.call(_declared(builder, _YIELD, ir.IntType(32), []), [])
        return context.get_dummy_value()

    return types.void(), generate


def _declared(builder, name, result, arguments):
    kind = ir.FunctionType(result, arguments)
    return cgutils.get_or_insert_function(builder.module, kind, name)


@intrinsic
def _call(typing, task, block, start, stop, worker):
    """Call a function at this address, and return whether it failed."""

    def generate(context, builder, signature, values):
        kind = ir.FunctionType(ir.IntType(32), [_WORD] * 4)
        failed = builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])
        return builder.zext(failed, _WORD)

    return types.int64(*[types.int64] * 5), generate


@linked()
def _work(state, worker):
    """Do part after part until none is left."""
    while True:
        part, parts, count = add(state, NEXT, 1), state[PARTS], state[COUNT]
        if part >= parts:
            return
        start, stop = part * count // parts, (part + 1) * count // parts
        if _call(state[TASK], state[BLOCK], start, stop, worker):
            put(state, FAILED, 1)


@compiled()
def share(state, threads, count, task, block):
    """Do a job with so many threads: call task(block, start, stop, worker) for parts of its items.

    `task` is the address of a function of four 64-bit numbers, which returns 0 if all is well.
    Returns 0 if every call did. The workers of a job have different numbers, below `threads`. A
    caller that finds the team busy does it all.
    """
    if threads < 2 or not take(state, OWNER, 1):
        return _call(task, block, 0, count, 0)
    state[NUMBER] += 1
    state[COUNT], state[PARTS], state[THREADS] = count, min(PARTS_EACH * threads, count), threads
    state[TASK], state[BLOCK] = task, block
    put(state, NEXT, 0)
    put(state, FAILED, 0)
    put(state, JOB, state[NUMBER])
    _work(state, 0)
    put(state, JOB, 0)
    while look(state, INSIDE):
        rest()
    failed = look(state, FAILED)
    put(state, OWNER, 0)
    return failed


@compiled()
def serve(state, worker):
    """Take part in one job after the other; return when none comes for a while, or all pass by."""
    seen = idle = 0
    number: int = look(state, NUMBER)
    while idle < PATIENCE and not look(state, STOP):
        before, number = number, look(state, NUMBER)
        if number > before + MISSED:
            return
        job = look(state, JOB)
        if job == 0 or job == seen:
            rest()
            idle += 1
            continue
        add(state, INSIDE, 1)
        # The caller waits for those who are inside, unless it has closed the job before they were.
        if look(state, JOB) == job and worker < state[THREADS]:
            _work(state, worker)
            idle = 0
        add(state, INSIDE, -1)
        seen = job
