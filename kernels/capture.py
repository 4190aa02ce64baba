"""Numbers that change from step to step, although the launches of a step are captured once.

A captured step repeats its kernels with the very arguments of the first time. What Python computes
in between, such as the seed of a dropout or a learning rate, would stand still. So it is written as
`changing(compute)`. In a capture that is a `Changing`, whose number lies where kernels find it
and is computed again before every replay; otherwise it is `compute()`, a plain number.
"""

import contextlib
from contextvars import ContextVar

import numpy as np

_capture: ContextVar = ContextVar("capture", default=None)
# How many 8-byte words a step may change; the largest network of the lecture takes fewer than 20.
WORDS = 1024


def is_capturing():
    """Return whether kernels are captured here, and have no results yet that one could look at."""
    return _capture.get() is not None


def changing(compute):
    """Return `compute()`, or what stands for it in a capture.

    Parameters
    ----------
    compute : callable
        Returns a number, or a tuple of floats. In a capture it is called once for each replay,
        in the order in which the capture met it, as if each step ran anew.
    """
    capture = _capture.get()
    return compute() if capture is None else capture.add(compute)


def derived(compute, *given):
    """Return `compute(*given)`, a tuple of floats; if one of `given` is changing, so is that."""
    if not any(isinstance(each, Changing) for each in given):
        return compute(*given)
    return changing(lambda: compute(*map(_now, given)))


def parted(value, zero=0):
    """Return a number for by-value arguments and the array that replaces it, one of them empty."""
    return (zero, value.place) if isinstance(value, Changing) else (value, None)


def _now(value):
    return value.now if isinstance(value, Changing) else value


class Changing:
    """A number of a capture, or several.

    Attributes
    ----------
    now : number or tuple of floats
        For the next replay.
    place : array of uint64 or float64
        Where kernels find it.
    """

    def __init__(self, compute, words, place):
        self.compute, self.now = compute, compute()
        several = self.now if isinstance(self.now, tuple) else (self.now,)
        whole = all(isinstance(each, (int, np.integer)) for each in several)
        dtype = np.uint64 if whole else np.float64
        self._words = words[: len(several)].view(dtype)
        self.place = place[: len(several)].view(dtype)
        self.write()

    def write(self):
        """Write the number where the next replay takes it from."""
        self._words[...] = self.now


class Capture:
    """All numbers of one captured step that change.

    Parameters
    ----------
    place : array of uint64, shape (WORDS,)
        On the device.

    Attributes
    ----------
    words : ndarray of uint64
        What is to be copied there before a replay.
    """

    def __init__(self, place):
        self._place, self.words = place, np.zeros(WORDS, np.uint64)
        self._entries, self._count = [], 0

    def add(self, compute):
        """Return a `Changing`."""
        entry = Changing(compute, self.words[self._count :], self._place[self._count :])
        self._count += entry.place.size
        if self._count > WORDS:
            raise ValueError(f"a captured step changes more than {WORDS} numbers")
        self._entries.append(entry)
        return entry

    def advance(self):
        """Compute all numbers anew, each from those before it."""
        for entry in self._entries:
            entry.now = entry.compute()
            entry.write()

    @contextlib.contextmanager
    def __call__(self):
        """Let everything that changes inside belong to this capture."""
        token = _capture.set(self)
        try:
            yield
        finally:
            _capture.reset(token)
