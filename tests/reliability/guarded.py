"""Memory whose borders are watched: who reads or writes beyond an array is found out.

An array begins or ends at a page that may not be touched, whose neighbours the processor stops at
once. What lies between the array and its pages' other end is a guard: bytes that are looked at when
the array is given back. As numbers they are huge, and what an array holds before it is written to
are NaN, so that neither can be read without showing in a result.
"""

import ctypes
import itertools
import mmap
from collections import defaultdict

import numpy as np
from minicnn.kernels import memory

_C = ctypes.CDLL(None, use_errno=True)
_PAGE = mmap.PAGESIZE
_LITTLE = 16  # where NumPy's own arrays begin is a multiple of this [bytes]
GUARDS = (0x7C, 0x7D, 0x7E)  # never the same twice in a row: a guard that is copied is no guard


class _Pages:
    """Some pages in a row, between two that may not be touched."""

    def __init__(self, count):
        self._memory = mmap.mmap(-1, (count + 2) * _PAGE)
        everything = np.frombuffer(self._memory, np.uint8)
        self.bytes = everything[_PAGE:-_PAGE]
        self.address = self.bytes.ctypes.data
        for border in (self.address - _PAGE, self.address + len(self.bytes)):
            if _C.mprotect(ctypes.c_void_p(border), ctypes.c_size_t(_PAGE), 0):
                raise OSError(ctypes.get_errno(), "a page cannot be protected")


class _Loan(memory._Loan):
    """Pages in use: they are looked at, and go back, when their array dies."""

    __slots__ = ("begin", "end", "guard", "pages", "watch")

    def __init__(self, watch, pages, begin, shape, dtype):
        self.watch, self.pages, self.guard = watch, pages, next(watch.guards)
        self.begin, self.end = begin, begin + int(np.prod(shape)) * dtype.itemsize
        pages.bytes[:] = self.guard
        pages.bytes[begin : self.end] = 0xFF
        self.__array_interface__ = dict(
            version=3, shape=shape, typestr=dtype.str, data=(pages.address + begin, False)
        )

    def __del__(self):
        before, after = self.pages.bytes[: self.begin], self.pages.bytes[self.end :]
        if (before != self.guard).any() or (after != self.guard).any():
            self.watch.broken.append(self.__array_interface__["shape"])
        self.watch.give_back(self.pages)


class Watch:
    """Lends arrays between guards.

    Attributes
    ----------
    lent : int
        How many arrays there were.
    broken : list of tuple
        The shapes of those beside which something was written.
    """

    def __init__(self, rng):
        self.guards, self.lent, self.broken = itertools.cycle(GUARDS), 0, []
        self._rng, self._free = rng, defaultdict(list)

    def empty(self, shape, dtype):
        """Return an array as `memory.empty` does, which begins where those do."""
        dtype, shape = np.dtype(dtype), tuple(map(int, shape))
        size = int(np.prod(shape)) * dtype.itemsize
        step = memory.ALIGNMENT if size >= memory.LEAST else _LITTLE
        return self._lend(shape, dtype, size, step)

    def laid(self, array):
        """Return a copy of an array, in its order of axes, that begins at any of its numbers."""
        axes = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        shape = tuple(array.shape[axis] for axis in axes)
        copy = self._lend(shape, array.dtype, array.nbytes, array.itemsize)
        copy = copy.transpose(np.argsort(axes))
        copy[...] = array
        return copy

    def give_back(self, pages):
        self._free[len(pages.bytes)].append(pages)

    def _lend(self, shape, dtype, size, step):
        self.lent += 1
        count = 1 << max(0, -(-size // _PAGE) - 1).bit_length()
        free = self._free[count * _PAGE]
        pages = free.pop() if free else _Pages(count)
        last = (len(pages.bytes) - size) // step * step
        # At the end of its pages more often: kernels read forwards.
        begin = 0 if self._rng.random() < 0.3 else last
        return np.asarray(_Loan(self, pages, begin, shape, dtype))
