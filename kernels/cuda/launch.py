"""Launching: a kernel's name and its arguments, checked against what its source declares.

CuPy itself checks nothing: a Python float where a kernel takes a float32, an array with gaps or one
argument too few give wrong numbers or a dead context. So every launch compares number, type, gaps
and alignment first, which costs some 10 microseconds, and nothing in a graph.

What runs kernels is an engine: CuPy, or one that a test sets.
"""

import contextlib
import functools
from contextvars import ContextVar

import numpy as np

from .. import reference
from .packing import is_array, slots_of
from .source import FOLDER, Source

BLOCK = 256
# From here on the elements of an array are counted in 64 bits: a loop's last step may pass the end.
WIDE = 2**30

_chosen = ContextVar("engine", default=None)


def engine():
    """Return what runs kernels here."""
    if (chosen := _chosen.get()) is not None:
        return chosen
    from .module import engine as with_cupy

    return with_cupy()


@contextlib.contextmanager
def use(other):
    """Run kernels on this engine inside the block."""
    token = _chosen.set(other)
    try:
        yield
    finally:
        _chosen.reset(token)


def empty(like, shape=None, dtype=None):
    """Return an array with any content, by default of the shape and dtype of another."""
    return engine().empty(like, like.shape if shape is None else shape, dtype or like.dtype)


def zeros(like, shape, dtype=None):
    """Return an array of zeros, by default of the dtype of another."""
    array = empty(like, shape, dtype)
    array.fill(0)
    return array


def contiguous(x):
    """Return an array without gaps: the same, or a copy."""
    return x if x.flags.c_contiguous else x.copy()


def takes(*arrays):
    """Return whether kernels are made for these arrays: all float32, or all float64."""
    dtype = arrays[0].dtype
    return dtype in (np.float32, np.float64) and all(a.dtype == dtype for a in arrays)


def alike(*arrays):
    """Return whether kernels are made for these arrays, and all have the same shape."""
    return takes(*arrays) and all(a.shape == arrays[0].shape for a in arrays)


def made_for_reals(kernel):
    """Let the reference answer where arrays are not all float32, or all float64."""
    return _with_reference(kernel, takes)


def made_for_equals(kernel):
    """Let the reference answer where arrays are not of one such type, and of one shape."""
    return _with_reference(kernel, alike)


def _with_reference(kernel, condition):
    @functools.wraps(kernel)
    def answer(*arguments, **options):
        if condition(*filter(is_array, arguments)):
            return kernel(*arguments, **options)
        return getattr(reference, kernel.__name__)(*arguments, **options)

    return answer


class Launcher:
    """Launches the kernels of one file."""

    def __init__(self, file):
        self.source = Source(FOLDER / file)

    def __call__(self, kernel, *arguments, threads=None, grid=None, block=BLOCK, shared=0):
        """Run a kernel once, for so many threads that loop, or on a grid of blocks.

        A struct is given as a dict. Where there is nothing to do, nothing is launched.

        Raises
        ------
        TypeError
            If the arguments are not those that the source declares.
        """
        call = Call(self.source, kernel, arguments)
        where = engine()
        if grid is None:
            grid = (min(-(-threads // block), where.most_blocks),)
        if 0 in grid:
            return
        wide = call.largest >= WIDE or (threads or 0) >= WIDE
        index = np.dtype(np.int64 if wide or where.is_wide else np.int32)
        where.run(call, index, grid, block, shared)


class Call:
    """A kernel with its arguments."""

    def __init__(self, source, kernel, arguments):
        self.source, self.kernel, self.arguments = source, kernel, arguments
        parameters = source.kernels[kernel]
        if len(arguments) != len(parameters):
            raise TypeError(
                f"{kernel}: {len(arguments)} arguments for {len(parameters)} parameters "
                f"({', '.join(p.name for p in parameters)})"
            )
        self.largest, self.real = 0, None
        for parameter, argument in zip(parameters, arguments, strict=True):
            self._look_at(parameter, argument)
        if self.real is None:
            self.real = np.dtype(np.float32)

    def _look_at(self, parameter, value):
        """Note the size of the largest array, and which type Real is."""
        if isinstance(value, dict) and parameter.type in self.source.holders:
            for field in self.source.structs[parameter.type]:
                self._look_at(field, value.get(field.name))
        elif parameter.is_pointer:
            for array in value if isinstance(value, list) else [value]:
                if is_array(array):
                    self.largest = max(self.largest, array.size)
                    if self.real is None and parameter.type == "Real":
                        self.real = array.dtype

    def packed(self, index, address):
        """Return the arguments as the kernel reads them: scalars and structs, all by value.

        `address(array, is_constant)` says where the kernel finds the content of an array.
        """
        slots = slots_of(self.source, self.kernel, self.real, index)
        return [
            slot.packed(argument, address)
            for slot, argument in zip(slots, self.arguments, strict=True)
        ]
