"""Convolution and transposed convolution, in one and two dimensions."""

from __future__ import annotations

from minicnn import kernels
from minicnn.autograd import Tensor, primitive
from minicnn.kernels import geometry
from minicnn.ops import arguments


def conv2d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    """Slide filters over images, as the lecture's slide "Convolution mechanics" shows it.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    weight : Tensor, shape (O, C / groups, KH, KW)
        The filters; they are not flipped.
    bias : Tensor, shape (O,), optional
    stride, dilation : int or (int, int) [samples]
        The step between windows, and between the samples of one window.
    padding : int, (int, int), ((int, int), (int, int)), "same" or "valid" [samples]
        Zeros around the image: everywhere, per axis, or per side as ((top, bottom), (left, right)).
        "same" gives ceil(H / stride) by ceil(W / stride) outputs.
    groups : int
        Cut the channels into this many independent convolutions.

    Returns
    -------
    Tensor, shape (N, O, H', W') with H' = (H + padding - dilation * (KH - 1) - 1) // stride + 1

    Raises
    ------
    ValueError
        If shapes, channels or groups do not agree, or no window fits.
    TypeError
        If the dtypes are not floating point, or differ.

    References
    ----------
    Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016.
    """
    x, weight, bias = arguments.floats("conv2d", x=x, weight=weight, bias=bias)
    arguments.axes("conv2d", x, "N", "C", "H", "W")
    return _conv2d(
        x, weight, bias, **_options("conv2d", x, weight, bias, stride, padding, dilation, groups)
    )


