"""Pooling in four kinds: maximum, average, power average (Lp) and standard deviation.

Each comes in three forms, in one and two dimensions: over windows that a stride places, over a
given number of windows that share the input (adaptive), and over everything (global). Padding never
counts as a sample, except that `avg_pool` may count it in its divisor, as PyTorch does by default.
"""

from __future__ import annotations

from minicnn import kernels
from minicnn.autograd import Tensor, is_recording, primitive
from minicnn.kernels import geometry
from minicnn.ops import arguments


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False) -> Tensor:
    """Take the largest value of each window, the first one where several are equal.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    kernel_size, stride, dilation : int or (int, int) [samples]
        The window, the step between windows (the window by default), and between its samples.
    padding : int, (int, int), ((int, int), (int, int)), "same" or "valid" [samples]
        As in `conv2d`; every window must still meet a sample.
    ceil_mode : bool
        Whether a last, partial window counts.

    Returns
    -------
    Tensor, shape (N, C, H', W') with H' as in `conv2d`, rounded up in ceil_mode

    Raises
    ------
    ValueError
        If the shapes do not agree, no window fits, or one holds nothing but padding.
    TypeError
        If x is not floating point.
    """
    options = dict(padding=padding, dilation=dilation, ceil_mode=ceil_mode)
    return _strided("max_pool2d", _max_pool2d, x, kernel_size, stride, **options)


def max_pool1d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False) -> Tensor:
    """Take the largest value of each window of x (N, C, L), as `max_pool2d` at height 1."""
    options = dict(padding=padding, dilation=dilation, ceil_mode=ceil_mode)
    return _strided("max_pool1d", _max_pool2d, x, kernel_size, stride, **options)


def avg_pool2d(
    x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True
) -> Tensor:
    """Average each window.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    kernel_size, stride, padding, ceil_mode
        As in `max_pool2d`.
    count_include_pad : bool
        Whether the divisor counts the padding (but not what ceil_mode adds), as in PyTorch.

    Returns
    -------
    Tensor, shape (N, C, H', W')

    Raises
    ------
    ValueError, TypeError
        As `max_pool2d`.
    """
    options = dict(padding=padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad)
    return _strided("avg_pool2d", _avg_pool2d, x, kernel_size, stride, **options)


def avg_pool1d(
    x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True
) -> Tensor:
    """Average each window of x (N, C, L), as `avg_pool2d` at height 1."""
    options = dict(padding=padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad)
    return _strided("avg_pool1d", _avg_pool2d, x, kernel_size, stride, **options)


def lp_pool2d(x, norm_type, kernel_size, stride=None, ceil_mode=False, *, padding=0) -> Tensor:
    """Take (sum of |x| ** p) ** (1 / p) of each window: p = 1 adds up, p = infinity is the maximum.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    norm_type : float, >= 1
        The power p. PyTorch takes x ** p, which is the same for even p.
    kernel_size, stride, padding, ceil_mode
        As in `max_pool2d`.

    Returns
    -------
    Tensor, shape (N, C, H', W')

    Raises
    ------
    ValueError, TypeError
        As `max_pool2d`, or if p is below 1.

    References
    ----------
    Sermanet, Chintala & LeCun, "Convolutional neural networks applied to house numbers digit
    classification", 2012, section 2.2.
    """
    options = dict(padding=padding, ceil_mode=ceil_mode, p=_power("lp_pool2d", norm_type))
    return _strided("lp_pool2d", _lp_pool2d, x, kernel_size, stride, **options)


def lp_pool1d(x, norm_type, kernel_size, stride=None, ceil_mode=False, *, padding=0) -> Tensor:
    """Take the power average of each window of x (N, C, L), as `lp_pool2d` at height 1."""
    options = dict(padding=padding, ceil_mode=ceil_mode, p=_power("lp_pool1d", norm_type))
    return _strided("lp_pool1d", _lp_pool2d, x, kernel_size, stride, **options)


def std_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False) -> Tensor:
    """Take the standard deviation of each window, over its samples and divided by their number.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    kernel_size, stride, padding, ceil_mode
        As in `max_pool2d`.

    Returns
    -------
    Tensor, shape (N, C, H', W')
        0, with gradient 0, where all samples of a window are equal.

    Raises
    ------
    ValueError, TypeError
        As `max_pool2d`.
    """
    options = dict(padding=padding, ceil_mode=ceil_mode)
    return _strided("std_pool2d", _std_pool2d, x, kernel_size, stride, **options)


