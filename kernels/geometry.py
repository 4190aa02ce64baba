"""Sizes, padding and windows of convolution and pooling, in whole numbers along one axis."""

from functools import lru_cache


def output_size(size, kernel, stride, padding, dilation):
    """Return how many windows fit along an axis, 0 or less where none does.

    Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016, relationship 6,
    with padding (before, after) and the window spread by its dilation.
    """
    return (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1


def transposed_output_size(size, kernel, stride, padding, dilation, extra):
    """Return the size that this convolution takes to `size`, `extra` samples longer."""
    return (size - 1) * stride - sum(padding) + dilation * (kernel - 1) + extra + 1


def same_padding(size, kernel, stride, dilation):
    """Return the padding (before, after) that gives ceil(size / stride) windows.

    The odd sample goes after, as in TensorFlow and in PyTorch's padding="same".
    """
    windows = -(-size // stride)
    total = max((windows - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def ceil_padding(size, kernel, stride, padding, dilation):
    """Return the padding with as much more after it that the last, partial window counts too.

    A window must begin inside the input or its padding before it, as in PyTorch's ceil_mode.
    """
    before, after = padding
    span = dilation * (kernel - 1) + 1
    windows = -(-(size + before + after - span) // stride) + 1
    if (windows - 1) * stride >= size + before:
        windows -= 1
    return before, max((windows - 1) * stride + span - size - before, 0)


def window_counts(size, kernel, stride, padding, dilation, counted):
    """Return how many cells of each window lie inside the input or its counted padding."""
    first, stop = -counted[0], size + counted[1]

    def taps_before(position, start):
        return min(max(-(-(position - start) // dilation), 0), kernel)

    windows = output_size(size, kernel, stride, padding, dilation)
    starts = (window * stride - padding[0] for window in range(windows))
    return [taps_before(stop, start) - taps_before(first, start) for start in starts]


@lru_cache(maxsize=1024)
def fewest_samples(size, kernel, stride, padding, dilation):
    """Return how many samples of the input the window has that has the fewest."""
    return min(window_counts(size, kernel, stride, padding, dilation, (0, 0)))


def adaptive_windows(size, windows):
    """Return the (start, stop) of each of `windows` windows that cover an axis, as in PyTorch."""
    return [(i * size // windows, -(-(i + 1) * size // windows)) for i in range(windows)]