def conv1d(x, weight, bias=None, *, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    """Slide filters over sequences: `conv2d` at height 1.

    Parameters
    ----------
    x : Tensor, shape (N, C, L)
    weight : Tensor, shape (O, C / groups, K)
    bias : Tensor, shape (O,), optional
    stride, dilation : int [samples]
    padding : int, ((int, int),), "same" or "valid" [samples]
        Zeros on both sides, or as ((before, after),).
    groups : int

    Returns
    -------
    Tensor, shape (N, O, L')

    Raises
    ------
    ValueError, TypeError
        As `conv2d`.
    """
    x, weight, bias = arguments.floats("conv1d", x=x, weight=weight, bias=bias)
    arguments.axes("conv1d", x, "N", "C", "L")
    options = _options("conv1d", x, weight, bias, stride, padding, dilation, groups)
    return _along_width(_conv2d, x, weight, bias, options)


def conv_transpose2d(
    x, weight, bias=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1
) -> Tensor:
    """Spread each pixel over a window of a larger image: the input gradient of a convolution.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    weight : Tensor, shape (C, O / groups, KH, KW)
    bias : Tensor, shape (O,), optional
    stride, dilation : int or (int, int) [samples]
    padding : int, (int, int) or ((int, int), (int, int)) [samples]
        What the convolution would have added around the image, cut off here.
    output_padding : int or (int, int) [samples]
        Rows and columns more at the end: the sizes that a strided convolution rounds away.
    groups : int

    Returns
    -------
    Tensor, shape (N, O, H', W') with
    H' = (H - 1) * stride - padding + dilation * (KH - 1) + output_padding + 1

    Raises
    ------
    ValueError
        If shapes, channels or groups do not agree, if nothing is left of the image, or if
        output_padding reaches stride and dilation.
    TypeError
        If the dtypes are not floating point, or differ.

    References
    ----------
    Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016, chapter 4.
    """
    x, weight, bias = arguments.floats("conv_transpose2d", x=x, weight=weight, bias=bias)
    arguments.axes("conv_transpose2d", x, "N", "C", "H", "W")
    options = _transpose_options(
        "conv_transpose2d", x, weight, bias, stride, padding, output_padding, dilation, groups
    )
    return _conv_transpose2d(x, weight, bias, **options)


def conv_transpose1d(
    x, weight, bias=None, *, stride=1, padding=0, output_padding=0, groups=1, dilation=1
) -> Tensor:
    """Spread each sample over a window of a longer sequence: `conv_transpose2d` at height 1.

    Parameters
    ----------
    x : Tensor, shape (N, C, L)
    weight : Tensor, shape (C, O / groups, K)
    bias : Tensor, shape (O,), optional
    stride, padding, output_padding, dilation : int [samples]
    groups : int

    Returns
    -------
    Tensor, shape (N, O, L')

    Raises
    ------
    ValueError, TypeError
        As `conv_transpose2d`.
    """
    x, weight, bias = arguments.floats("conv_transpose1d", x=x, weight=weight, bias=bias)
    arguments.axes("conv_transpose1d", x, "N", "C", "L")
    options = _transpose_options(
        "conv_transpose1d", x, weight, bias, stride, padding, output_padding, dilation, groups
    )
    options["size"] = (1, *options["size"])
    return _along_width(_conv_transpose2d, x, weight, bias, options)


@primitive
def _conv2d(x, w, b, **options):
    k = kernels.of(x, w, b)
    size, kernel_size = x.shape[2:], w.shape[2:]
    return k.conv2d(x, w, b, **options), (
        lambda dy: k.conv2d_input_grad(dy, w, size, **options),
        lambda dy: k.conv2d_weight_grad(dy, x, kernel_size, **options),
        lambda dy: k.conv2d_bias_grad(dy),
    )


@primitive
def _conv_transpose2d(x, w, b, *, size, **options):
    k = kernels.of(x, w, b)
    before, kernel_size = x.shape[2:], w.shape[2:]
    return k.conv_transpose2d(x, w, b, size=size, **options), (
        lambda dy: k.conv_transpose2d_input_grad(dy, w, before, **options),
        lambda dy: k.conv_transpose2d_weight_grad(dy, x, kernel_size, **options),
        lambda dy: k.conv2d_bias_grad(dy),
    )


def _along_width(convolve, x, weight, bias, options):
    """Run a 2-D convolution on sequences, as images of height 1."""
    for name, neutral in (("stride", 1), ("padding", (0, 0)), ("dilation", 1)):
        options[name] = (neutral, *options[name])
    n, c, length = x.shape
    y = convolve(
        x.reshape(n, c, 1, length),
        weight.reshape(*weight.shape[:2], 1, weight.shape[2]),
        bias,
        **options,
    )
    return y.reshape(n, y.shape[1], y.shape[3])


def _options(operation, x, weight, bias, stride, padding, dilation, groups):
    """Check a convolution and return its options, one entry per spatial axis."""
    groups = _groups(operation, x, weight, groups)
    _check_groups(operation, x, weight, bias, groups, weight.shape[0], weight.shape[1] * groups)
    size, kernel_size = x.shape[2:], weight.shape[2:]
    stride = arguments.per_axis(operation, "stride", stride, len(size))
    dilation = arguments.per_axis(operation, "dilation", dilation, len(size))
    padding = arguments.per_side(operation, padding, size, kernel_size, stride, dilation)
    arguments.windows_fit(operation, size, kernel_size, stride, padding, dilation)
    return dict(stride=stride, padding=padding, dilation=dilation, groups=groups)


def _transpose_options(
    operation, x, weight, bias, stride, padding, output_padding, dilation, groups
):
    """Check a transposed convolution and return its options, one entry per spatial axis."""
    groups = _groups(operation, x, weight, groups)
    _check_groups(operation, x, weight, bias, groups, weight.shape[1] * groups, weight.shape[0])
    size, kernel_size = x.shape[2:], weight.shape[2:]
    stride = arguments.per_axis(operation, "stride", stride, len(size))
    dilation = arguments.per_axis(operation, "dilation", dilation, len(size))
    extra = arguments.per_axis(operation, "output_padding", output_padding, len(size), minimum=0)
    if padding == "same":
        raise ValueError(f"{operation}: padding 'same' has no one inverse; give it in numbers")
    padding = arguments.per_side(operation, padding, size, kernel_size, stride, dilation)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ValueError(
            f"{operation}: output_padding {extra} must be smaller than stride {stride} "
            f"or dilation {dilation}"
        )
    output = tuple(
        geometry.transposed_output_size(*axis)
        for axis in zip(size, kernel_size, stride, padding, dilation, extra, strict=True)
    )
    if min(output) < 1:
        raise ValueError(
            f"{operation}: padding {padding} leaves an image of {output}; "
            f"x is {x.shape}, weight is {weight.shape}"
        )
    return dict(size=output, stride=stride, padding=padding, dilation=dilation, groups=groups)


def _groups(operation, x, weight, groups):
    """Return the number of groups; raise unless the weight has as many axes as x."""
    shapes = f"x is {x.shape}, weight is {weight.shape}"
    if weight.ndim != x.ndim:
        raise ValueError(f"{operation}: weight has {weight.ndim} axes, x has {x.ndim}; {shapes}")
    if 0 in weight.shape:
        raise ValueError(f"{operation}: the weight is empty; {shapes}")
    return arguments.per_axis(operation, "groups", groups, 1)[0]


def _check_groups(operation, x, weight, bias, groups, outputs, inputs):
    """Raise unless the weight takes the channels of x, `groups` divides both, and the bias fits."""
    shapes = f"x is {x.shape}, weight is {weight.shape}"
    if inputs % groups or outputs % groups:
        raise ValueError(
            f"{operation}: groups is {groups}; it must divide {inputs} input "
            f"and {outputs} output channels"
        )
    if x.shape[1] != inputs:
        of_groups = f" ({inputs // groups} in each of {groups} groups)" if groups > 1 else ""
        raise ValueError(
            f"{operation}: x has {x.shape[1]} channels but weight takes {inputs}{of_groups}; "
            f"{shapes}"
        )
    if bias is not None and bias.shape != (outputs,):
        raise ValueError(
            f"{operation}: bias is {bias.shape}; {outputs} output channels take ({outputs},)"
        )
