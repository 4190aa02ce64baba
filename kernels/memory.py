"""Memory that is used again: large arrays do not pay for fresh pages.

A fresh array of 100 MB costs more than what a kernel computes in it, because the system clears
every page before it hands it out. Here the memory of a large array waits, when its last view is
gone, for the next array of its size; a training step asks for the same sizes again and again.

What waits and what is in use are together hardly more than what was once in use (`SPARE`), so
nothing grows: where room is needed for another size, the memory that has waited longest goes back
to the system.
"""

import os
import threading
from collections import OrderedDict, deque

import numpy as np

LEAST = 1 << 16  # smaller arrays are NumPy's own [bytes]
# What may wait beside the most that was in use: so that the workspaces of kernels, which come and
# go, are not given back whenever much is in use [bytes].
SPARE = 1 << 25
ALIGNMENT = 64  # a vector across two cache lines is read twice [bytes]

_lock = threading.Lock()
_returned: deque[np.ndarray] = deque()
_waiting: OrderedDict[int, list[np.ndarray]] = OrderedDict()  # size -> memory; last used, last
_figures = {"in_use": 0, "waiting": 0, "peak": 0, "fresh": 0, "reused": 0}


class _Loan:
    """Memory in use: NumPy keeps it as the base of an array, and it goes back when that dies."""

    __slots__ = ("__array_interface__", "memory")

    def __init__(self, memory, shape, dtype):
        self.memory = memory
        address = memory.ctypes.data
        address += -address % ALIGNMENT
        self.__array_interface__ = dict(
            version=3, shape=shape, typestr=dtype.str, data=(address, False)
        )

    def __del__(self, returned=_returned):
        # Nothing more: the collector may call this while the lock is held, or at the very end.
        returned.append(self.memory)


def empty(shape, dtype):
    """Return an array with any content, as `numpy.empty` does."""
    dtype, size = np.dtype(dtype), 1
    for extent in shape:
        size *= int(extent)
    size *= dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype)
    return np.asarray(_Loan(_borrow(_rounded(size)), tuple(map(int, shape)), dtype))


def empty_like(array):
    """Return an array with any content, of the shape, type and device of another."""
    if isinstance(array, np.ndarray):
        return empty(array.shape, array.dtype)
    return np.empty_like(array)


def zeros(shape, dtype):
    """Return an array of zeros."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def contiguous(array):
    """Return an array without gaps: the same, or a copy."""
    if array.flags.c_contiguous:
        return array
    copy = empty(array.shape, array.dtype)
    np.copyto(copy, array)
    return copy


def owns(array):
    """Return whether the array is all there is of its memory, and not a view of another array."""
    return array.base is None or isinstance(array.base, _Loan)


def memory_stats() -> dict[str, int]:
    """Return what large arrays of the kernels take.

    Returns
    -------
    dict
        "in_use": by arrays that are alive; "waiting": kept for the next arrays; "peak": the most
        that was in use at once, and with `SPARE` an upper bound of the two together [bytes].
        "fresh" and "reused": how many arrays took memory from the system, or from what was waiting.
    """
    with _lock:
        _collect()
        return dict(_figures)


def empty_cache() -> None:
    """Give all waiting memory back to the system, and measure the peak anew."""
    with _lock:
        _collect()
        _waiting.clear()
        _figures["waiting"] = 0
        _figures["peak"] = _figures["in_use"]


def _rounded(size):
    """Return a size a little larger that several sizes share: seven eighths are used or more."""
    step = 1 << max(size.bit_length() - 4, 12)
    return -(-size // step) * step


def _borrow(size):
    """Return memory of this size, with room to align it."""
    with _lock:
        _collect()
        waiting = _waiting.get(size)
        memory = waiting.pop() if waiting else None
        if memory is not None:
            _figures["waiting"] -= size
        _forget(size)
    fresh = memory is None
    if fresh:
        memory = np.empty(size + ALIGNMENT, np.uint8)
    with _lock:
        _figures["fresh" if fresh else "reused"] += 1
        _figures["in_use"] += size
        _figures["peak"] = max(_figures["peak"], _figures["in_use"])
    return memory


def _collect():
    """Let what came back wait for its next use."""
    while _returned:
        memory = _returned.popleft()
        size = memory.size - ALIGNMENT
        _waiting.setdefault(size, []).append(memory)
        _waiting.move_to_end(size)
        _figures["in_use"] -= size
        _figures["waiting"] += size


def _forget(size):
    """Give back what has waited longest, until there is room for so much more."""
    most = max(_figures["peak"], _figures["in_use"] + size) + SPARE - size
    while _figures["waiting"] and _figures["waiting"] + _figures["in_use"] > most:
        oldest, waiting = next(iter(_waiting.items()))
        if waiting:
            waiting.pop(0)
            _figures["waiting"] -= oldest
        else:
            del _waiting[oldest]


def _start_anew():
    """A child that forked may have a copy of the lock that nobody will open."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
