"""Gradients against differences: is the gradient of an operation its slope?"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minicnn import kernels
from minicnn.autograd import Tensor, no_grad
from minicnn.rng import generator


def gradcheck(
    f: Callable, *inputs: Tensor, step: float = 1e-6, tolerance: float = 1e-6, rng=0
) -> bool:
    """Compare the gradients of `f` with central differences, element by element.

    Parameters
    ----------
    f : callable
        Takes the tensors and returns one tensor; it must give the same result each time.
    *inputs : Tensor, float64
        Those with `requires_grad` are checked. In float32 rounding would hide the differences.
    step : float
        How far each element is moved to either side.
    tolerance : float
        The largest difference, relative to the largest slope of that input or to 1.
    rng : int, Generator or None
        Draws the weights that turn the output into one number.

    Returns
    -------
    bool
        True; a wrong gradient raises.

    Raises
    ------
    TypeError
        If an input is not float64.
    ValueError
        If no input requires a gradient.
    AssertionError
        If a gradient is wrong, with the input, the element and both numbers.
    """
    checked = [(i, x) for i, x in enumerate(inputs) if x._requires_grad]
    if not checked:
        raise ValueError("gradcheck: no input requires a gradient")
    for i, x in checked:
        if x.dtype != np.float64:
            raise TypeError(f"gradcheck: input {i} is {x.dtype}; central differences need float64")
    leaves = [Tensor(x.data.copy(), requires_grad=x._requires_grad) for x in inputs]
    y = f(*leaves)
    weight = generator(rng).standard_normal(y.shape)
    weight = np.asarray(weight, like=y.data)
    if y.requires_grad:
        y.backward(weight)
    with no_grad():
        for i, _ in checked:
            slopes = _slopes(lambda: float((f(*leaves).data * weight).sum()), leaves[i].data, step)
            grad = (
                np.zeros(leaves[i].shape)
                if leaves[i].grad is None
                else kernels.to(leaves[i].grad, "cpu")
            )
            error = np.abs(grad - slopes)
            if not error.max(initial=0) <= tolerance * max(1, np.abs(slopes).max(initial=0)):
                at = tuple(int(k) for k in np.unravel_index(error.argmax(), error.shape))
                raise AssertionError(
                    f"gradcheck: input {i} at {at}: backward gives {grad[at]:.6g}, "
                    f"central differences give {slopes[at]:.6g}"
                )
    return True


def _slopes(f, values, step):
    """Return the central difference of `f()` for each element of `values`, moved in place."""
    slopes = np.empty(values.shape)
    for at in np.ndindex(values.shape):
        before = float(values[at])
        values[at] = before + step
        above = f()
        values[at] = before - step
        slopes[at] = (above - f()) / (2 * step)
        values[at] = before
    return slopes
