"""Batch normalisation and local response normalisation on the GPU.

Statistics take one pass over the memory, a few values at a time by Chan, Golub and LeVeque's
algorithm, and normalising another; so does the gradient. In all of them a block has values of one
channel only, so that nothing is divided for each value.
"""

from .. import reference
from .channels import WARP, add_pieces, channels_of, empty_pieces, grid_of
from .launch import Launcher, alike, contiguous, empty, made_for_equals, made_for_reals

_launch = Launcher("norm.cu")


@made_for_reals
def batch_norm(x, w, b, eps, residual=None, slope=1.0):
    """Normalise x (n, c, ...) by the statistics of the batch: y, their mean (c,) and variance (c,).

    The variance is the biased one; w and b are (c,). A residual is added, and what is then below 0
    is multiplied by the slope, in the same pass.
    """
    channels, x = channels_of(x.shape), contiguous(x)
    means, squares = empty_pieces(x, channels), empty_pieces(x, channels)
    _launch("piece_moments", x, means, squares, channels, grid=grid_of(channels))
    mean, variance = empty(w), empty(w)
    arguments = means, squares, mean, variance, channels
    _launch("join_pieces", *arguments, threads=channels["count"] * WARP)
    return _normalise(x, w, b, mean, variance, eps, residual, slope), mean, variance


@made_for_reals
def batch_norm_grad(dy, x, w, mean, variance, eps, y=None, slope=1.0):
    """Return the gradients of x, w and b, where mean and variance came from x itself."""
    return _gradients(dy, x, w, mean, variance, eps, y, slope, through_statistics=True)


@made_for_reals
def batch_norm_inference(x, w, b, mean, variance, eps):
    """Normalise x (n, c, ...) by given statistics (c,), which stay constant."""
    return _normalise(x, w, b, mean, variance, eps)


@made_for_reals
def batch_norm_inference_grad(dy, x, w, mean, variance, eps):
    """Return the gradients of x, w and b, where mean and variance are constants."""
    return _gradients(dy, x, w, mean, variance, eps, through_statistics=False)


@made_for_equals
def add_residual(x, residual, slope):
    """Return x + residual, multiplied by `slope` where it is below 0: 1 leaves it, 0 is ReLU."""
    y, arrays = empty(x), (contiguous(x), contiguous(residual))
    _launch("add_residual", *arrays, slope, y, x.size, threads=x.size)
    return y


def update_running_statistics(running_mean, running_variance, mean, variance, count, momentum):
    """Move the running statistics (c,) in place towards a batch's, from `count` values a channel.

    The running variance is the unbiased one, as in PyTorch.
    """
    running = running_mean, running_variance
    if not alike(*running, mean, variance) or not all(r.flags.c_contiguous for r in running):
        arguments = *running, mean, variance, count, momentum
        return reference.update_running_statistics(*arguments)
    channels, statistics = mean.size, map(contiguous, (mean, variance))
    arguments = *running, *statistics, count / (count - 1), momentum, channels
    return _launch("move_statistics", *arguments, threads=channels)


@made_for_reals
def local_response_norm(x, size, alpha, beta, k):
    """Divide x (n, c, ...) by (k + alpha * s) ** beta, s the sum of squares of `size` channels."""
    y, place = empty(x), (x.size, channels_of(x.shape))
    arguments = contiguous(x), size, alpha, beta, k, y, *place
    _launch("local_response_norm", *arguments, threads=x.size)
    return y


@made_for_equals
def local_response_norm_grad(dy, x, size, alpha, beta, k):
    """Return the gradient of x."""
    dy, x, place = contiguous(dy), contiguous(x), (x.size, channels_of(x.shape))
    base, slope, dx = empty(x), empty(x), empty(x)
    arguments = dy, x, size, alpha, beta, k, base, slope, *place
    _launch("local_response_slopes", *arguments, threads=x.size)
    arguments = dy, x, base, slope, size, alpha, beta, dx, *place
    _launch("local_response_norm_grad", *arguments, threads=x.size)
    return dx


def _normalise(x, w, b, mean, variance, eps, residual=None, slope=1.0):
    y, arrays, channels = empty(x), map(contiguous, (x, w, b, mean, variance)), channels_of(x.shape)
    residual = None if residual is None else contiguous(residual)
    _launch("normalise", *arrays, eps, residual, slope, y, channels, grid=grid_of(channels))
    return y


def _gradients(dy, x, w, mean, variance, eps, y=None, slope=1.0, *, through_statistics):
    dy, x, w, mean, variance = map(contiguous, (dy, x, w, mean, variance))
    slopes = dy, None if y is None else contiguous(y), slope
    channels, dx = channels_of(x.shape), empty(x)
    weight_sums, bias_sums = empty_pieces(x, channels), empty_pieces(x, channels)
    arguments = *slopes, x, mean, variance, eps, weight_sums, bias_sums, channels
    _launch("piece_gradients", *arguments, grid=grid_of(channels))
    dw, db = add_pieces(weight_sums, channels), add_pieces(bias_sums, channels)
    through = (dw, db) if through_statistics else (None, None)
    arguments = *slopes, x, w, mean, variance, eps, *through, dx, channels
    _launch("normalise_grad", *arguments, grid=grid_of(channels))
    return dx, dw, db
