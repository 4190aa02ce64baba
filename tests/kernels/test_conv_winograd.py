"""Winograd's convolution: its matrices, and all three passes against the reference."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from minicnn.kernels.cpu import conv_winograd, parallel, winograd_filters
from minicnn.kernels.cpu.winograd_transforms import ALGORITHMS, matrices

import minicnn as mc
from minicnn import kernels

# What F(m, r) may round more than the definition, which sums up as many terms.
AMPLIFIED = {(1, 1): 1, (2, 3): 3, (4, 3): 12, (6, 3): 60, (3, 4): 12, (2, 5): 12, (4, 5): 60}
SQUARE = (((4, 4), (3, 3)), ((2, 2), (3, 3)))
SINGLE = ((1, 1), (1, 1))


@st.composite
def geometries(draw):
    """Draw the tile, x's and w's shapes, padding and groups, with at least one window."""
    (mh, kh), (mw, kw) = draw(st.sampled_from(ALGORITHMS)), draw(st.sampled_from(ALGORITHMS))
    groups = draw(st.integers(1, 3))
    channels, filters = (groups * draw(st.integers(1, 20)) for _ in range(2))
    padding = tuple((draw(st.integers(0, 6)), draw(st.integers(0, 6))) for _ in range(2))
    size = [
        max(kernel - sum(sides), 1) + draw(st.integers(0, 20))
        for kernel, sides in zip((kh, kw), padding, strict=True)
    ]
    x_shape = (draw(st.integers(1, 3)), channels, *size)
    return (mh, mw), x_shape, (filters, channels // groups, kh, kw), padding, groups


def draw_arrays(x_shape, w_shape, padding, dtype):
    rng = np.random.default_rng(0)
    output = [x_shape[a] + sum(padding[a - 2]) - w_shape[a] + 1 for a in (2, 3)]
    shapes = x_shape, w_shape, (w_shape[0],), (x_shape[0], w_shape[0], *output)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def winograd(x, w, b, dy, m, padding, groups, slope=1.0):
    """Return all three passes, made in arrays where everything was NaN before."""
    y, dx, dw = (np.full_like(array, np.nan) for array in (dy, x, w))
    options = dict(m=m, padding=padding, groups=groups)
    conv_winograd.conv2d(x, w, b, y, slope, **options)
    conv_winograd.conv2d_input_grad(dy, w, None, dx, **options)
    conv_winograd.conv2d_weight_grad(dy, x, dw, **options)
    return y, dx, dw


def reference(x, w, b, dy, padding, groups):
    options = dict(stride=(1, 1), padding=padding, dilation=(1, 1), groups=groups)
    return (
        kernels.reference.conv2d(x, w, b, **options),
        kernels.reference.conv2d_input_grad(dy, w, x.shape[2:], **options),
        kernels.reference.conv2d_weight_grad(dy, x, w.shape[2:], **options),
    )


def assert_rounds_like(actual, expected, m, kernel_size, terms):
    """Compare by the rounding of so many terms, times what the matrices make of it."""
    h, w = (AMPLIFIED[axis] for axis in zip(m, kernel_size, strict=True))
    allowed = h * w * np.finfo(actual.dtype).eps * np.sqrt(terms)
    assert np.abs(actual - expected).max(initial=0) <= allowed * max(1, np.abs(expected).max())


def assert_agrees(m, x_shape, w_shape, padding, groups, dtype):
    arrays = draw_arrays(x_shape, w_shape, padding, dtype)
    expected = reference(*[array.astype(float) for array in arrays], padding, groups)
    actual = winograd(*arrays, m, padding, groups)
    w, dy = arrays[1], arrays[3]
    sizes = w[0].size, w[:, 0].size, dy[:, 0].size
    for one, other, terms in zip(actual, expected, sizes, strict=True):
        assert one.dtype == dtype
        assert_rounds_like(one, other, m, w_shape[2:], terms)


@pytest.mark.parametrize(("m", "r"), ALGORITHMS)
def test_the_matrices_convolve_exactly(m, r):
    to_samples, from_samples, of_filters = matrices(m, r)
    for tap in range(r):
        for place in range(m + r - 1):
            products = [
                row[tap] * line[place] for row, line in zip(of_filters, to_samples, strict=True)
            ]
            results = [
                sum(a * b for a, b in zip(row, products, strict=True)) for row in from_samples
            ]
            assert results == [Fraction(place == i + tap) for i in range(m)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(deadline=None, max_examples=60)
@given(geometry=geometries())
@example(geometry=((4, 4), (2, 3, 1, 1), (5, 3, 3, 3), SINGLE, 1))  # an image less than a tile
@example(geometry=((4, 4), (1, 1, 3, 2), (1, 1, 3, 3), ((7, 5), (4, 6)), 1))  # mostly padding
@example(geometry=((2, 2), (2, 34, 9, 13), (66, 17, 3, 3), ((2, 0), (1, 3)), 2))
def test_all_passes_agree_with_the_reference(dtype, geometry):
    assert_agrees(*geometry, dtype)


@pytest.mark.parametrize(("m", "kernel_size"), [*SQUARE, ((1, 4), (1, 3))])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_channels_and_tiles_agree_with_the_reference(m, kernel_size, dtype):
    padding = tuple((kernel // 2, kernel // 2) for kernel in kernel_size)
    shape = (1, 70, 30, 310) if m[0] > 1 else (2, 70, 1, 1000)
    assert_agrees(m, shape, (150, 70, *kernel_size), padding, 1, dtype)


@pytest.mark.parametrize("tiles", [8, 9, 47, 49, 71, 72, 73, 119, 145, 200])
def test_any_number_of_tiles_is_cut_into_blocks(tiles):
    assert_agrees((4, 4), (1, 2, 3, 4 * tiles), (3, 2, 3, 3), SINGLE, 1, np.float64)


@pytest.mark.parametrize("size", [(9, 10), (40, 30)])
def test_more_terms_than_are_summed_up_at_once_agree_with_the_reference(size):
    assert_agrees((4, 4), (1, 300, *size), (70, 150, 3, 3), SINGLE, 2, np.float32)


def test_filters_that_take_several_turns_agree_with_the_reference(monkeypatch):
    monkeypatch.setattr(conv_winograd, "FEW", 0)
    monkeypatch.setattr(winograd_filters, "KEPT", 1)
    monkeypatch.setattr(conv_winograd, "MOST_ROWS", 16)
    monkeypatch.setattr(conv_winograd, "MOST_PANELS", 1)
    assert_agrees((4, 4), (2, 100, 9, 10), (230, 50, 3, 3), SINGLE, 2, np.float32)


@pytest.mark.parametrize(("m", "kernel_size"), SQUARE)
def test_negative_padding_leaves_pixels_out(m, kernel_size):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 12, 17)), rng.standard_normal((4, 3, *kernel_size))
    dy = rng.standard_normal((2, 4, 8, 13))
    y, dx, dw = winograd(x, w, None, dy, m, ((-1, -1), (-2, 0)), 1)
    kept = np.s_[:, :, 1:-1, 2:]
    expected = reference(x[kept], w, None, dy, ((0, 0), (0, 0)), 1)
    for actual, wanted in zip((y, dx[kept], dw), expected, strict=True):
        assert np.allclose(actual, wanted, rtol=1e-12, atol=1e-12)
    dx[kept] = 0
    assert np.abs(dx).max() < 1e-12


def test_no_more_windows_are_made_than_y_has():
    x, w, b, dy = draw_arrays((2, 3, 11, 14), (5, 3, 3, 3), SINGLE, np.float64)
    y = np.full((2, 5, 7, 9), np.nan)
    conv_winograd.conv2d(x, w, b, y, 1.0, m=(4, 4), padding=SINGLE, groups=1)
    expected, _, _ = reference(x, w, b, dy, SINGLE, 1)
    assert np.allclose(y, expected[:, :, :7, :9], rtol=1e-12, atol=1e-12)


def test_the_input_gradient_adds_a_bias():
    x, w, _, dy = draw_arrays((2, 6, 11, 14), (4, 3, 3, 3), SINGLE, np.float64)
    b = np.arange(6.0)
    options = dict(m=(4, 4), padding=SINGLE, groups=2)
    plain, dx = np.empty_like(x), np.empty_like(x)
    conv_winograd.conv2d_input_grad(dy, w, None, plain, **options)
    conv_winograd.conv2d_input_grad(dy, w, b, dx, **options)
    assert np.allclose(dx, plain + b[:, None, None], rtol=1e-13, atol=1e-13)


def test_relu_cuts_off_what_is_negative_and_keeps_nan():
    x, w, b, dy = draw_arrays((2, 3, 11, 14), (5, 3, 3, 3), SINGLE, np.float32)
    y, _, _ = winograd(x, w, b, dy, (4, 4), SINGLE, 1)
    cut, _, _ = winograd(x, w, b, dy, (4, 4), SINGLE, 1, slope=0.0)
    assert np.array_equal(cut, np.maximum(y, 0))
    x[0, 0, 0, 0] = np.nan
    cut, _, _ = winograd(x, w, b, dy, (4, 4), SINGLE, 1, slope=0.0)
    assert np.isnan(cut[0, :, :2, :2]).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("size", [(7, 7), (60, 60)])
def test_a_pass_tells_whether_what_is_not_finite_may_have_spread(value, size):
    x, w, _, dy = draw_arrays((2, 20, *size), (17, 20, 3, 3), SINGLE, np.float32)
    y, dx, dw = (np.empty_like(array) for array in (dy, x, w))
    options = dict(m=(4, 4), padding=SINGLE, groups=1)

    def tell():
        return [
            conv_winograd.conv2d(x, w, None, y, 0.0, **options),
            conv_winograd.conv2d_input_grad(dy, w, None, dx, **options),
            conv_winograd.conv2d_weight_grad(dy, x, dw, **options),
        ]

    assert tell() == [False, False, False]
    x[1, 19, 6, 6] = value
    assert tell() == [True, False, True]
    x[1, 19, 6, 6], dy[1, 16, 0, 0] = 0, value
    assert tell() == [False, True, True]


def test_filters_may_be_transformed_once_for_several_calls():
    x, w, b, dy = draw_arrays((2, 40, 11, 14), (150, 20, 3, 3), SINGLE, np.float32)
    options = dict(m=(4, 4), groups=2)
    filters = winograd_filters.transform_filters(w, **options)
    y, again = np.empty_like(dy), np.empty_like(dy)
    conv_winograd.conv2d(x, w, b, y, 1.0, padding=SINGLE, **options)
    conv_winograd.conv2d(x, w, b, again, 1.0, padding=SINGLE, filters=filters, **options)
    assert np.array_equal(y, again)


@pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 3, 0, 8)])
def test_a_batch_without_windows_has_no_gradient(shape):
    padding = ((0, 0), (1, 1))
    x, w, b = np.zeros(shape), np.ones((4, 3, 3, 3)), np.ones(4)
    dy = np.zeros((shape[0], 4, max(shape[2] - 2, 0), 8))
    _, dx, dw = winograd(x, w, b, dy, (4, 4), padding, 1)
    assert dx.shape == shape
    assert not dw.any()


@pytest.mark.parametrize(
    ("x_shape", "filters"), [((3, 24, 61, 67), 24), ((1, 24, 13, 9), 200), ((2, 300, 30, 30), 40)]
)
def test_the_number_of_threads_does_not_change_a_bit(monkeypatch, x_shape, filters):
    monkeypatch.setattr(parallel, "LEAST", 1)  # as if it paid to use all of them
    arrays = draw_arrays(x_shape, (filters, x_shape[1], 3, 3), SINGLE, np.float32)
    before, results = mc.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            mc.set_num_threads(count)
            results.append(winograd(*arrays, (4, 4), SINGLE, 1))
    finally:
        mc.set_num_threads(before)
    for result in results[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(result, results[0], strict=True))
