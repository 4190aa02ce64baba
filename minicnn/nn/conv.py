"""Convolution and transposed convolution layers."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from minicnn import ops
from minicnn.nn import init
from minicnn.nn.module import Module, Parameter
from minicnn.ops import arguments


class _Convolution(Module):
    """Weight, bias and geometry of a convolution along `axes` axes."""

    axes: int

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride,
        padding,
        dilation,
        groups,
        bias,
        **initial,
    ):
        name = type(self).__name__
        (in_channels,) = arguments.per_axis(name, "in_channels", in_channels, 1)
        (out_channels,) = arguments.per_axis(name, "out_channels", out_channels, 1)
        (groups,) = arguments.per_axis(name, "groups", groups, 1)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"{name}: groups is {groups}; it must divide {in_channels} input "
                f"and {out_channels} output channels"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = arguments.per_axis(name, "kernel_size", kernel_size, self.axes)
        self.stride = arguments.per_axis(name, "stride", stride, self.axes)
        self.dilation = arguments.per_axis(name, "dilation", dilation, self.axes)
        self.padding = padding
        arguments.per_side(
            name, padding, self.kernel_size, self.kernel_size, self.stride, self.dilation
        )
        self._draw(bias, **initial)

    def _draw(self, bias, weight_init, bias_init, rng):
        """Draw weight and bias, by default as PyTorch does."""
        shape = self._weight_shape()
        default = functools.partial(init.uniform, bound=1 / math.sqrt(init.fans(shape)[0]))
        weight_init = default if weight_init is None else weight_init
        bias_init = default if bias_init is None else bias_init
        self.weight = Parameter(init.draw(weight_init, shape, rng=rng))
        self.bias = None
        if bias:
            self.bias = Parameter(init.draw(bias_init, (self.out_channels,), rng=rng))

    def _weight_shape(self):
        return (self.out_channels, self.in_channels // self.groups, *self.kernel_size)

    def extra_repr(self):
        shown = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        neutral = dict(stride=(1,) * self.axes, padding=0, dilation=(1,) * self.axes, groups=1)
        for name, value in neutral.items():
            if getattr(self, name) != value:
                shown += f", {name}={getattr(self, name)!r}"
        return shown + ("" if self.bias is not None else ", bias=False")


class _Conv(_Convolution):
    """What convolutions along one and two axes share."""

    convolve: Callable

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        *,
        weight_init=None,
        bias_init=None,
        rng=None,
    ):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            weight_init=weight_init,
            bias_init=bias_init,
            rng=rng,
        )

    def forward(self, x):
        return self.convolve(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


class Conv2d(_Conv):
    """Slide `out_channels` filters over images: (N, C, H, W) to (N, O, H', W'), as `ops.conv2d`.

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, dilation : int or (int, int) [samples]
    padding : int, (int, int), ((int, int), (int, int)), "same" or "valid" [samples]
    groups : int
    bias : bool
    weight_init, bias_init : callable or float, optional
        What to begin with: a function of `nn.init`, called as `weight_init(shape, rng=rng)`, or
        one number for all. By default U(-b, b) with b = 1 / sqrt(fan-in), as in PyTorch.
    rng : int, Generator or None
        Draws weight and bias.

    Raises
    ------
    ValueError
        If a number is out of range, or groups does not divide the channels.
    """

    axes = 2
    convolve = staticmethod(ops.conv2d)


class Conv1d(_Conv):
    """Slide filters over sequences: (N, C, L) to (N, O, L'); parameters as `Conv2d`, one axis."""

    axes = 1
    convolve = staticmethod(ops.conv1d)


class _ConvTranspose(_Convolution):
    """What transposed convolutions along one and two axes share."""

    convolve: Callable

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        stride=1,
        padding=0,
        output_padding=0,
        groups=1,
        bias=True,
        dilation=1,
        *,
        weight_init=None,
        bias_init=None,
        rng=None,
    ):
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            bias,
            weight_init=weight_init,
            bias_init=bias_init,
            rng=rng,
        )
        self.output_padding = output_padding

    def _weight_shape(self):
        return (self.in_channels, self.out_channels // self.groups, *self.kernel_size)

    def forward(self, x):
        return self.convolve(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            output_padding=self.output_padding,
            groups=self.groups,
            dilation=self.dilation,
        )


class ConvTranspose2d(_ConvTranspose):
    """Spread pixels over windows of a larger image: (N, C, H, W) to (N, O, H', W').

    Parameters
    ----------
    in_channels, out_channels : int
    kernel_size, stride, output_padding, dilation : int or (int, int) [samples]
    padding : int, (int, int) or ((int, int), (int, int)) [samples]
    groups : int
    bias : bool
    weight_init, bias_init, rng
        As for `Conv2d`.

    Raises
    ------
    ValueError
        If a number is out of range, or groups does not divide the channels.
    """

    axes = 2
    convolve = staticmethod(ops.conv_transpose2d)


class ConvTranspose1d(_ConvTranspose):
    """Spread samples over windows of a sequence; parameters as `ConvTranspose2d`, one axis."""

    axes = 1
    convolve = staticmethod(ops.conv_transpose1d)
