"""Activation memory: how many bytes of inputs and results a model keeps at the same time."""

from __future__ import annotations

import weakref
from itertools import accumulate
from operator import mul
from types import EllipsisType, NoneType
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minicnn.autograd import Tensor


class Memory:
    """What an array took; it goes with the last view of it."""


class Layout(NamedTuple):
    """Where an array lies: in which memory, and how many elements apart its neighbours are."""

    memory: Memory
    strides: tuple[int, ...]


class Activations:
    """Follow the memory of results as they come and go; an observer for `minicnn.autograd.observe`.

    The inputs and the results of operations count, from the operation that returns them until
    nobody refers to them any more. A view counts nothing, and keeps the array alive that it looks
    into: reshapes, transpositions and slices are views wherever NumPy's are, other operations make
    new arrays. Not counted are parameters, buffers and other constants, what a model computes
    beside these operations, and what a kernel needs inside: its unfolded windows, or the index of
    a max pooling, which only the gradient reads.

    Parameters
    ----------
    *inputs : Tensor

    Attributes
    ----------
    total : int [bytes]
        All that counted, alive or not.
    peak : int [bytes]
        The most that was alive at the same time.

    Examples
    --------
    >>> x = Tensor(np.zeros((1, 100), np.float32))
    >>> activations = Activations(x)
    >>> with no_grad(), observe(activations):
    ...     y = ops.relu(ops.relu(ops.relu(x)))
    >>> activations.peak, activations.total
    (1200, 1600)
    """

    def __init__(self, *inputs: Tensor):
        self.total = self.peak = self._alive = 0
        # By array's number, and only as long as the array lives. The layout is that of a real run:
        # an outline of `kernels.outline` has no memory that would tell a view from a copy.
        self._layouts: dict[int, Layout] = {}
        for x in inputs:
            self._keep(x.data, self._new(x.data))

    def __call__(self, name, arguments, options, result, function):
        """Count the result, as an observer of operations."""
        array = result.data
        if any(isinstance(a, Tensor) and a.data is array for a in arguments):
            return
        layout = None
        if name in ("getitem", "reshape", "transpose"):
            layout = self._view(arguments[0].data, name, options, array.shape)
        self._keep(array, layout or self._new(array))

    def _view(self, array, name, options, shape):
        """Return the layout of what an operation makes of an array, or None if that is a copy."""
        # What no operation made is a parameter or a constant, whose memory does not count.
        memory, strides = self._layouts.get(id(array)) or _contiguous(array, Memory())
        strides = _strides_of_view(array.shape, strides, name, options, shape)
        return None if strides is None else Layout(memory, strides)

    def _new(self, array):
        """Return the layout of a new array, which counts until the last view of it is gone."""
        memory = Memory()
        weakref.finalize(memory, self._release, array.nbytes)
        self.total += array.nbytes
        self._alive += array.nbytes
        self.peak = max(self.peak, self._alive)
        return _contiguous(array, memory)

    def _release(self, size):
        self._alive -= size

    def _keep(self, array, layout):
        self._layouts[id(array)] = layout
        weakref.finalize(array, self._layouts.pop, id(array))


def _contiguous(array, memory):
    """Return the layout of an array whose last axis moves fastest, without gaps."""
    return Layout(memory, tuple(accumulate(array.shape[::-1], mul, initial=1))[-2::-1])


def _strides_of_view(shape, strides, name, options, result):
    """Return the strides that an operation leaves, or None if it makes a copy of shape `result`."""
    if 0 in result:
        return None
    if name == "reshape":
        return _strides_of_reshape(shape, strides, result)
    if name == "transpose":
        return tuple(strides[axis] for axis in options["axes"])
    index = options["index"]
    # What arrays choose is a copy; True and False count as arrays, although they are integers.
    if not all(isinstance(part, _SLICES) and not isinstance(part, bool) for part in index):
        return None
    if result == () and Ellipsis not in index:
        return None  # a single element, which NumPy takes out
    # NumPy slices an array that is all shape and strides: nobody reads its elements.
    return as_strided(np.empty(1, bool), shape, strides)[index].strides


def _strides_of_reshape(shape, strides, result):
    """Return the strides of a reshape, or None where NumPy copies: where an axis would need two."""
    runs = [(1, 1)]  # axes that are one without gaps: how long it is, and the stride of its last
    for extent, stride in zip(shape, strides, strict=True):
        length, step = runs[-1]
        if step == extent * stride:
            runs[-1] = length * extent, stride
        elif extent > 1:
            runs.append((extent, stride))
    found = []
    length, step = runs.pop()
    for extent in reversed(result):
        if length == 1 < extent:
            length, step = runs.pop()
        if length % extent:
            return None
        found.append(step)
        length, step = length // extent, step * extent
    return tuple(reversed(found))


_SLICES = (int, np.integer, slice, EllipsisType, NoneType)
