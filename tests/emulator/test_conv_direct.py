"""Convolutions without columns in memory, in every precision."""

import itertools
import re

import numpy as np
import pytest
from minicnn.kernels import geometry, reference
from minicnn.kernels.cuda import conv_direct
from minicnn.kernels.cuda.source import FOLDER

from minicnn import kernels
from tests.emulator.test_shapes import SHAPES, misaligned

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


def is_direct(shape):
    """Return whether the windows of a layer are more than the samples themselves."""
    return not shape[1][2:] == shape[2] == (1, 1)


@every_lane
@every_shape
def test_factors_of_few_bits_multiply_without_an_error(emulator, set_precision, shape, lane):
    rng = np.random.default_rng(0)
    few = passes(shape, lambda size: rng.integers(-4, 5, size).astype(np.float32))
    set_precision(lane)
    for name, done in few.items():
        assert np.array_equal(done(kernels.cuda), done(reference)), name
    kernel, *_ = LANES[lane]
    wanted = {f"convolve_{kernel}", f"correlate_{kernel}"} if is_direct(shape) else set()
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
        assert error >= least or not is_direct(shape), name


def test_the_launcher_has_the_numbers_of_the_source():
    text = (FOLDER / "conv_direct.cu").read_text()
    names = "THREADS", "ROWS", "COLUMNS"
    found = [int(re.search(rf"\b{name} = (\d+)", text)[1]) for name in names]
    assert found == [getattr(conv_direct, name) for name in names]
    assert int(re.search(r"\bDEPTH = (\d+) / sizeof", text)[1]) == 4 * conv_direct.DEPTH


@every_lane
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_where_arrays_begin_in_memory_changes_no_bit(emulator, set_precision, lane, dtype):
    set_precision(lane)
    layers = [  # whose filters and results can be read and written in vectors, or only some of them
        ((2, 8, 6, 12), (5, 8, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
        ((2, 4, 1, 51), (6, 4, 1, 4), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((3, 4, 7, 5), (4, 2, 2, 2), (2, 1), ((1, 0), (0, 1)), (1, 1), 2),
    ]
    for layer in layers:
        rng, same = np.random.default_rng(0), np.random.default_rng(0)
        one = passes(layer, lambda size, r=rng: r.standard_normal(size).astype(dtype))
        other = passes(
            layer, lambda size, r=same: misaligned(r.standard_normal(size).astype(dtype))
        )
        for name, done in one.items():
            assert np.array_equal(done(kernels.cuda), other[name](kernels.cuda)), (name, layer)


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


def strided_shapes(count):
    """Yield convolutions with strides, some of which leave samples that no tap reaches."""
    rng = np.random.default_rng(0)
    while count:
        groups, channels, filters, images = rng.integers(1, 4, 4)
        size, stride, dilation = (tuple(map(int, rng.integers(1, most, 2))) for most in (24, 7, 7))
        kernel_size, padding = tuple(map(int, rng.integers(1, 6, 2))), rng.integers(0, 9, (2, 2))
        padding = tuple(map(tuple, padding.tolist()))
        geometry_ = size, kernel_size, stride, padding, dilation
        if min(map(geometry.output_size, *geometry_)) > 0 and stride != (1, 1):
            x_shape = images, groups * channels, *size
            w_shape = groups * filters, channels, *kernel_size
            yield x_shape, w_shape, stride, padding, dilation, int(groups)
            count -= 1


def test_gradients_of_strided_inputs_are_exact_and_zero_where_no_tap_reaches(emulator):
    rng, zeros = np.random.default_rng(0), 0
    for shape in strided_shapes(60):
        few = passes(shape, lambda size: rng.integers(-4, 5, size).astype(np.float32))
        expected = few["conv2d_input_grad"](reference)
        assert np.array_equal(few["conv2d_input_grad"](kernels.cuda), expected), shape
        zeros += (expected == 0).mean() > 0.5
    assert zeros > 10
    assert emulator.launched == {"convolve_strict"}


@pytest.mark.parametrize("field", ["before", "taps", "windows"])
def test_a_phase_that_is_off_by_one_is_noticed(emulate, monkeypatch, field):
    emulate()
    rng, phases = np.random.default_rng(0), conv_direct.phases

    def wrong(axis):
        *others, last = phases(axis)
        return *others, last._replace(axis=last.axis | {field: last.axis[field] - 1})

    monkeypatch.setattr(conv_direct, "phases", wrong)
    done = passes(SHAPES[1], rng.standard_normal)["conv2d_input_grad"]
    assert not np.allclose(done(kernels.cuda), done(reference))


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("dilation", [1, 2, 3, 6])
def test_phases_have_each_sample_once_and_each_pair_of_tap_and_window_that_meet(stride, dilation):
    for size, before, taps in itertools.product((1, 5, 12), (0, 3, 8), (1, 2, 5)):
        windows = geometry.output_size(size, taps, stride, (before, 20), dilation)
        axis = dict(windows=windows, taps=taps, size=size, stride=stride, dilation=dilation)
        samples, met = [], set()
        for phase in conv_direct.phases(axis | dict(before=before)):
            here, its_taps = range(size)[phase.samples], range(taps)[phase.taps]
            samples += here
            turned = phase.axis
            assert turned["windows"] == len(here)
            assert turned["taps"] in (0, len(its_taps))
            for (i, sample), (k, tap) in itertools.product(enumerate(here), enumerate(its_taps)):
                window = i + k * turned["dilation"] - turned["before"]
                if turned["taps"] and 0 <= window < windows:
                    met.add((sample, tap, window))
        assert sorted(samples) == list(range(size))
        assert met == {
            (window * stride + tap * dilation - before, tap, window)
            for window, tap in itertools.product(range(windows), range(taps))
            if 0 <= window * stride + tap * dilation - before < size
        }


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
