"""Loops over the elements of arrays of one layout, on all cores."""

import numpy as np

from .. import memory
from .parallel import in_parts

# Parts begin at multiples of this, so that an element stands in the same place of a vector for any
# number of threads, and the rounding of fused operations is the same.
CHUNK = 1 << 12  # [elements]

_TYPES = (np.dtype(np.float32), np.dtype(np.float64))


def over_elements(loop, definition, arrays, *constants):
    """Return what a compiled loop makes of arrays, element by element.

    Parameters
    ----------
    loop : callable
        Takes the arrays and the result, all flat and of one size, and the constants.
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
    flat = [np.ascontiguousarray(array).reshape(-1) for array in arrays]
    in_chunks(loop, [*flat, y.reshape(-1)], *map(first.dtype.type, constants))
    return y


def compilable(*arrays):
    """Return whether the arrays have one shape, with axes, and one type that loops are made for."""
    shape, dtype = arrays[0].shape, arrays[0].dtype
    return (
        bool(shape)
        and dtype in _TYPES
        and all(array.shape == shape and array.dtype == dtype for array in arrays)
    )


def in_chunks(loop, flat, *constants):
    """Call a loop for parts of flat arrays of one size."""
    size = flat[0].size
    if size <= CHUNK:
        loop(*flat, *constants)
        return

    def some(start, stop):
        loop(*(array[start * CHUNK : stop * CHUNK] for array in flat), *constants)

    in_parts(some, -(-size // CHUNK), size)
