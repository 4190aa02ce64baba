"""Memory that is used again: large arrays do not pay for fresh pages.

A fresh array of 100 MB costs more than what a kernel computes in it, because the system clears
every page before it hands it out. Here the memory of a large array waits, when its last view is
gone, for the next arrays: a training step asks for the same sizes again and again. Each takes the
smallest piece that is large enough, and leaves what it does not need; neighbours that are both free
become one again.

What waits and what is in use are together hardly more than what was once in use (`SPARE`): where
room is needed, the memory that has waited longest goes back to the system. It goes as a whole, so a
piece that stays in use holds back what it was cut from, at most `LOOSE` times its own size.
"""

import contextlib
import os
import threading
from bisect import bisect_left, insort
from collections import deque
from itertools import count

import numpy as np

LEAST = 1 << 16  # smaller arrays are NumPy's own [bytes]
# What may wait beside the most that was in use: so that the workspaces of kernels, which come and
# go, are not given back whenever much is in use [bytes].
SPARE = 1 << 25
ALIGNMENT = 64  # a vector across two cache lines is read twice [bytes]
# A piece more than so many times as large is not cut: a small array that stays would keep it all.
LOOSE = 16
PAGE = 1 << 12  # pieces are so many whole pages [bytes]
ASKED = 1 << 28  # for larger arrays the system is asked whether there is room [bytes]

_lock = threading.Lock()
_returned: deque = deque()
_free: list[tuple] = []  # (size, number, piece), by size; the numbers rise with time
_numbers = count()
_figures = {"in_use": 0, "waiting": 0, "peak": 0, "fresh": 0, "reused": 0}


class _Piece:
    """A part of memory from the system, and the parts before and after it, or None."""

    __slots__ = ("after", "before", "memory", "number", "size", "start")

    def __init__(self, memory, start, size, before=None, after=None):
        self.memory, self.start, self.size = memory, start, size
        self.before, self.after = before, after
        self.number = None  # where it is free, its place in the order of time

    @property
    def is_whole(self):
        """Whether it is all of the memory."""
        return self.before is None and self.after is None


class _Loan:
    """Memory in use: NumPy keeps it as the base of an array, and it goes back when that dies."""

    __slots__ = ("__array_interface__", "piece")

    def __init__(self, piece, shape, dtype):
        self.piece = piece
        self.__array_interface__ = dict(
            version=3, shape=shape, typestr=dtype.str, data=(piece.start, False)
        )

    def __del__(self, returned=_returned):
        # Nothing more: the collector may call this while the lock is held, or at the very end.
        returned.append(self.piece)


