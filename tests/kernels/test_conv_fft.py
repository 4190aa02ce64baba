"""Convolution through the Fourier transform: the same as the reference, in all three passes."""

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minicnn.kernels.geometry import output_size
from numba import njit

import minicnn as mc
from minicnn import kernels

conv = importlib.import_module("minicnn.kernels.cpu.conv")
conv_fft = importlib.import_module("minicnn.kernels.cpu.conv_fft")
fft = importlib.import_module("minicnn.kernels.cpu.fft")
spectra = importlib.import_module("minicnn.kernels.cpu.spectra")

NONE = ((0, 0), (0, 0))
SHAPES = {  # x, w, stride, padding, groups
    "one tap": ((1, 1, 1, 1), (1, 1, 1, 1), (1, 1), NONE, 1),
    "vertical": ((2, 3, 20, 1), (20, 3, 5, 1), (1, 1), ((2, 1), (0, 0)), 1),
    "horizontal": ((2, 3, 4, 41), (5, 3, 2, 9), (1, 1), ((0, 1), (4, 4)), 1),
    "strides": ((2, 20, 20, 7), (20, 20, 5, 4), (3, 2), ((2, 1), (1, 3)), 1),
    "stride longer than the filter": ((2, 3, 30, 9), (4, 3, 3, 2), (5, 3), NONE, 1),
    "groups": ((3, 20, 17, 3), (40, 5, 6, 3), (1, 1), ((3, 2), (1, 1)), 4),
    "a channel per group": ((2, 6, 30, 1), (12, 1, 11, 1), (2, 1), ((5, 5), (0, 0)), 6),
    "filter longer than the signal": ((2, 3, 8, 1), (33, 3, 64, 1), (1, 1), ((31, 32), (0, 0)), 1),
    "nothing but padding on one side": ((1, 2, 5, 1), (3, 2, 4, 1), (1, 1), ((40, 0), (0, 0)), 1),
    "blocks": ((2, 3, 3001, 1), (4, 3, 64, 1), (2, 1), ((31, 32), (0, 0)), 1),
    "blocks of images": ((1, 2, 2500, 9), (17, 2, 30, 3), (1, 1), ((15, 14), (1, 1)), 1),
    "crepe": ((2, 1, 1024, 1), (32, 1, 512, 1), (4, 1), ((254, 254), (0, 0)), 1),
    "salience": ((1, 20, 90, 18), (8, 20, 70, 3), (1, 1), ((34, 35), (1, 1)), 1),
    "salience turned": ((1, 20, 18, 90), (8, 20, 3, 70), (1, 1), ((1, 1), (34, 35)), 1),
    "many filters over images": ((1, 3, 40, 21), (30, 3, 9, 3), (1, 1), ((4, 4), (1, 1)), 1),
}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
# Against the sum of squares of what is summed up: the rounding of so many terms, and of transforms.
TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 2e-15}


def draw(shape, dtype, seed=0):
    """Return x, w, b, dy and the options of a convolution."""
    x_shape, w_shape, stride, padding, groups = shape
    size = map(output_size, x_shape[2:], w_shape[2:], stride, padding, (1, 1))
    rng = np.random.default_rng(seed)
    shapes = x_shape, w_shape, w_shape[:1], (x_shape[0], w_shape[0], *size)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    return *arrays, dict(stride=stride, padding=padding, groups=groups)


def three_passes(x, w, b, dy, options):
    y, dx, dw = np.full_like(dy, np.nan), np.full_like(x, np.nan), np.full_like(w, np.nan)
    conv_fft.conv2d(x, w, b, y, 1.0, **options)
    conv_fft.conv2d_input_grad(dy, w, None, dx, **options)
    conv_fft.conv2d_weight_grad(dy, x, dw, **options)
    return y, dx, dw


def reference_passes(x, w, b, dy, options):
    x, w, b, dy = (array.astype(np.float64) for array in (x, w, b, dy))
    k, options = kernels.reference, dict(options, dilation=(1, 1))
    return (
        k.conv2d(x, w, b, **options),
        k.conv2d_input_grad(dy, w, x.shape[2:], **options),
        k.conv2d_weight_grad(dy, x, w.shape[2:], **options),
    )


def assert_agrees(shape, dtype):
    arrays = draw(shape, dtype)
    for actual, expected in zip(three_passes(*arrays), reference_passes(*arrays), strict=True):
        assert actual.dtype == dtype
        scale = max(1.0, float(np.abs(expected).max()))
        assert float(np.abs(actual - expected).max()) <= TOLERANCE[np.dtype(dtype)] * 3 * scale


