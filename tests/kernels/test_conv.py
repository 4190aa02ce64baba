"""Convolution against plain loops and against itself, over shapes that hypothesis draws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minicnn.kernels.geometry import output_size

from minicnn import kernels
from tests.kernels import loops
from tests.kernels.cases import assert_close

implementations = pytest.mark.parametrize(
    "k", [kernels.reference, kernels.cpu], ids=["reference", "cpu"]
)


@st.composite
def geometries(draw):
    """Draw x's and w's shapes and the options of a convolution with at least one window."""
    groups = draw(st.integers(1, 3))
    channels, filters = (groups * draw(st.integers(1, 2)) for _ in range(2))
    kernel_size, stride, dilation = (
        tuple(draw(st.integers(1, 3)) for _ in range(2)) for _ in range(3)
    )
    padding = tuple((draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(2))
    size = []
    for axis in range(2):
        span = dilation[axis] * (kernel_size[axis] - 1) + 1
        size.append(max(span - sum(padding[axis]), 1) + draw(st.integers(0, 5)))
    n = draw(st.integers(1, 2))
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return (n, channels, *size), (filters, channels // groups, *kernel_size), options


def draw_arrays(x_shape, w_shape, options):
    rng = np.random.default_rng(0)
    output = [
        output_size(*axis)
        for axis in zip(
            x_shape[2:],
            w_shape[2:],
            options["stride"],
            options["padding"],
            options["dilation"],
            strict=True,
        )
    ]
    shapes = x_shape, w_shape, (x_shape[0], w_shape[0], *output)
    return [rng.standard_normal(shape) for shape in shapes]


@implementations
@settings(deadline=None, max_examples=60)
@given(geometry=geometries())
def test_convolution_is_the_sum_over_each_window(k, geometry):
    x, w, _ = draw_arrays(*geometry)
    expected = loops.conv2d(x, w, **geometry[2])
    b = np.arange(len(w), dtype=float)
    assert_close(k.conv2d(x, w, None, **geometry[2]), expected, x.size)
    assert_close(k.conv2d(x, w, b, **geometry[2]), expected + b[:, None, None], x.size)


@implementations
@settings(deadline=None, max_examples=60)
@given(geometry=geometries())
def test_both_gradients_of_convolution_are_its_adjoints(k, geometry):
    x, w, dy = draw_arrays(*geometry)
    options = geometry[2]
    product = np.sum(k.conv2d(x, w, None, **options) * dy)
    dx = k.conv2d_input_grad(dy, w, x.shape[2:], **options)
    dw = k.conv2d_weight_grad(dy, x, w.shape[2:], **options)
    terms = dy.size * w[0].size
    assert dx.shape == x.shape
    assert dw.shape == w.shape
    assert_close(np.sum(x * dx), product, terms)
    assert_close(np.sum(w * dw), product, terms)


@implementations
@settings(deadline=None, max_examples=60)
@given(geometry=geometries())
def test_transposed_convolution_spreads_each_pixel_over_its_window(k, geometry):
    image, w, x = draw_arrays(*geometry)
    options = geometry[2]
    y = k.conv_transpose2d(x, w, None, size=image.shape[2:], **options)
    expected = loops.conv_transpose2d(x, w, image.shape[2:], **options)
    assert_close(y, expected, x.size * w.size)


@implementations
@settings(deadline=None, max_examples=40)
@given(geometry=geometries())
def test_both_gradients_of_transposed_convolution_are_its_adjoints(k, geometry):
    dy, w, x = draw_arrays(*geometry)
    options = geometry[2]
    product = np.sum(k.conv_transpose2d(x, w, None, size=dy.shape[2:], **options) * dy)
    dx = k.conv_transpose2d_input_grad(dy, w, x.shape[2:], **options)
    dw = k.conv_transpose2d_weight_grad(dy, x, w.shape[2:], **options)
    terms = x.size * w[0].size
    assert_close(np.sum(x * dx), product, terms)
    assert_close(np.sum(w * dw), product, terms)


@implementations
def test_the_bias_gradient_sums_over_images_and_pixels(k):
    dy = np.random.default_rng(0).standard_normal((2, 3, 4, 5))
    assert_close(k.conv2d_bias_grad(dy), np.einsum("nchw->c", dy), dy.size)
