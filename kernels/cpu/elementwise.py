"""Loops over the elements of arrays of one layout, on all cores."""

import numpy as np

from .. import memory
from .compiled import linked

# What threads share are chunks of so many, so that an element stands in the same place of a vector
# for any number of them, and the rounding of fused operations is the same.
CHUNK = 1 << 12  # [elements]

_TYPES = (np.dtype(np.float32), np.dtype(np.float64))


def over_elements(kernel, definition, arrays, *constants):
    """Return what a parallel kernel makes of arrays, element by element.

    Parameters
    ----------
    kernel : Parallel
        Takes the arrays and the result, all flat and of one size, the constants, and which chunks.
    definition : callable
        The reference, for arrays that differ in shape or type, or are not of this floor.
    arrays : tuple of arrays
    constants : float
        Rounded to the type of the arrays.
    """
    first = arrays[0]
    if not compilable(*arrays):
        return definition(*arrays, *constants)
    y = memory.empty(first.shape, first.dtype)
    in_chunks(kernel, *map(flat, (*arrays, y)), *map(first.dtype.type, constants))
    return y


def compilable(*arrays):
    """Return whether the arrays have one shape, with axes, and one type that loops are made for."""
    shape, dtype = arrays[0].shape, arrays[0].dtype
    return (
        bool(shape)
        and dtype in _TYPES
        and all(array.shape == shape and array.dtype == dtype for array in arrays)
    )


def flat(array):
    """Return an array without axes and gaps."""
    return memory.contiguous(array).reshape(-1)


def in_chunks(kernel, x, *others):
    """Run a parallel kernel over the chunks of a flat array and of others of its size."""
    kernel(x, *others, count=-(-x.size // CHUNK), elements=x.size)


@linked(inline="always")
def elements(x, start, stop):
    """Return the range of the elements of some chunks of a flat array.

    Without a sign: an index that might count from the end makes loops ten times slower.
    """
    return range(np.uint64(start * CHUNK), np.uint64(min(stop * CHUNK, x.size)))


@linked(inline="always")
def sloped(value, sign, slope):
    """Return a value, multiplied by a slope where another is not above 0.

    As the activations of their own: NaN is not below 0 for a ReLU, and for no other above.
    """
    if slope != 0:
        return value if sign > 0 else slope * value
    return slope if sign <= 0 else value