@every_shape
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_three_passes_agree_with_the_reference(shape, dtype):
    assert_agrees(shape, dtype)


@st.composite
def geometries(draw):
    """Draw the shapes of a convolution with at least one window, on either axis."""
    groups = draw(st.integers(1, 3))
    channels, filters = (groups * draw(st.integers(1, 20)) for _ in range(2))
    kernel_size = draw(st.integers(1, 24)), draw(st.integers(1, 4))
    if draw(st.booleans()):
        kernel_size = kernel_size[::-1]
    stride = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    padding = tuple((draw(st.integers(0, 9)), draw(st.integers(0, 9))) for _ in range(2))
    size = [
        max(kernel_size[axis] - sum(padding[axis]), 1) + draw(st.integers(0, 25))
        for axis in range(2)
    ]
    x_shape = draw(st.integers(1, 3)), channels, *size
    return x_shape, (filters, channels // groups, *kernel_size), stride, padding, groups


@settings(deadline=None, max_examples=80)
@given(geometry=geometries(), dtype=st.sampled_from([np.float32, np.float64]))
def test_any_stride_padding_and_group_agrees_with_the_reference(geometry, dtype):
    assert_agrees(geometry, dtype)


@every_shape
def test_little_room_for_spectra_changes_nothing_but_the_rounding(shape, monkeypatch):
    monkeypatch.setattr(conv_fft, "SHARED", 1)
    monkeypatch.setattr(spectra, "BLOCKED", 1)
    assert_agrees(shape, np.float64)


def test_signals_of_any_length_are_cut_into_short_blocks(monkeypatch):
    monkeypatch.setattr(conv_fft, "LONGEST", 16)
    monkeypatch.setattr(conv_fft, "BLOCK", 8)
    for name in ("vertical", "strides", "groups", "salience", "nothing but padding on one side"):
        assert_agrees(SHAPES[name], np.float64)


@every_shape
def test_the_number_of_threads_does_not_change_a_bit(shape, monkeypatch):
    monkeypatch.setattr("minicnn.kernels.cpu.parallel.LEAST", 1)  # as if it paid to use all
    arrays, before = draw(shape, np.float32), mc.get_num_threads()
    try:
        mc.set_num_threads(1)
        alone = three_passes(*arrays)
        for count in (2, 3):
            mc.set_num_threads(count)
            for one, other in zip(three_passes(*arrays), alone, strict=True):
                assert np.array_equal(one, other)
    finally:
        mc.set_num_threads(before)


@pytest.mark.parametrize("name", ["crepe", "salience"])
def test_float32_is_as_exact_as_a_sum_of_products(name):
    x, w, b, dy, options = draw(SHAPES[name], np.float32)
    exact = reference_passes(x, w, b, dy, options)
    k, dilated = kernels.cpu, dict(options, dilation=(1, 1))
    direct = (
        k.conv2d(x, w, b, **dilated),
        k.conv2d_input_grad(dy, w, x.shape[2:], **dilated),
        k.conv2d_weight_grad(dy, x, w.shape[2:], **dilated),
    )
    for ours, sums, expected in zip(three_passes(x, w, b, dy, options), direct, exact, strict=True):
        assert np.linalg.norm(ours - expected) <= 3 * np.linalg.norm(sums - expected)


def test_relu_is_applied_to_the_sum_with_its_bias_and_keeps_nan():
    x, w, b, dy, options = draw(SHAPES["vertical"], np.float64)
    y, plain = np.empty_like(dy), np.empty_like(dy)
    x[1] = np.nan
    conv_fft.conv2d(x, w, b, y, 0.0, **options)
    conv_fft.conv2d(x, w, b, plain, 1.0, **options)
    assert np.array_equal(y[0], np.maximum(plain[0], 0))
    assert np.isnan(y[1]).all()


def test_a_bias_may_be_added_to_what_filters_spread():
    x, w, _, dy, options = draw(SHAPES["groups"], np.float64)
    plain, dx, b = np.empty_like(x), np.empty_like(x), np.arange(x.shape[1], dtype=float)
    conv_fft.conv2d_input_grad(dy, w, None, plain, **options)
    conv_fft.conv2d_input_grad(dy, w, b, dx, **options)
    assert np.allclose(dx, plain + b[:, None, None], rtol=0, atol=1e-12)


def test_a_number_that_is_not_finite_stays_within_its_image():
    x, w, b, dy, options = draw(SHAPES["blocks of images"], np.float32)
    x = np.concatenate([x, x])
    x[0, 0, 0, 0] = np.inf
    y = np.empty((2, *dy.shape[1:]), np.float32)
    assert conv_fft.conv2d(x, w, b, y, 1.0, **options)
    assert not np.isfinite(y[0]).all()
    assert np.isfinite(y[1]).all()


@every_shape
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_pass_tells_whether_what_is_not_finite_may_have_spread(shape, value):
    x, w, b, dy, options = draw(shape, np.float32)
    y, dx, dw = np.empty_like(dy), np.empty_like(x), np.empty_like(w)
    assert not conv_fft.conv2d(x, w, b, y, 0.0, **options)
    assert not conv_fft.conv2d_input_grad(dy, w, None, dx, **options)
    assert not conv_fft.conv2d_weight_grad(dy, x, dw, **options)
    dy[0, 0, 0, 0] = w[0, 0, 0, 0] = value
    if conv_fft.Sizes(x.shape, w.shape, dy.shape, **options).first == 0:  # else it meets padding
        assert conv_fft.conv2d(x, w, b, y, 0.0, **options)
    assert conv_fft.conv2d_input_grad(dy, w, None, dx, **options)
    assert conv_fft.conv2d_weight_grad(dy, x, dw, **options)


def test_filters_that_see_nothing_but_padding_give_their_bias():
    shape = ((1, 2, 3, 1), (4, 2, 2, 1), (9, 1), ((2, 2), (0, 0)), 1)
    x, w, b, dy, options = draw(shape, np.float64)
    y, dx, dw = three_passes(x, w, b, dy, options)
    assert np.array_equal(y, np.broadcast_to(b[:, None, None], y.shape))
    assert not dx.any()
    assert not dw.any()


@njit
def spectrum(*arguments):
    fft.spectrum(*arguments)


@njit
def samples(*arguments):
    return fft.samples(*arguments)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("length", [8, 10, 12, 30, 64, 96, 160, 250, 432])
def test_spectra_are_those_of_numpy_and_come_back_as_they_were(length, dtype):
    plan = fft.transform(length, np.dtype(dtype))
    lanes, frequencies = spectra.REGISTERS.size // np.dtype(dtype).itemsize, length // 2 + 1
    x = np.random.default_rng(0).standard_normal((length, lanes)).astype(dtype)
    work, planes = np.zeros(2 * x.size, dtype), np.zeros((frequencies, 3, lanes), dtype)
    work[: x.size] = x.ravel()
    spectrum(work, plan, False, 1, planes.reshape(-1), 0, 3 * lanes, lanes)
    expected = np.fft.rfft(x.astype(np.float64), axis=0)
    close = dict(rtol=0, atol=20 * np.finfo(dtype).eps * np.sqrt(length))
    assert np.allclose(planes[:, 1] + 1j * planes[:, 2], expected, **close)
    assert np.allclose(planes[:, 0], expected.real + expected.imag, **close)
    products = np.stack([np.zeros_like(expected.real), expected.imag, expected.real], 1)
    products[[0, -1], 0] = expected[[0, -1]].real
    at = samples(work, plan, products.astype(dtype).reshape(-1), 0, 3 * lanes, lanes)
    assert np.allclose(work[at : at + x.size].reshape(x.shape), x, **close)


def test_lengths_have_small_factors():
    assert [fft.smooth_length(least) for least in (1, 8, 9, 13, 159, 161, 395)] == [
        8, 8, 10, 16, 160, 162, 400,
    ]  # fmt: skip


def cost(x, w, windows, padding, dilation=(1, 1)):
    """Return the cost of the output of a convolution of stride 1."""
    shape = conv.Shape(
        *x[:2], w[0], x[2:], w[2:], windows, (1, 1), padding, dilation, groups=1
    )  # fmt: skip
    return conv_fft.cost(shape, "output"), shape.multiply_adds


def test_the_cost_counts_less_than_direct_sums_where_filters_are_long():
    ours, direct = cost((32, 1024, 1, 128), (128, 1024, 1, 64), (1, 128), ((0, 0), (31, 32)))
    assert ours < direct / 8
    ours, direct = cost((2, 8, 1, 9), (8, 8, 1, 2), (1, 8), ((0, 0), (0, 0)))
    assert ours > 2 * direct


def test_dilation_is_left_to_others():
    assert cost((1, 1, 1, 9), (1, 1, 1, 3), (1, 5), ((0, 0), (0, 0)), (1, 2))[0] is None