def std_pool1d(x, kernel_size, stride=None, padding=0, ceil_mode=False) -> Tensor:
    """Take the standard deviation of each window of x (N, C, L), as `std_pool2d` at height 1."""
    options = dict(padding=padding, ceil_mode=ceil_mode)
    return _strided("std_pool1d", _std_pool2d, x, kernel_size, stride, **options)


def adaptive_max_pool2d(x, output_size) -> Tensor:
    """Take the largest value of each of (H', W') windows that share x (N, C, H, W) evenly.

    Window i covers rows floor(i * H / H') up to ceil((i + 1) * H / H'), as in PyTorch.

    Raises
    ------
    ValueError
        If output_size is not one or two whole numbers >= 1, or x is not (N, C, H, W) or empty.
    TypeError
        If x is not floating point.
    """
    return _adaptive("adaptive_max_pool2d", _adaptive_max_pool2d, x, output_size)


def adaptive_max_pool1d(x, output_size) -> Tensor:
    """Take the largest value of each of L' windows that share x (N, C, L) evenly."""
    return _adaptive("adaptive_max_pool1d", _adaptive_max_pool2d, x, output_size)


def adaptive_avg_pool2d(x, output_size) -> Tensor:
    """Average each of (H', W') windows that share x (N, C, H, W), as `adaptive_max_pool2d`."""
    return _adaptive("adaptive_avg_pool2d", _adaptive_avg_pool2d, x, output_size)


def adaptive_avg_pool1d(x, output_size) -> Tensor:
    """Average each of L' windows that share x (N, C, L) evenly."""
    return _adaptive("adaptive_avg_pool1d", _adaptive_avg_pool2d, x, output_size)


def adaptive_lp_pool2d(x, norm_type, output_size) -> Tensor:
    """Take the power average of (H', W') windows of x (N, C, H, W), as `adaptive_max_pool2d`."""
    p = _power("adaptive_lp_pool2d", norm_type)
    return _adaptive("adaptive_lp_pool2d", _adaptive_lp_pool2d, x, output_size, p=p)


def adaptive_lp_pool1d(x, norm_type, output_size) -> Tensor:
    """Take the power average of each of L' windows that share x (N, C, L) evenly."""
    p = _power("adaptive_lp_pool1d", norm_type)
    return _adaptive("adaptive_lp_pool1d", _adaptive_lp_pool2d, x, output_size, p=p)


def adaptive_std_pool2d(x, output_size) -> Tensor:
    """Take the deviation of (H', W') windows of x (N, C, H, W), as `adaptive_max_pool2d`."""
    return _adaptive("adaptive_std_pool2d", _adaptive_std_pool2d, x, output_size)


def adaptive_std_pool1d(x, output_size) -> Tensor:
    """Take the standard deviation of each of L' windows that share x (N, C, L) evenly."""
    return _adaptive("adaptive_std_pool1d", _adaptive_std_pool2d, x, output_size)


def global_max_pool(x) -> Tensor:
    """Take the largest value of each channel: x (N, C, L) or (N, C, H, W) to (N, C)."""
    return _global("global_max_pool", _adaptive_max_pool2d, x)


def global_avg_pool(x) -> Tensor:
    """Average each channel: x (N, C, L) or (N, C, H, W) to (N, C). Lin et al., 2014, 3.2."""
    return _global("global_avg_pool", _adaptive_avg_pool2d, x)


def global_lp_pool(x, norm_type) -> Tensor:
    """Take the power average of each channel: x (N, C, L) or (N, C, H, W) to (N, C)."""
    return _global("global_lp_pool", _adaptive_lp_pool2d, x, p=_power("global_lp_pool", norm_type))


def global_std_pool(x) -> Tensor:
    """Take the standard deviation of each channel: x (N, C, L) or (N, C, H, W) to (N, C)."""
    return _global("global_std_pool", _adaptive_std_pool2d, x)


@primitive
def _max_pool2d(x, **options):
    k, size = kernels.of(x), x.shape[2:]
    y, index = k.max_pool2d(x, **options, with_index=is_recording())
    return y, (lambda dy: k.max_pool2d_grad(dy, index, size, **options),)


@primitive
def _avg_pool2d(x, **options):
    k, size = kernels.of(x), x.shape[2:]
    return k.avg_pool2d(x, **options), (lambda dy: k.avg_pool2d_grad(dy, size, **options),)


@primitive
def _lp_pool2d(x, **options):
    k = kernels.of(x)
    y = k.lp_pool2d(x, **options)
    return y, (lambda dy: k.lp_pool2d_grad(dy, x, y, **options),)


@primitive
def _std_pool2d(x, **options):
    k = kernels.of(x)
    y = k.std_pool2d(x, **options)
    return y, (lambda dy: k.std_pool2d_grad(dy, x, y, **options),)


