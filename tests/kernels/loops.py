"""Convolution and pooling as plain loops over their definition: the oracle. No im2col in sight."""

import numpy as np


def conv2d(x, w, stride, padding, dilation, groups):
    n, _, h, w_in = x.shape
    o, per_group, kh, kw = w.shape
    (top, bottom), (left, right) = padding
    oh = (h + top + bottom - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (w_in + left + right - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, o, oh, ow))
    for out in range(o):
        group = out // (o // groups)
        for i in range(oh):
            for j in range(ow):
                for r in range(kh):
                    for s in range(kw):
                        row = i * stride[0] - top + r * dilation[0]
                        column = j * stride[1] - left + s * dilation[1]
                        if 0 <= row < h and 0 <= column < w_in:
                            for k in range(per_group):
                                pixel = x[:, group * per_group + k, row, column]
                                y[:, out, i, j] += pixel * w[out, k, r, s]
    return y


def conv_transpose2d(x, w, size, stride, padding, dilation, groups):
    n, c, h, w_in = x.shape
    _, per_group, kh, kw = w.shape
    y = np.zeros((n, per_group * groups, *size))
    for channel in range(c):
        group = channel // (c // groups)
        for i in range(h):
            for j in range(w_in):
                for r in range(kh):
                    for s in range(kw):
                        row = i * stride[0] - padding[0][0] + r * dilation[0]
                        column = j * stride[1] - padding[1][0] + s * dilation[1]
                        if 0 <= row < size[0] and 0 <= column < size[1]:
                            for k in range(per_group):
                                weighted = x[:, channel, i, j] * w[channel, k, r, s]
                                y[:, group * per_group + k, row, column] += weighted
    return y


def windows(x, kernel_size, stride, padding, dilation):
    """Yield (i, j) and the list of samples (n, c) of each window, without those in the padding."""
    h, w = x.shape[2:]
    (top, bottom), (left, right) = padding
    oh = (h + top + bottom - dilation[0] * (kernel_size[0] - 1) - 1) // stride[0] + 1
    ow = (w + left + right - dilation[1] * (kernel_size[1] - 1) - 1) // stride[1] + 1
    for i in range(oh):
        for j in range(ow):
            samples = []
            for r in range(kernel_size[0]):
                for s in range(kernel_size[1]):
                    row = i * stride[0] - top + r * dilation[0]
                    column = j * stride[1] - left + s * dilation[1]
                    if 0 <= row < h and 0 <= column < w:
                        samples.append(x[:, :, row, column])
            yield (i, j), samples


def pool2d(x, reduce, kernel_size, stride, padding, dilation=(1, 1)):
    """Return `reduce(samples)` of each window, samples being an array (number, n, c)."""
    pooled = {
        place: reduce(np.array(samples))
        for place, samples in windows(x, kernel_size, stride, padding, dilation)
    }
    oh, ow = (1 + max(place[axis] for place in pooled) for axis in (0, 1))
    y = np.zeros((*x.shape[:2], oh, ow))
    for (i, j), value in pooled.items():
        y[:, :, i, j] = value
    return y
