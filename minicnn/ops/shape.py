"""Joining, padding and choosing between tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.arithmetic import broadcast_form, reduce_to
from minicnn.autograd import Tensor, operands, primitive
from minicnn.kernels import memory


def concatenate(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors along an axis they have; their other extents agree.

    Raises
    ------
    ValueError
        If there are none, or their shapes do not fit.
    """
    if len(tensors) == 0:
        raise ValueError("concatenate: there are no tensors to join")
    ranks = {_data(tensor).ndim for tensor in tensors}
    if len(ranks) > 1 or not -min(ranks) <= axis < min(ranks):
        raise ValueError(f"concatenate: axis {axis} does not join {_shapes(tensors)}")
    axis %= min(ranks)
    rest = {_data(t).shape[:axis] + _data(t).shape[axis + 1 :] for t in tensors}
    if len(rest) > 1:
        raise ValueError(
            f"concatenate: shapes {_shapes(tensors)} differ beside axis {axis}, the joined one"
        )
    return _concatenate(*_of_one_dtype("concatenate", tensors), axis=axis)


def stack(tensors: Sequence[Any], axis: int = 0) -> Tensor:
    """Join tensors of one shape along a new axis.

    Raises
    ------
    ValueError
        If there are none, or their shapes differ.
    """
    if len(tensors) == 0:
        raise ValueError("stack: there are no tensors to join")
    shapes = {_data(tensor).shape for tensor in tensors}
    if len(shapes) > 1:
        raise ValueError(f"stack: shapes {_shapes(tensors)} differ")
    if not -len(min(shapes)) - 1 <= axis <= len(min(shapes)):
        raise ValueError(f"stack: tensors of shape {min(shapes)} have no place for axis {axis}")
    return _stack(*_of_one_dtype("stack", tensors), axis=axis)


def pad(x, padding: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """Put a constant around a tensor.

    Parameters
    ----------
    x : Tensor, any shape
    padding : one (before, after) per axis [samples]
    value : float

    Raises
    ------
    ValueError
        If there is not one pair of numbers >= 0 for each axis.
    """
    x = x if isinstance(x, Tensor) else _data(x)
    pairs = tuple(tuple(p) if np.ndim(p) else (p,) for p in padding)
    if len(pairs) != _data(x).ndim or any(len(p) != 2 or min(p) < 0 for p in pairs):
        raise ValueError(
            f"pad: padding is {padding!r}; x of shape {_data(x).shape} takes one "
            "(before, after) >= 0 per axis"
        )
    return _pad(x, padding=pairs, value=value)


def where(condition, a, b) -> Tensor:
    """Take elements of a where the condition holds and of b elsewhere; all three broadcast."""
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        a, b = operands(a, b)
    return _where(_data(condition), a, b)


@primitive
def _concatenate(*tensors, axis):
    stops = np.cumsum([tensor.shape[axis] for tensor in tensors]).tolist()
    before, after = tensors[0].shape[:axis], tensors[0].shape[axis + 1 :]
    y = memory.empty_like(tensors[0], (*before, stops[-1], *after))

    def part(start, stop):
        return lambda dy: dy[(slice(None),) * axis + (slice(start, stop),)]

    return np.concatenate(tensors, axis=axis, out=y), tuple(map(part, [0, *stops], stops))


@primitive
def _stack(*tensors, axis):
    def part(i):
        return lambda dy: dy.take(i, axis=axis)

    return np.stack(tensors, axis=axis), tuple(map(part, range(len(tensors))))


@primitive
def _pad(x, *, padding, value):
    inside = tuple(
        slice(before, before + n) for (before, _), n in zip(padding, x.shape, strict=True)
    )
    return np.pad(x, padding, constant_values=value), (lambda dy: dy[inside],)


@primitive
def _where(condition, a, b):
    to_a, to_b = broadcast_form(a), broadcast_form(b)
    return np.where(condition, a, b), (
        None,
        lambda dy: reduce_to(to_a, np.where(condition, dy, 0)),
        lambda dy: reduce_to(to_b, np.where(condition, 0, dy)),
    )


def _of_one_dtype(operation, tensors):
    """Return the tensors, and arrays beside them in their dtype, which must be one."""
    dtypes = {tensor.dtype for tensor in tensors if isinstance(tensor, Tensor)}
    if len(dtypes) > 1:
        raise TypeError(f"{operation}: tensors of {', '.join(sorted(map(str, dtypes)))} do not mix")
    dtype = dtypes.pop() if dtypes else None
    arrays = [t if isinstance(t, Tensor) else _data(t) for t in tensors]
    return [a if isinstance(a, Tensor) or dtype is None else a.astype(dtype) for a in arrays]


def _data(x):
    """Return the array behind an argument; lists and numbers become one."""
    if isinstance(x, Tensor):
        return x.data
    return x if hasattr(x, "__array_function__") else np.asarray(x)


def _shapes(tensors):
    return ", ".join(str(_data(tensor).shape) for tensor in tensors)
