"""The fully connected layer."""

from __future__ import annotations

from minicnn import kernels
from minicnn.autograd import Tensor, primitive
from minicnn.ops import arguments


def linear(x, weight, bias=None) -> Tensor:
    """Multiply by a matrix and add a bias: y = x W^T + b.

    Parameters
    ----------
    x : Tensor, shape (..., I)
    weight : Tensor, shape (O, I)
    bias : Tensor, shape (O,), optional

    Returns
    -------
    Tensor, shape (..., O)

    Raises
    ------
    ValueError
        If the shapes do not agree.
    TypeError
        If the dtypes are not floating point, or differ.
    """
    x, weight, bias = arguments.floats("linear", x=x, weight=weight, bias=bias)
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear: x is {x.shape} and weight is {weight.shape}; "
            "weight takes (O, I) with I the last axis of x"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"linear: bias is {bias.shape}; {weight.shape[0]} outputs take ({weight.shape[0]},)"
        )
    if x.ndim == 2:
        return _linear(x, weight, bias)
    rows = x.reshape(x.size // x.shape[-1] if x.shape[-1] else 0, x.shape[-1])
    return _linear(rows, weight, bias).reshape(*x.shape[:-1], weight.shape[0])


@primitive
def _linear(x, w, b):
    k = kernels.of(x, w, b)
    return k.linear(x, w, b), (
        lambda dy: k.linear_input_grad(dy, w),
        lambda dy: k.linear_weight_grad(dy, x),
        lambda dy: k.linear_bias_grad(dy),
    )
