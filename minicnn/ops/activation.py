"""Nonlinearities, and the softmax."""

from __future__ import annotations

from minicnn import kernels
from minicnn.autograd import Tensor, primitive
from minicnn.ops import arguments


def relu(x) -> Tensor:
    """Return max(x, 0).

    Parameters
    ----------
    x : Tensor, any shape

    Returns
    -------
    Tensor, shape of x

    Raises
    ------
    TypeError
        If x is not floating point.

    References
    ----------
    Nair & Hinton, 2010; Krizhevsky, Sutskever & Hinton, 2012, section 3.1.
    """
    return _relu(*arguments.floats("relu", x=x))


def leaky_relu(x, negative_slope: float = 0.01) -> Tensor:
    """Return x where it is positive and negative_slope * x elsewhere.

    Parameters
    ----------
    x : Tensor, any shape
    negative_slope : float

    Returns
    -------
    Tensor, shape of x

    Raises
    ------
    TypeError
        If x is not floating point.

    References
    ----------
    Maas, Hannun & Ng, "Rectifier nonlinearities improve neural network acoustic models", 2013.
    """
    return _leaky_relu(*arguments.floats("leaky_relu", x=x), slope=negative_slope)


def elu(x, alpha: float = 1.0) -> Tensor:
    """Return x where it is positive and alpha * (exp(x) - 1) elsewhere.

    Parameters
    ----------
    x : Tensor, any shape
    alpha : float

    Returns
    -------
    Tensor, shape of x

    Raises
    ------
    TypeError
        If x is not floating point.

    References
    ----------
    Clevert, Unterthiner & Hochreiter, 2016, equation 15.
    """
    return _elu(*arguments.floats("elu", x=x), alpha=alpha)


def sigmoid(x) -> Tensor:
    """Return 1 / (1 + exp(-x)): a logit becomes a probability.

    Parameters
    ----------
    x : Tensor, any shape

    Returns
    -------
    Tensor, shape of x

    Raises
    ------
    TypeError
        If x is not floating point.
    """
    return _sigmoid(*arguments.floats("sigmoid", x=x))


def tanh(x) -> Tensor:
    """Return the hyperbolic tangent.

    Parameters
    ----------
    x : Tensor, any shape

    Returns
    -------
    Tensor, shape of x

    Raises
    ------
    TypeError
        If x is not floating point.
    """
    return _tanh(*arguments.floats("tanh", x=x))


def scaled_tanh(x, amplitude: float = 1.7159, slope: float = 2 / 3) -> Tensor:
    """Return amplitude * tanh(slope * x), which by default takes 1 to 1.

    Parameters
    ----------
    x : Tensor, any shape
    amplitude, slope : float

    Returns
    -------
    Tensor, shape of x

    Raises
    ------
    TypeError
        If x is not floating point.

    References
    ----------
    LeCun et al., "Gradient-based learning applied to document recognition", 1998, appendix A.
    """
    return _scaled_tanh(*arguments.floats("scaled_tanh", x=x), amplitude=amplitude, slope=slope)


def softplus(x, beta: float = 1.0) -> Tensor:
    """Return log(1 + exp(beta * x)) / beta, a smooth `relu`.

    Parameters
    ----------
    x : Tensor, any shape
    beta : float

    Returns
    -------
    Tensor, shape of x

    Raises
    ------
    TypeError
        If x is not floating point.

    References
    ----------
    Dugas et al., "Incorporating second-order functional knowledge", 2001.
    """
    return _softplus(*arguments.floats("softplus", x=x), beta=beta)


def softmax(x, axis: int = -1) -> Tensor:
    """Return exp(x) divided by its sum along an axis: logits become probabilities.

    Parameters
    ----------
    x : Tensor, any shape
    axis : int

    Returns
    -------
    Tensor, shape of x

    Raises
    ------
    ValueError
        If x does not have the axis.
    TypeError
        If x is not floating point.
    """
    return _softmax(*_along("softmax", x, axis), axis=axis)


def log_softmax(x, axis: int = -1) -> Tensor:
    """Return the logarithm of the softmax along an axis, which does not underflow.

    Parameters
    ----------
    x : Tensor, any shape
    axis : int

    Returns
    -------
    Tensor, shape of x

    Raises
    ------
    ValueError
        If x does not have the axis.
    TypeError
        If x is not floating point.
    """
    return _log_softmax(*_along("log_softmax", x, axis), axis=axis)


@primitive
def _relu(x):
    k = kernels.of(x)
    y = k.relu(x)
    return y, (lambda dy: k.relu_grad(dy, y),)


@primitive
def _leaky_relu(x, *, slope):
    k = kernels.of(x)
    return k.leaky_relu(x, slope), (lambda dy: k.leaky_relu_grad(dy, x, slope),)


@primitive
def _elu(x, *, alpha):
    k = kernels.of(x)
    return k.elu(x, alpha), (lambda dy: k.elu_grad(dy, x, alpha),)


@primitive
def _sigmoid(x):
    k = kernels.of(x)
    y = k.sigmoid(x)
    return y, (lambda dy: k.sigmoid_grad(dy, y),)


@primitive
def _tanh(x):
    k = kernels.of(x)
    y = k.tanh(x)
    return y, (lambda dy: k.tanh_grad(dy, y),)


@primitive
def _scaled_tanh(x, *, amplitude, slope):
    k = kernels.of(x)
    y = k.scaled_tanh(x, amplitude, slope)
    return y, (lambda dy: k.scaled_tanh_grad(dy, y, amplitude, slope),)


@primitive
def _softplus(x, *, beta):
    k = kernels.of(x)
    return k.softplus(x, beta), (lambda dy: k.softplus_grad(dy, x, beta),)


@primitive
def _softmax(x, *, axis):
    k = kernels.of(x)
    y = k.softmax(x, axis)
    return y, (lambda dy: k.softmax_grad(dy, y, axis),)


@primitive
def _log_softmax(x, *, axis):
    k = kernels.of(x)
    y = k.log_softmax(x, axis)
    return y, (lambda dy: k.log_softmax_grad(dy, y, axis),)


def _along(operation, x, axis):
    (x,) = arguments.floats(operation, x=x)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{operation}: x of shape {x.shape} has no axis {axis}")
    return (x,)
