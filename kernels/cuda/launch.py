"""Launching: a kernel's name and its arguments, checked against what its source declares.

CuPy itself checks nothing: a Python float where a kernel takes a float32, an array with gaps or one
argument too few give wrong numbers or a dead context. So every launch compares number, type, gaps
and alignment first, which costs a few microseconds.

What runs kernels is an engine: CuPy, or one that a test sets.
"""

import contextlib
from contextvars import ContextVar
from itertools import chain

import numpy as np

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
        where.run(call, call.real, index, grid, block, shared)


class Call:
    """A kernel with its arguments."""

    def __init__(self, source, kernel, arguments):
        self.source, self.kernel = source, kernel
        parameters = source.kernels[kernel]
        if len(arguments) != len(parameters):
            raise TypeError(
                f"{kernel}: {len(arguments)} arguments for {len(parameters)} parameters "
                f"({', '.join(p.name for p in parameters)})"
            )
        self.pairs = list(zip(parameters, arguments, strict=True))
        arrays = list(chain.from_iterable(self._arrays(*pair) for pair in self.pairs))
        self.largest = max((array.size for _, array in arrays), default=0)
        reals = (array.dtype for parameter, array in arrays if parameter.type == "Real")
        self.real = next(reals, np.dtype(np.float32))

    def _arrays(self, parameter, value):
        """Yield each array with its parameter or field."""
        if isinstance(value, dict):
            for field in self.source.structs[parameter.type]:
                yield from self._arrays(field, value.get(field.name))
        elif parameter.is_pointer:
            for array in value if isinstance(value, list) else [value]:
                if array is not None and not hasattr(array, "flags"):
                    raise self._error(parameter, f"{type(array).__name__} where an array is taken")
                if array is not None:
                    yield parameter, array

    def packed(self, real, index, address):
        """Return the arguments as the kernel reads them: scalars and structs, all by value.

        `address(array, is_constant)` says where the kernel finds the content of an array.
        """
        return [self._pack(parameter, value, (real, index), address)
                for parameter, value in self.pairs]  # fmt: skip

    def _pack(self, parameter, value, types, address):
        if parameter.type in self.source.structs and not parameter.is_pointer:
            return self._pack_struct(parameter, value, types, address)
        dtype = self.source.dtype(parameter, *types)
        if parameter.is_pointer:
            return np.uint64(self._address(parameter, value, dtype, address))
        if not isinstance(value, (int, float, np.generic)):
            raise self._error(parameter, f"{type(value).__name__} where {dtype} is taken")
        if dtype.kind in "iu" and not (
            isinstance(value, (int, np.integer)) and _fits(value, dtype)
        ):
            raise self._error(parameter, f"{value!r} is no {dtype}")
        return dtype.type(value)

    def _pack_struct(self, parameter, value, types, address):
        fields = self.source.structs[parameter.type]
        given, taken = set(value), {field.name for field in fields}
        if given != taken:
            raise self._error(parameter, f"fields {sorted(given ^ taken)} are missing or unknown")
        struct = np.zeros((), self.source.dtype(parameter, *types))
        for field in fields:
            content = value[field.name]
            if field.count is None:
                struct[field.name] = self._pack(field, content, types, address)
            elif len(content) > field.count:
                raise self._error(field, f"{len(content)} entries where {field.count} fit")
            else:
                packed = [self._pack(field, part, types, address) for part in content]
                struct[field.name][: len(packed)] = packed
        return struct

    def _address(self, parameter, array, dtype, address):
        if array is None:
            return 0
        if array.dtype != dtype:
            raise self._error(parameter, f"{array.dtype} where {dtype} is taken")
        if not array.flags.c_contiguous:
            raise self._error(parameter, "the array has gaps")
        place = address(array, parameter.is_constant)
        if place % dtype.alignment:
            raise self._error(parameter, f"the array does not begin at a multiple of {dtype}")
        return place

    def _error(self, parameter, what):
        return TypeError(f"{self.kernel}, argument {parameter.name}: {what}")


def _fits(value, dtype):
    return np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
