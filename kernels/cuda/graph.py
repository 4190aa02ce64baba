"""A step captured once as a CUDA graph, and then done again in one go.

A network of a hundred layers has some four hundred launches in a step. One after the other they
cost more than the work of the smaller layers; as a graph the driver launches them all at once.
"""

import numpy as np

from ..capture import WORDS, Capture
from .launch import empty, engine


class ByShape:
    """A step that is captured for every shape of its arrays, when they come for the second time.

    The first time it runs as it stands, which compiles what it needs and makes the plans of cuFFT
    and the handles of cuBLAS.
    """

    def __init__(self, step):
        self._step, self._graphs = step, {}

    def __call__(self, *arrays):
        """Return the result of the step for these arrays."""
        kind = tuple((array.shape, array.dtype) for array in arrays)
        if kind not in self._graphs:
            self._graphs[kind] = None
            return self._step(*arrays)
        if self._graphs[kind] is None:
            self._graphs[kind] = Graph(self._step, arrays)
        return self._graphs[kind](*arrays)


class Graph:
    """A function of arrays, captured for arrays like these.

    What it computes in Python stands still from then on, apart from what goes through
    `kernels.changing`. It must not look at results, and what is written must be arrays that last.

    Parameters
    ----------
    step : callable
        Takes the arrays, and returns one. It was called before, so that everything is compiled.
    arrays : sequence of arrays
    """

    def __init__(self, step, arrays):
        self._inputs = [empty(array) for array in arrays]
        self._place = empty(arrays[0], (WORDS,), np.uint64)
        self._capture = Capture(self._place)
        self._is_next = True  # the numbers of the first replay are those of the capture

        def captured():
            with self._capture():
                return step(*self._inputs)

        self._result, self._replay = engine().capture(captured)

    def __call__(self, *arrays):
        """Do the step, and return its result: the same array each time."""
        for own, given in zip(self._inputs, arrays, strict=True):
            own[...] = given
        if not self._is_next:
            self._capture.advance()
        self._is_next = False
        self._place[...] = np.asarray(self._capture.words, like=self._place)
        self._replay()
        return self._result
