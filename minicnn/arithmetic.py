"""What Python's operators compute, and their gradients, on arrays.

Each function returns its output and one gradient function per array argument, in the form that
`minicnn.autograd.primitive` takes. NumPy's functions answer for CuPy's arrays too.
"""

from __future__ import annotations

import numpy as np

from minicnn.kernels import memory


def broadcast_form(a):
    """Return what a broadcast gradient must be reduced to. The shape, not the array: it may die."""
    return getattr(a, "shape", ()), getattr(a, "dtype", None)


def reduce_to(form, dy):
    """Sum a broadcast gradient over the axes that broadcasting repeated."""
    shape, dtype = form
    if dy.shape != shape:
        added = dy.ndim - len(shape)
        stretched = tuple(
            added + i for i, extent in enumerate(shape) if extent == 1 != dy.shape[added + i]
        )
        dy = dy.sum(axis=(*range(added), *stretched), keepdims=True).reshape(shape)
    return dy.astype(dtype, copy=False)


def add(a, b):
    to_a, to_b = broadcast_form(a), broadcast_form(b)
    # What a residual network adds is large, and of one shape.
    y = np.add(a, b, out=memory.empty_like(a)) if to_a == to_b and to_a[0] else a + b
    return y, (lambda dy: reduce_to(to_a, dy), lambda dy: reduce_to(to_b, dy))


def subtract(a, b):
    to_a, to_b = broadcast_form(a), broadcast_form(b)
    return a - b, (lambda dy: reduce_to(to_a, dy), lambda dy: reduce_to(to_b, -dy))


def multiply(a, b):
    to_a, to_b = broadcast_form(a), broadcast_form(b)
    return a * b, (lambda dy: reduce_to(to_a, dy * b), lambda dy: reduce_to(to_b, dy * a))


def divide(a, b):
    to_a, to_b = broadcast_form(a), broadcast_form(b)
    y = a / b
    return y, (lambda dy: reduce_to(to_a, dy / b), lambda dy: reduce_to(to_b, -dy * y / b))


def power(a, b):
    to_a, to_b = broadcast_form(a), broadcast_form(b)
    y = a**b

    def base_grad(dy):
        # a ** 0 is constant, also at a = 0 where its slope 0 * a ** -1 would be 0 * inf.
        lower = b - 1 + (b == 0)
        return reduce_to(to_a, dy * (b * a**lower))

    def exponent_grad(dy):
        # Where a is 0, y does not change with b > 0; log(0) would make it nan.
        return reduce_to(to_b, dy * y * np.log(np.where(a == 0, 1, a)))

    return y, (base_grad, exponent_grad)


def matmul(a, b):
    # A vector is a row on the left and a column on the right; its axis is dropped afterwards.
    rows = a if a.ndim > 1 else a[None, :]
    columns = b if b.ndim > 1 else b[:, None]
    if rows.shape[-1] != columns.shape[-2]:
        raise ValueError(
            f"matmul: {a.shape} @ {b.shape}: the last axis of the first has {rows.shape[-1]}, and "
            f"the last but one of the second {columns.shape[-2]}; they must be equal"
        )
    to_rows, to_columns = broadcast_form(rows), broadcast_form(columns)
    a_shape, b_shape = a.shape, b.shape

    def widen(dy):
        shape = dy.shape if len(b_shape) > 1 else (*dy.shape, 1)
        return dy.reshape(shape if len(a_shape) > 1 else (*shape[:-1], 1, shape[-1]))

    def a_grad(dy):
        return reduce_to(to_rows, widen(dy) @ columns.swapaxes(-1, -2)).reshape(a_shape)

    def b_grad(dy):
        return reduce_to(to_columns, rows.swapaxes(-1, -2) @ widen(dy)).reshape(b_shape)

    return a @ b, (a_grad, b_grad)


def negative(a):
    return -a, (lambda dy: -dy,)


def absolute(a):
    return np.abs(a), (lambda dy: dy * np.sign(a),)


def exp(a):
    y = np.exp(a)
    return y, (lambda dy: dy * y,)


def log(a):
    return np.log(a), (lambda dy: dy / a,)


def sqrt(a):
    y = np.sqrt(a)
    return y, (lambda dy: dy / (2 * y),)


def clip(a, *, minimum, maximum):
    y = np.clip(a, minimum, maximum)
    return y, (lambda dy: dy * (a == y),)


def astype(a, *, dtype):
    before = a.dtype
    back = (lambda dy: dy.astype(before, copy=False)) if dtype.kind == "f" else None
    return a.astype(dtype, copy=False), (back,)


def _spread(dy, shape, axis, keepdims):
    """Repeat a reduced gradient along the axes that the reduction removed."""
    if axis is not None and not keepdims:
        axes = axis if isinstance(axis, tuple) else (axis,)
        dy = np.expand_dims(dy, tuple(a % len(shape) for a in axes))
    return np.broadcast_to(dy, shape)


def sum_(a, *, axis, keepdims):
    shape = a.shape
    return a.sum(axis=axis, keepdims=keepdims), (lambda dy: _spread(dy, shape, axis, keepdims),)


def mean(a, *, axis, keepdims):
    shape = a.shape
    y = a.mean(axis=axis, keepdims=keepdims)
    count = a.size / max(y.size, 1)
    return y, (lambda dy: _spread(dy / count, shape, axis, keepdims),)


def extremum(a, *, axis, keepdims, largest):
    reduce = np.max if largest else np.min
    y = reduce(a, axis=axis, keepdims=True)

    def a_grad(dy):
        chosen = a == y
        share = np.broadcast_to(dy.reshape(y.shape), a.shape) / chosen.sum(axis=axis, keepdims=True)
        return (share * chosen).astype(a.dtype, copy=False)

    return y if keepdims else reduce(a, axis=axis), (a_grad,)


def reshape(a, *, shape):
    before = a.shape
    return a.reshape(shape), (lambda dy: dy.reshape(before),)


def transpose(a, *, axes):
    inverse = tuple(sorted(range(len(axes)), key=lambda i: axes[i] % len(axes)))
    return a.transpose(axes), (lambda dy: dy.transpose(inverse),)


def _may_repeat(part):
    """Return whether a part of an index may choose an element twice: whole numbers in a list."""
    if isinstance(part, (list, tuple)):
        part = np.asarray(part)
    return getattr(part, "ndim", 0) > 0 and part.dtype.kind != "b"


def add_at(total, places, values):
    """Add values to a vector, several to one place in their order: the same bits each time.

    On a GPU `np.add.at` adds them in any order. So there it takes as many rounds as come to one
    place, each with at most one value for any place.
    """
    if isinstance(total, np.ndarray):
        np.add.at(total, places, values)
        return
    order = np.argsort(places, kind="stable")
    ordered = places[order]
    turn = np.arange(len(places), like=places) - np.searchsorted(ordered, ordered)
    for i in range(int(turn.max()) + 1 if len(places) else 0):
        chosen = order[turn == i]
        total[places[chosen]] += values[chosen]


def getitem(a, *, index):
    shape = a.shape
    repeats = any(_may_repeat(part) for part in index)

    def a_grad(dy):
        da = np.zeros_like(dy, shape=shape)
        if not repeats:
            da[index] = dy
            return da
        places = np.arange(da.size, like=dy).reshape(shape)[index]
        add_at(da.reshape(-1), places.reshape(-1), dy.reshape(-1))
        return da

    return a[index], (a_grad,)
