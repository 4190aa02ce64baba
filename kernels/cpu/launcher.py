"""From Python to a kernel: its arguments unpacked once, and a team that does its items.

Kernels are called where they lie in memory. Linked into its launcher, as Numba does with what a
compiled function calls, each would be optimised and translated a second time, which would be half
of what a user waits for at first.
"""

import inspect
from typing import Any

from llvmlite import ir
from numba import typeof, types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiled import address, compiled
from .team import share

# What a launcher returns that was not told yet where its kernel lies.
UNKNOWN = 2

_NUMBER = types.int64
_WORD = ir.IntType(64)


def launcher_of(kernel):
    """Return the compiled function that has a team do a kernel.

    It takes what `team.share` takes, the arguments in place of task and block, and the two places
    of `places_of`. One kind of arguments needs these once, and 0 and 0 from then on.
    """
    function = kernel.py_func

    def launch(state, threads, count, arguments, shared, place):
        return _launch(kernel, state, threads, count, arguments, shared, place)

    # It is kept on disk by the name of the kernel, beside it.
    launch.__module__, launch.__qualname__ = function.__module__, f"{function.__qualname__}_launch"
    place = {name: getattr(function.__code__, name) for name in ("co_filename", "co_firstlineno")}
    launch.__code__ = launch.__code__.replace(**place)
    launcher: Any = compiled()(launch)
    launcher._cache._py_func = function  # also of a cache that keeps nothing
    return launcher


def places_of(kernel, state, arguments):
    """Return where `team.share` and the kernel for such arguments lie, compiled if need be."""
    kinds = typeof(arguments).types
    return (
        address(share, (typeof(state), *[_NUMBER] * 4)),
        address(kernel, (*kinds, *_last(kernel, kinds))),
    )


def _last(kernel, arguments):
    """Return the types of what a kernel takes beside these arguments: the numbers of items."""
    takes = len(inspect.signature(kernel.py_func).parameters)
    return (_NUMBER,) * (takes - len(arguments))


@intrinsic
def _launch(typing, kernel, state, threads, count, arguments, shared, place):
    """Have `team.share`, at `shared`, do all items of the kernel, at `place`."""
    last = _last(kernel.dispatcher, arguments)

    def generate(context, builder, signature, values):
        state, threads, count, arguments, *places = values[1:]
        cells = [_kept(builder, value) for value in places]
        function = _task(context, builder, cells[1], signature.args[4], last)
        given = cgutils.alloca_once_value(builder, arguments)
        done = cgutils.alloca_once_value(builder, ir.Constant(_WORD, UNKNOWN))
        with builder.if_then(_is_set(builder, builder.load_atomic(cells[1], "seq_cst", 8))):
            task, block = (builder.ptrtoint(each, _WORD) for each in (function, given))
            job, kinds = [state, threads, count, task, block], [signature.args[1], *[_NUMBER] * 4]
            status, failed = _call(context, builder, builder.load(cells[0]), _NUMBER, kinds, job)
            builder.store(builder.select(status.is_error, ir.Constant(_WORD, 1), failed), done)
        return builder.load(done)

    return _NUMBER(kernel, state, threads, count, arguments, shared, place), generate


def _kept(builder, value):
    """Return where a number of this module is kept, that every value but 0 replaces."""
    cell = cgutils.add_global_variable(builder.module, _WORD, "kept")
    cell.linkage, cell.initializer = "internal", ir.Constant(_WORD, 0)
    with builder.if_then(_is_set(builder, value)):
        builder.store_atomic(value, cell, "seq_cst", 8)
    return cell


def _is_set(builder, value):
    return builder.icmp_unsigned("!=", value, ir.Constant(_WORD, 0))


def _task(context, builder, cell, arguments, last):
    """Return a function of `team.share`'s: the kernel, with its arguments from the block."""
    kind = ir.FunctionType(ir.IntType(32), [_WORD] * 4)
    task = ir.Function(builder.module, kind, builder.module.get_unique_name("task"))
    task.linkage = "internal"
    inside = ir.IRBuilder(task.append_basic_block())
    block, *part, worker = task.args
    pointer = context.get_value_type(arguments).as_pointer()
    given = cgutils.unpack_tuple(inside, inside.load(inside.inttoptr(block, pointer)))
    values, kinds = [*given, *[worker, *part][-len(last) :]], [*arguments, *last]
    status, _ = _call(context, inside, inside.load(cell), types.none, kinds, values)
    inside.ret(inside.zext(status.is_error, ir.IntType(32)))
    return task


def _call(context, builder, place, result, kinds, values):
    """Call a compiled function at a place in memory; return its status and what it returns."""
    kind = context.call_conv.get_function_type(result, kinds)
    function = builder.inttoptr(place, kind.as_pointer())
    return context.call_conv.call_function(builder, function, result, kinds, values)
