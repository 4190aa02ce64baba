"""Windows over images as the kernels take them, strided and adaptive."""

import math

from ..geometry import output_size

WARP = 32
WIDE = 8  # from so many columns on, a warp shares a window


def strided(shape, kernel_size, stride, padding, dilation=(1, 1), counted=((0, 0), (0, 0))):
    """Return strided windows over images (n, c, h, w), and their number along each axis."""
    geometry = list(zip(kernel_size, stride, padding, dilation, strict=True))
    windows = [output_size(size, *axis) for size, axis in zip(shape[2:], geometry, strict=True)]
    axes = [
        _axis(size, count, *axis, counted=sides)
        for size, count, axis, sides in zip(shape[2:], windows, geometry, counted, strict=True)
    ]
    return _windows(shape, axes, kernel_size[1]), tuple(windows)


def adaptive(shape, windows):
    """Return so many windows (oh, ow) that cover images (n, c, h, w)."""
    axes = [_axis(size, count) for size, count in zip(shape[2:], windows, strict=True)]
    return _windows(shape, axes, shape[3] // windows[1])


def _axis(size, windows, kernel=0, stride=1, padding=(0, 0), dilation=1, counted=(0, 0)):
    return dict(
        size=size, windows=windows, kernel=kernel, stride=stride, before=padding[0],
        dilation=dilation, counted_before=counted[0], counted_after=counted[1],
    )  # fmt: skip


def _windows(shape, axes, width):
    rows, columns = axes
    lanes = WARP if width >= WIDE else 1
    return dict(planes=math.prod(shape[:2]), rows=rows, columns=columns, lanes=lanes)
