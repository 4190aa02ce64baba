"""What operations ask of their arguments, checked once and said in one voice."""

from __future__ import annotations

import numpy as np

from minicnn import kernels
from minicnn.autograd import Tensor
from minicnn.kernels import geometry

_DTYPES = {np.dtype(np.float32), np.dtype(np.float64)}


def floats(operation, **arrays):
    """Return the arguments as tensors of one floating-point dtype; None stays None."""
    tensors = {
        name: a if a is None or isinstance(a, Tensor) else Tensor(a) for name, a in arrays.items()
    }
    dtypes = {name: tensor.dtype for name, tensor in tensors.items() if tensor is not None}
    if len(set(dtypes.values())) > 1 or not set(dtypes.values()) <= _DTYPES:
        found = ", ".join(f"{name} is {dtype}" for name, dtype in dtypes.items())
        raise TypeError(f"{operation}: {found}; all must be float32 or all float64")
    return tuple(tensors.values())


def extremes(target):
    """Return the smallest and the largest number of a target.

    0 twice, if there are none, or if they are not there yet, as in a capture.
    """
    if not target.size or kernels.is_capturing():
        return 0, 0
    return target.min(), target.max()


def axes(operation, x, *names):
    """Raise unless x has exactly the axes that are named."""
    if x.ndim != len(names):
        raise ValueError(
            f"{operation}: x has {x.ndim} axes {x.shape}; it takes ({', '.join(names)})"
        )


def per_axis(operation, name, value, count, minimum=1):
    """Return one whole number per axis, from one number or a sequence."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * count
    if len(values) != count or not all(
        isinstance(v, (int, np.integer)) and v >= minimum for v in values
    ):
        wanted = f"whole number >= {minimum}" + (f", or a tuple of {count}" if count > 1 else "")
        raise ValueError(f"{operation}: {name} is {value!r}; it takes a {wanted}")
    return tuple(map(int, values))


def choice(operation, name, value, choices):
    """Return what stands for this value in a mapping of all that may be chosen."""
    # A list has no hash, and True would pass for 1.
    if type(value) not in (str, int) or value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(
            f"{operation}: {name} is {value!r}; it takes {', '.join(others)} or {last}"
        )
    return choices[value]


def scaling(operation, width, unit):
    """Return the function from a paper's numbers of channels, multiples of a unit, to a network's.

    The network has that share of them in every layer, its width; it must be a whole number.
    """
    if not 0 < width < np.inf or width * unit % 1:
        raise ValueError(
            f"{operation}: width is {width!r}; it takes a multiple of 1/{unit} above 0"
        )
    return lambda channels: round(width * channels)


def per_side(operation, padding, size, kernel_size, stride, dilation):
    """Return the padding (before, after) of each axis.

    It is given as "valid", "same" (ceil(size / stride) windows), a number for all sides, a number
    per axis, or a pair per axis.
    """
    count = len(size)
    if padding == "valid":
        return ((0, 0),) * count
    if padding == "same":
        return tuple(map(geometry.same_padding, size, kernel_size, stride, dilation))
    sides = tuple(padding) if isinstance(padding, (tuple, list)) else (padding,) * count
    sides = tuple(
        tuple(side) if isinstance(side, (tuple, list)) else (side, side) for side in sides
    )
    if len(sides) != count or not all(
        len(side) == 2 and all(isinstance(v, (int, np.integer)) and v >= 0 for v in side)
        for side in sides
    ):
        raise ValueError(
            f"{operation}: padding is {padding!r}; it takes 'same', 'valid', a whole number >= 0, "
            f"one for each of {count} axes, or a pair (before, after) for each"
        )
    return sides


def windows_fit(operation, size, kernel_size, stride, padding, dilation):
    """Raise unless at least one window fits into the padded input along every axis."""
    for axis, extent in enumerate(size):
        span = dilation[axis] * (kernel_size[axis] - 1) + 1
        if span > extent + sum(padding[axis]):
            raise ValueError(
                f"{operation}: a window of {span} does not fit into {extent} + padding "
                f"{sum(padding[axis])} along {('height', 'width')[axis + 2 - len(size)]}; "
                f"size {tuple(size)}, kernel_size {tuple(kernel_size)}, dilation {tuple(dilation)}"
            )


def reduced(operation, loss, reduction):
    """Return the mean or the sum of a loss, or its elements where the reduction is "none"."""
    if reduction == "none":
        return loss
    if reduction == "sum":
        return loss.sum()
    if reduction != "mean":
        raise ValueError(
            f"{operation}: reduction is {reduction!r}; it takes 'mean', 'sum' or 'none'"
        )
    if loss.size == 0:
        raise ValueError(
            f"{operation}: the batch is empty, so its loss has no mean; shape {loss.shape}"
        )
    return loss.mean()