def empty(shape, dtype):
    """Return an array with any content, as `numpy.empty` does."""
    dtype, size = np.dtype(dtype), 1
    for extent in shape:
        size *= int(extent)
    size *= dtype.itemsize
    if size < LEAST:
        return np.empty(shape, dtype)
    piece = _borrow(-(-size // PAGE) * PAGE, f"an array of {dtype} and shape {tuple(shape)}")
    return np.asarray(_Loan(piece, tuple(map(int, shape)), dtype))


def empty_like(array, shape=None):
    """Return an array with any content, of another's type and device, and its shape or this."""
    shape = array.shape if shape is None else shape
    if type(array) is np.ndarray:
        return empty(shape, array.dtype)
    return np.empty_like(array, shape=shape)


def zeros(shape, dtype):
    """Return an array of zeros."""
    array = empty(shape, dtype)
    array.fill(0)
    return array


def contiguous(array):
    """Return an array without gaps: the same, or a copy."""
    return array if array.flags.c_contiguous else copy(array)


def copy(array):
    """Return a copy of an array, without gaps."""
    y = empty(array.shape, array.dtype)
    np.copyto(y, array)
    return y


def owns(array):
    """Return whether the array is all there is of its memory, and not a view of another array."""
    return array.base is None or isinstance(array.base, _Loan)


def available() -> int | None:
    """Return how much memory the system could give this process, or None where that is unknown.

    What other files keep in memory counts, since the system gives it up; limits of the process and
    of its container are heeded [bytes].
    """
    found = []
    with contextlib.suppress(OSError, ValueError):  # there is none, or the limit is "max"
        root = "/sys/fs/cgroup/memory."
        most, used = (int(_lines(root + name)[0]) for name in ("max", "current"))
        held = dict(line.split() for line in _lines(root + "stat"))
        found.append(most - used + int(held[b"inactive_file"]) + int(held[b"active_file"]))
    with contextlib.suppress(OSError):  # not Linux
        [line] = (line for line in _lines("/proc/meminfo") if line.startswith(b"MemAvailable"))
        found.append(int(line.split()[1]) << 10)
        import resource  # Windows has none

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            pages = int(_lines("/proc/self/statm")[0].split()[0])
            found.append(limit - pages * resource.getpagesize())
    return max(min(found), 0) if found else None


def _lines(path):
    """Return the lines of a file of the system's."""
    with open(path, "rb") as file:
        return file.readlines()


def demand(size: int, what: str) -> None:
    """Refuse what does not fit into memory, before anything is taken.

    The system hands out more than there is, and kills whoever uses it.

    Parameters
    ----------
    size : int [bytes]
    what : str
        What takes it: how the message begins.

    Raises
    ------
    MemoryError
        If there is less room than that.
    """
    room = available() if size > LEAST else None
    if room is not None and size > room:
        raise MemoryError(
            f"{what} takes {size / 1e9:,.2f} GB of memory, and {room / 1e9:,.2f} GB are free"
        )


def memory_stats() -> dict[str, int]:
    """Return what large arrays of the kernels take.

    Returns
    -------
    dict
        "in_use": by arrays that are alive; "waiting": kept for the next arrays; "peak": the most
        that was in use at once; the two together stay about `SPARE` above it [bytes].
        "fresh" and "reused": how many arrays took memory from the system, or from what was waiting.
    """
    with _lock:
        _collect()
        return dict(_figures)


def empty_cache() -> None:
    """Give waiting memory back to the system, and measure the peak anew.

    A piece that has a neighbour in use goes on waiting.
    """
    with _lock:
        _collect()
        for piece in [piece for _, _, piece in _free if piece.is_whole]:
            _take(piece)
        _figures["peak"] = _figures["in_use"]


def _borrow(size, what):
    """Return a piece of this size, for what messages may name."""
    with _lock:
        _collect()
        place = bisect_left(_free, (size,))
        fresh = place == len(_free) or _free[place][0] > LOOSE * size
        if fresh:
            _make_room(size)
        else:
            piece = _free[place][2]
            _take(piece)
            _cut(piece, size)
    if fresh:
        if size > ASKED:
            demand(size, what)
        memory = np.empty(size + ALIGNMENT, np.uint8)
        piece = _Piece(memory, memory.ctypes.data + -memory.ctypes.data % ALIGNMENT, size)
    with _lock:
        _figures["fresh" if fresh else "reused"] += 1
        _figures["in_use"] += piece.size
        _figures["peak"] = max(_figures["peak"], _figures["in_use"])
    return piece


def _collect():
    """Let what came back wait for its next use, as one with free neighbours."""
    while _returned:
        piece = _returned.popleft()
        _figures["in_use"] -= piece.size
        before, after = piece.before, piece.after
        if after is not None and after.number is not None:
            _take(after)
            _join(piece, after)
        if before is not None and before.number is not None:
            _take(before)
            _join(before, piece)
            piece = before
        _put(piece)


def _put(piece):
    """Let a piece wait."""
    piece.number = next(_numbers)
    insort(_free, (piece.size, piece.number, piece))
    _figures["waiting"] += piece.size


def _take(piece):
    """Let a piece wait no longer."""
    place = bisect_left(_free, (piece.size, piece.number))
    if place < len(_free) and _free[place][2] is piece:  # not if Ctrl-C came before it was there
        del _free[place]
        _figures["waiting"] -= piece.size
    piece.number = None


def _join(piece, after):
    """Make one of two neighbours."""
    piece.size, piece.after = piece.size + after.size, after.after
    if after.after is not None:
        after.after.before = piece


def _cut(piece, size):
    """Leave what is beyond this size to others, if it is enough for an array."""
    if piece.size - size < LEAST:
        return
    rest = _Piece(piece.memory, piece.start + size, piece.size - size, piece, piece.after)
    if rest.after is not None:
        rest.after.before = rest
    piece.size, piece.after = size, rest
    _put(rest)


def _make_room(size):
    """Give back what has waited longest, until there is room for so much more."""
    most = max(_figures["peak"], _figures["in_use"] + size) + SPARE - size
    while _figures["waiting"] + _figures["in_use"] > most:
        whole = [piece for _, _, piece in _free if piece.is_whole]
        if not whole:
            break
        _take(min(whole, key=lambda piece: piece.number))


if hasattr(os, "register_at_fork"):
    # A child has a copy of all this, and of the lock, but none of the threads that may hold it.
    os.register_at_fork(
        before=lambda: _lock.acquire(),
        after_in_parent=lambda: _lock.release(),
        after_in_child=lambda: _lock.release(),
    )
