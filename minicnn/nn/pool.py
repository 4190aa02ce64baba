"""Pooling layers; what they compute stands in `ops.pool`."""

from __future__ import annotations

from collections.abc import Callable

from minicnn import ops
from minicnn.nn.module import Module


class _MaxPool(Module):
    """Options of a pooling over strided windows."""

    pool: Callable

    def __init__(self, kernel_size, stride=None, padding=0, dilation=1, *, ceil_mode=False):
        self.kernel_size, self.stride = kernel_size, stride
        self.padding, self.dilation, self.ceil_mode = padding, dilation, ceil_mode

    def forward(self, x):
        return self.pool(
            x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode
        )

    def extra_repr(self):
        return _geometry(self)


class MaxPool2d(_MaxPool):
    """Take the largest value of each window of (N, C, H, W), as `ops.max_pool2d`."""

    pool = staticmethod(ops.max_pool2d)


class MaxPool1d(_MaxPool):
    """Take the largest value of each window of (N, C, L), as `ops.max_pool1d`."""

    pool = staticmethod(ops.max_pool1d)


class _AvgPool(Module):
    """Options of a pooling over strided windows."""

    pool: Callable

    def __init__(
        self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True
    ):
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x):
        return self.pool(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )

    def extra_repr(self):
        return _geometry(self)


class AvgPool2d(_AvgPool):
    """Average each window of (N, C, H, W), as `ops.avg_pool2d`."""

    pool = staticmethod(ops.avg_pool2d)


class AvgPool1d(_AvgPool):
    """Average each window of (N, C, L), as `ops.avg_pool1d`."""

    pool = staticmethod(ops.avg_pool1d)


class _LPPool(Module):
    """Options of a pooling over strided windows."""

    pool: Callable

    def __init__(self, norm_type, kernel_size, stride=None, ceil_mode=False, *, padding=0):
        self.norm_type, self.kernel_size, self.stride = norm_type, kernel_size, stride
        self.padding, self.ceil_mode = padding, ceil_mode

    def forward(self, x):
        return self.pool(
            x,
            self.norm_type,
            self.kernel_size,
            self.stride,
            self.ceil_mode,
            padding=self.padding,
        )

    def extra_repr(self):
        return f"{self.norm_type}, {_geometry(self)}"


class LPPool2d(_LPPool):
    """Take the power average of each window of (N, C, H, W), as `ops.lp_pool2d`."""

    pool = staticmethod(ops.lp_pool2d)


class LPPool1d(_LPPool):
    """Take the power average of each window of (N, C, L), as `ops.lp_pool1d`."""

    pool = staticmethod(ops.lp_pool1d)


class _StdPool(Module):
    """Options of a pooling over strided windows."""

    pool: Callable

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False):
        self.kernel_size, self.stride = kernel_size, stride
        self.padding, self.ceil_mode = padding, ceil_mode

    def forward(self, x):
        return self.pool(x, self.kernel_size, self.stride, self.padding, self.ceil_mode)

    def extra_repr(self):
        return _geometry(self)


class StdPool2d(_StdPool):
    """Take the standard deviation of each window of (N, C, H, W), as `ops.std_pool2d`."""

    pool = staticmethod(ops.std_pool2d)


class StdPool1d(_StdPool):
    """Take the standard deviation of each window of (N, C, L), as `ops.std_pool1d`."""

    pool = staticmethod(ops.std_pool1d)


class _AdaptivePool(Module):
    """Options of a pooling over adaptive windows."""

    pool: Callable

    def __init__(self, output_size):
        self.output_size = output_size

    def forward(self, x):
        return self.pool(x, self.output_size)

    def extra_repr(self):
        return f"{self.output_size}"


class AdaptiveMaxPool2d(_AdaptivePool):
    """Take the largest value of each of `output_size` windows, as `ops.adaptive_max_pool2d`."""

    pool = staticmethod(ops.adaptive_max_pool2d)


class AdaptiveMaxPool1d(_AdaptivePool):
    """Take the largest value of each of `output_size` windows, as `ops.adaptive_max_pool1d`."""

    pool = staticmethod(ops.adaptive_max_pool1d)


class AdaptiveAvgPool2d(_AdaptivePool):
    """Average each of `output_size` windows of (N, C, H, W), as `ops.adaptive_avg_pool2d`."""

    pool = staticmethod(ops.adaptive_avg_pool2d)


class AdaptiveAvgPool1d(_AdaptivePool):
    """Average each of `output_size` windows of (N, C, L), as `ops.adaptive_avg_pool1d`."""

    pool = staticmethod(ops.adaptive_avg_pool1d)


class AdaptiveStdPool2d(_AdaptivePool):
    """Take the deviation of each of `output_size` windows, as `ops.adaptive_std_pool2d`."""

    pool = staticmethod(ops.adaptive_std_pool2d)


class AdaptiveStdPool1d(_AdaptivePool):
    """Take the deviation of each of `output_size` windows, as `ops.adaptive_std_pool1d`."""

    pool = staticmethod(ops.adaptive_std_pool1d)


class _AdaptiveLPPool(Module):
    """Options of a power average over adaptive windows."""

    pool: Callable

    def __init__(self, norm_type, output_size):
        self.norm_type, self.output_size = norm_type, output_size

    def forward(self, x):
        return self.pool(x, self.norm_type, self.output_size)

    def extra_repr(self):
        return f"{self.norm_type}, {self.output_size}"


class AdaptiveLPPool2d(_AdaptiveLPPool):
    """Take the power average of each of `output_size` windows, as `ops.adaptive_lp_pool2d`."""

    pool = staticmethod(ops.adaptive_lp_pool2d)


class AdaptiveLPPool1d(_AdaptiveLPPool):
    """Take the power average of each of `output_size` windows, as `ops.adaptive_lp_pool1d`."""

    pool = staticmethod(ops.adaptive_lp_pool1d)


class GlobalMaxPool(Module):
    """Take the largest value of each channel: (N, C, L) or (N, C, H, W) to (N, C)."""

    def forward(self, x):
        return ops.global_max_pool(x)


class GlobalAvgPool(Module):
    """Average each channel: (N, C, L) or (N, C, H, W) to (N, C)."""

    def forward(self, x):
        return ops.global_avg_pool(x)


class GlobalStdPool(Module):
    """Take the standard deviation of each channel: (N, C, L) or (N, C, H, W) to (N, C)."""

    def forward(self, x):
        return ops.global_std_pool(x)


class GlobalLPPool(Module):
    """Take the power average of each channel: (N, C, L) or (N, C, H, W) to (N, C)."""

    def __init__(self, norm_type):
        self.norm_type = norm_type

    def forward(self, x):
        return ops.global_lp_pool(x, self.norm_type)

    def extra_repr(self):
        return f"{self.norm_type}"


def _geometry(layer):
    """Return the options of a strided pooling that differ from their defaults."""
    shown = f"kernel_size={layer.kernel_size}"
    neutral = dict(stride=None, padding=0, dilation=1, ceil_mode=False, count_include_pad=True)
    for name, value in neutral.items():
        if getattr(layer, name, value) != value:
            shown += f", {name}={getattr(layer, name)!r}"
    return shown