@primitive
def _adaptive_max_pool2d(x, *, output_size):
    k, size = kernels.of(x), x.shape[2:]
    y, index = k.adaptive_max_pool2d(x, output_size, is_recording())
    return y, (lambda dy: k.adaptive_max_pool2d_grad(dy, index, size),)


@primitive
def _adaptive_avg_pool2d(x, *, output_size):
    k, size = kernels.of(x), x.shape[2:]
    return k.adaptive_avg_pool2d(x, output_size), (lambda dy: k.adaptive_avg_pool2d_grad(dy, size),)


@primitive
def _adaptive_lp_pool2d(x, *, output_size, p):
    k = kernels.of(x)
    y = k.adaptive_lp_pool2d(x, output_size, p)
    return y, (lambda dy: k.adaptive_lp_pool2d_grad(dy, x, y, p),)


@primitive
def _adaptive_std_pool2d(x, *, output_size):
    k = kernels.of(x)
    y = k.adaptive_std_pool2d(x, output_size)
    return y, (lambda dy: k.adaptive_std_pool2d_grad(dy, x, y),)


def _strided(
    operation,
    pool,
    x,
    kernel_size,
    stride,
    *,
    padding,
    ceil_mode,
    dilation=None,
    count_include_pad=None,
    **options,
):
    """Check a pooling over strided windows and run it, a sequence as an image of height 1.

    `dilation` and `count_include_pad` are None for the kinds that do not have them.
    """
    x, size = _image(operation, x)
    count = len(size)
    kernel_size = arguments.per_axis(operation, "kernel_size", kernel_size, count)
    stride = kernel_size if stride is None else stride
    stride = arguments.per_axis(operation, "stride", stride, count)
    spread = arguments.per_axis(operation, "dilation", 1 if dilation is None else dilation, count)
    padding = arguments.per_side(operation, padding, size, kernel_size, stride, spread)
    windows = padding
    if ceil_mode:
        windows = tuple(map(geometry.ceil_padding, size, kernel_size, stride, padding, spread))
    arguments.windows_fit(operation, size, kernel_size, stride, windows, spread)
    for axis in zip(size, kernel_size, stride, windows, spread, strict=True):
        if geometry.fewest_samples(*axis) == 0:
            raise ValueError(
                f"{operation}: padding {padding} leaves a window of {kernel_size} without any "
                f"sample of {tuple(size)}; pad by less than the window"
            )
    options.update(
        kernel_size=_two(kernel_size, 1), stride=_two(stride, 1), padding=_two(windows, (0, 0))
    )
    if dilation is not None:
        options["dilation"] = _two(spread, 1)
    if count_include_pad is not None:
        options["counted"] = _two(padding, (0, 0)) if count_include_pad else ((0, 0), (0, 0))
    return _like(pool(x, **options), size)


def _adaptive(operation, pool, x, output_size, **options):
    """Check a pooling over adaptive windows and run it, a sequence as an image of height 1."""
    x, size = _image(operation, x)
    output_size = arguments.per_axis(operation, "output_size", output_size, len(size))
    return _like(pool(x, output_size=_two(output_size, 1), **options), size)


def _global(operation, pool, x, **options):
    (x,) = arguments.floats(operation, x=x)
    if x.ndim not in (3, 4):
        raise ValueError(f"{operation}: x has shape {x.shape}; it takes (N, C, L) or (N, C, H, W)")
    n, c, *size = x.shape
    _check_samples(operation, x, size)
    return pool(x.reshape(n, c, *_two(size, 1)), output_size=(1, 1), **options).reshape(n, c)


def _image(operation, x):
    """Return x as (N, C, H, W) and its own size, (L,) or (H, W)."""
    (x,) = arguments.floats(operation, x=x)
    arguments.axes(
        operation, x, *(("N", "C", "L") if operation.endswith("1d") else ("N", "C", "H", "W"))
    )
    n, c, *size = x.shape
    _check_samples(operation, x, size)
    return (x if len(size) == 2 else x.reshape(n, c, 1, *size)), tuple(size)


def _check_samples(operation, x, size):
    if 0 in size:
        raise ValueError(f"{operation}: x has no samples to pool; its shape is {x.shape}")


def _two(values, neutral):
    """Return the entries for height and width from those for one or two axes."""
    return tuple(values) if len(values) == 2 else (neutral, *values)


def _like(y, size):
    """Return y (N, C, H, W) with as many axes as the input had."""
    return y if len(size) == 2 else y.reshape(*y.shape[:2], y.shape[3])


def _power(operation, p):
    if not p >= 1:
        raise ValueError(f"{operation}: norm_type is {p}; it must be 1 or more")
    return p
