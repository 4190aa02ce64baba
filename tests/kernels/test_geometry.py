"""Sizes, padding and windows, against counting them one by one."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minicnn.kernels.geometry import (
    adaptive_windows,
    ceil_padding,
    output_size,
    same_padding,
    transposed_output_size,
    window_counts,
)

axes = st.tuples(
    st.integers(1, 20),
    st.integers(1, 6),
    st.integers(1, 4),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.integers(1, 3),
)


def starts(size, kernel, stride, padding, dilation):
    """Return where windows begin that end inside the padded input."""
    last = size + padding[1] - dilation * (kernel - 1) - 1
    return list(range(-padding[0], last + 1, stride))


@given(axes)
def test_as_many_windows_fit_as_can_be_placed(axis):
    assert max(output_size(*axis), 0) == len(starts(*axis))


@given(axes)
def test_windows_count_the_samples_they_meet(axis):
    size, kernel, _, _, dilation = axis
    met = [sum(0 <= s + t * dilation < size for t in range(kernel)) for s in starts(*axis)]
    assert window_counts(*axis, counted=(0, 0)) == met


@pytest.mark.parametrize(
    ("kernel", "stride", "expected"),
    [(64, 1, (31, 32)), (70, 1, (34, 35)), (3, 1, (1, 1)), (512, 4, (254, 254)), (1, 2, (0, 0))],
)
def test_same_padding_puts_the_odd_sample_after(kernel, stride, expected):
    assert same_padding(1024, kernel, stride, 1) == expected


@given(st.integers(1, 50), st.integers(1, 9), st.integers(1, 5), st.integers(1, 3))
def test_same_padding_gives_one_window_per_stride(size, kernel, stride, dilation):
    padding = same_padding(size, kernel, stride, dilation)
    assert output_size(size, kernel, stride, padding, dilation) == -(-size // stride)


@given(axes)
def test_the_transposed_size_is_taken_back_by_the_convolution(axis):
    size, *geometry = axis
    larger = transposed_output_size(size, *geometry, extra=0)
    if larger > 0:
        assert output_size(larger, *geometry) == size


@settings(deadline=None)  # the first example imports PyTorch
@given(axes)
def test_ceil_mode_agrees_with_pytorch(axis):
    torch = pytest.importorskip("torch")
    size, kernel, stride, (before, _), dilation = axis
    before = min(before, kernel // 2)
    if size + 2 * before < dilation * (kernel - 1) + 1:
        return
    expected = torch.nn.functional.max_pool1d(
        torch.zeros(1, 1, size), kernel, stride, before, dilation, ceil_mode=True
    ).shape[-1]
    padding = ceil_padding(size, kernel, stride, (before, before), dilation)
    assert output_size(size, kernel, stride, padding, dilation) == expected


@given(st.integers(1, 30), st.integers(1, 30))
def test_adaptive_windows_cover_every_sample_without_gaps(size, count):
    windows = adaptive_windows(size, count)
    assert len(windows) == count
    assert windows[0][0] == 0
    assert windows[-1][1] == size
    assert all(start < stop for start, stop in windows)
    assert all(after[0] <= before[1] for before, after in pairwise(windows))
