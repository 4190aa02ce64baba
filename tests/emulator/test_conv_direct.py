"""Convolutions without columns in memory, in every precision."""

import re

import numpy as np
import pytest
from minicnn.kernels import geometry, reference
from minicnn.kernels.cuda import conv_direct
from minicnn.kernels.cuda.source import FOLDER

from minicnn import kernels
from tests.emulator.test_shapes import SHAPES

# The kernels that multiply, and the relative error that factors of so few bits lead to.
LANES = {
    "float32": ("strict", 0.0, 1e-6),
    "tf32": ("tf32", 1e-4, 4e-4),
    "bfloat16": ("bfloat16", 1e-3, 4e-3),
}
every_lane = pytest.mark.parametrize("lane", LANES)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def passes(shape, draw):
    """Return the three passes over a layer as functions of the kernels, and their arguments."""
    x_shape, w_shape, stride, padding, dilation, groups = shape
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    windows = x_shape[2:], w_shape[2:], stride, padding, dilation
    dy_shape = x_shape[0], w_shape[0], *map(geometry.output_size, *windows)
    x, w, b, dy = map(draw, (x_shape, w_shape, w_shape[:1], dy_shape))
    return {
        "conv2d": lambda floor: floor.conv2d(x, w, b, **options),
        "conv2d_input_grad": lambda floor: floor.conv2d_input_grad(dy, w, x_shape[2:], **options),
        "conv2d_weight_grad": lambda floor: floor.conv2d_weight_grad(dy, x, w_shape[2:], **options),
    }


def is_direct(name, shape):
    """Return whether a pass keeps no columns."""
    _, w_shape, stride, *_ = shape
    return w_shape[2:] != (1, 1) and (name != "conv2d_input_grad" or stride == (1, 1))


@every_lane
@every_shape
def test_factors_of_few_bits_multiply_without_an_error(emulator, set_precision, shape, lane):
    rng = np.random.default_rng(0)
    few = passes(shape, lambda size: rng.integers(-4, 5, size).astype(np.float32))
    set_precision(lane)
    for name, done in few.items():
        assert np.array_equal(done(kernels.cuda), done(reference)), name
    kernel, *_ = LANES[lane]
    wanted = {f"convolve_{kernel}", f"correlate_{kernel}"} if is_direct("conv2d", shape) else set()
    assert wanted <= emulator.launched


@every_lane
@every_shape
def test_the_error_is_that_of_the_factors(emulate, set_precision, shape, lane):
    rng = np.random.default_rng(0)
    emulate("shuffled", is_wide=True)
    set_precision(lane)
    _, least, most = LANES[lane]
    for name, done in passes(shape, rng.standard_normal).items():
        assert done(kernels.cuda).dtype == np.float64, name
    for name, done in passes(shape, lambda n: rng.standard_normal(n).astype(np.float32)).items():
        exact = done(reference)
        error = np.linalg.norm(done(kernels.cuda) - exact) / np.linalg.norm(exact)
        assert error < most, name
        assert error >= least or not is_direct(name, shape), name


def test_the_launcher_has_the_numbers_of_the_source():
    text = (FOLDER / "conv_direct.cu").read_text()
    names = "THREADS", "ROWS", "COLUMNS"
    found = [int(re.search(rf"\b{name} = (\d+)", text)[1]) for name in names]
    assert found == [getattr(conv_direct, name) for name in names]


def test_double_precision_stays_what_it_is(emulate, set_precision):
    rng = np.random.default_rng(0)
    emulate()
    set_precision("bfloat16")
    for name, done in passes(SHAPES[0], rng.standard_normal).items():
        exact = done(reference)
        assert np.abs(done(kernels.cuda) - exact).max() < 1e-12 * np.abs(exact).max(), name


@pytest.mark.parametrize("members", [1, 2, 65535])
@pytest.mark.parametrize("terms", [7, 100])
def test_parts_and_groups_may_be_more_than_blocks(emulator, monkeypatch, terms, members):
    monkeypatch.setattr(conv_direct, "TERMS", terms)
    monkeypatch.setattr(conv_direct, "MOST_MEMBERS", members)
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        few = passes(shape, lambda size: rng.integers(-4, 5, size).astype(np.float32))
        for name, done in few.items():
            assert np.array_equal(done(kernels.cuda), done(reference)), (name, shape)


@every_lane
def test_slopes_and_what_is_not_finite_are_those_of_the_reference(emulator, set_precision, lane):
    set_precision(lane)
    x = np.zeros((1, 1, 3, 3), np.float32)
    x[0, 0, 1, 1], x[0, 0, 0, 0] = np.inf, np.nan
    w = -np.ones((1, 1, 2, 2), np.float32)
    options = dict(stride=(1, 1), padding=((1, 0), (1, 0)), dilation=(1, 1), groups=1)
    for slope in (0.0, 0.3, 1.0):
        found = kernels.cuda.conv2d(x, w, None, **options, slope=slope)
        assert np.array_equal(
            found, reference.conv2d(x, w, None, **options, slope=slope), equal_nan=True
        )
