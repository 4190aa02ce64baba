"""The CUDA kernels on shapes that take them several blocks, warps, pieces or launches."""

import importlib
import itertools

import numpy as np
import pytest
from minicnn.kernels import geometry

from minicnn import kernels
from tests.kernels.cases import assert_close

conv = importlib.import_module("minicnn.kernels.cuda.conv")
channels = importlib.import_module("minicnn.kernels.cuda.channels")


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def assert_same(name, *arguments, terms=1, **options):
    """Compare all results of a kernel with the reference's."""
    results = getattr(kernels.cuda, name)(*arguments, **options)
    expected = getattr(kernels.reference, name)(*arguments, **options)
    if not isinstance(results, tuple):
        results, expected = (results,), (expected,)
    for result, wanted in zip(results, expected, strict=True):
        assert_close(result, wanted, terms)


def misaligned(array):
    """Return a copy that begins one element behind a multiple of 16 bytes, as a part of another."""
    memory = np.empty(array.size + 32 // array.itemsize, array.dtype)
    first = -memory.ctypes.data % 16 // array.itemsize + 1
    view = memory[first : first + array.size].reshape(array.shape)
    view[...] = array
    return view


@pytest.mark.parametrize("sizes", [(1, 1, 1), (65, 63, 17), (130, 70, 200), (3, 2, 1000)])
def test_products_of_any_size(emulate, rng, sizes):
    emulate("reverse")
    n, o, i = sizes
    x, w, b = (rng.standard_normal(shape).astype(np.float32) for shape in ((n, i), (o, i), (o,)))
    dy = rng.standard_normal((n, o)).astype(np.float32)
    assert_same("linear", x, w, b, terms=4 * i)
    assert_same("linear_input_grad", dy, w, terms=4 * o)
    assert_same("linear_weight_grad", dy, x, terms=4 * n)
    assert_same("linear_bias_grad", dy, terms=n)


SHAPES = [  # x, w, stride, padding, dilation, groups
    ((4, 6, 11, 9), (70, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 2),
    ((3, 2, 10, 13), (4, 2, 3, 4), (2, 3), ((0, 2), (3, 1)), (2, 1), 1),
    ((6, 4, 5, 7), (8, 4, 1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 1),
    ((6, 4, 5, 7), (8, 2, 1, 1), (2, 1), ((0, 0), (1, 0)), (1, 1), 2),
    ((2, 1, 1, 300), (9, 1, 1, 64), (1, 4), ((0, 0), (31, 32)), (1, 1), 1),
    ((2, 4, 20, 27), (6, 2, 3, 4), (4, 6), ((3, 0), (2, 1)), (6, 4), 2),
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_convolutions_of_any_geometry(emulate, rng, shape, dtype):
    emulate()
    x_shape, w_shape, stride, padding, dilation, groups = shape
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    windows = (x_shape[2:], w_shape[2:], stride, padding, dilation)
    dy_shape = x_shape[0], w_shape[0], *map(geometry.output_size, *windows)
    shapes = x_shape, w_shape, w_shape[:1], dy_shape
    x, w, b, dy = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    terms = 4 * max(x.size, dy.size)
    assert_same("conv2d", x, w, b, **options, slope=0.0, terms=terms)
    assert_same("conv2d", x, w, b, **options, slope=0.3, terms=terms)
    assert_same("conv2d_input_grad", dy, w, x.shape[2:], **options, terms=terms)
    assert_same("conv2d_weight_grad", dy, x, w.shape[2:], **options, terms=terms)
    assert_same("conv2d_bias_grad", dy, terms=terms)
    bias = rng.standard_normal(x.shape[1]).astype(dtype)
    assert_same("conv_transpose2d", dy, w, bias, size=x.shape[2:], **options, terms=terms)


def test_images_at_a_time_are_a_divisor_of_their_number():
    assert [conv.largest_divisor(12, most) for most in (0, 1, 5, 7, 12, 100)] == [
        1,
        1,
        4,
        6,
        12,
        12,
    ]
    assert conv.largest_divisor(0, 10) == 1


PIECES = [(3, 70, 40, 30), (9000, 2), (2, 1, 5000), (4, 40, 3), (21, 2, 20, 21), (200, 1, 3, 500)]


@pytest.mark.parametrize("shape", PIECES)
def test_statistics_of_channels_in_pieces(emulate, rng, shape):
    emulate("shuffled")
    x, dy = (rng.standard_normal(shape) + 1000 for _ in range(2))
    w, b = rng.standard_normal((2, shape[1]))
    _, mean, variance = kernels.reference.batch_norm(x, w, b, 1e-5)
    terms = 1000**2 * x.size  # the mean, and what it rounds, is a thousand times the deviation
    for same in (x, misaligned(x)):
        assert_same("batch_norm", same, w, b, 1e-5, terms=terms)
        assert_same("batch_norm_grad", dy, same, w, mean, variance, 1e-5, terms=terms)
    assert_same("batch_norm_inference_grad", dy, x, w, mean, variance, 1e-5, terms=terms)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("slope", [0, 0.3])
def test_a_residual_and_a_slope_whether_arrays_are_read_in_vectors_or_not(
    emulate, rng, slope, dtype
):
    emulate("shuffled")
    x, residual, y, dy = rng.standard_normal((4, 6, 3, 8, 4)).astype(dtype)
    w, b = rng.standard_normal((2, 3)).astype(dtype)
    _, mean, variance = kernels.reference.batch_norm(x, w, b, 1e-5)
    arrays, terms = [x, residual, y, dy], x.size
    for i in range(len(arrays) + 1):
        x, residual, y, dy = (misaligned(a) if i == j else a for j, a in enumerate(arrays))
        assert_same("batch_norm", x, w, b, 1e-5, None, slope, terms=terms)
        assert_same("batch_norm", x, w, b, 1e-5, residual, slope, terms=terms)
        assert_same("add_residual", x, residual, slope)
        gradient = dy, x, w, mean, variance, 1e-5, y, slope
        assert_same("batch_norm_grad", *gradient, terms=terms)


def test_many_pieces_are_added_as_few_are(emulate, rng, monkeypatch):
    emulate("reverse")
    dy = rng.standard_normal((40, 3, 9, 20)).astype(np.float32)
    for fewest in (1, 10, 100, 7200):
        monkeypatch.setattr(channels, "FEWEST", fewest)
        assert_same("conv2d_bias_grad", dy, terms=dy.size)
        _, mean, variance = kernels.cuda.batch_norm(dy, *np.ones((2, 3), np.float32), 1e-5)
        assert np.allclose(mean, dy.mean((0, 2, 3)), atol=1e-6)
        assert np.allclose(variance, dy.var((0, 2, 3)), rtol=1e-6)


@pytest.mark.parametrize("outlier", [0, 3, 799])
def test_a_variance_survives_an_outlier_that_comes_first(emulate, rng, outlier):
    emulate()
    x = rng.standard_normal((100, 1, 8)).astype(np.float32)
    x.reshape(-1)[outlier] = 1e5
    _, mean, variance = kernels.cuda.batch_norm(x, *np.ones((2, 1), np.float32), 1e-5)
    assert np.allclose(mean, x.mean(dtype=np.float64), rtol=1e-6)
    assert np.allclose(variance, x.var(dtype=np.float64), rtol=1e-5)


def test_a_variance_survives_a_mean_a_mean_that_is_a_million_times_larger(emulate, rng):
    emulate()
    noise = rng.standard_normal((200, 2, 11))
    ones = np.ones(2)
    _, mean, variance = kernels.cuda.batch_norm(noise + 1e6, ones, ones, 1e-5)
    assert np.allclose(mean, 1e6 + noise.mean((0, 2)), rtol=1e-15)
    assert np.allclose(variance, noise.var((0, 2)), rtol=1e-9)


@pytest.mark.parametrize(("shape", "axis"), [((7, 1000), 1), ((5, 33, 70), 1), ((40, 3), 0)])
def test_softmax_along_any_axis(emulate, rng, shape, axis):
    emulate("reverse")
    x, dy = 30 * rng.standard_normal((2, *shape)).astype(np.float32)
    for name in ("softmax", "log_softmax"):
        assert_same(name, x, axis, terms=shape[axis])
        y = getattr(kernels.reference, name)(x, axis)
        assert_same(f"{name}_grad", dy, y, axis, terms=shape[axis])


def test_any_number_of_arrays_in_an_optimiser_step(emulator, rng):
    shapes = [(i % 7, 3) for i in range(60)]
    shapes[20:24] = (4096,), (3, 4096), (2, 4099), (4097,)  # shares of one block, and more
    kinds = [np.float64 if i % 3 else np.float32 for i in range(60)]
    draw = [
        rng.standard_normal((4, *shape)).astype(kind)
        for shape, kind in zip(shapes, kinds, strict=True)
    ]
    options = dict(lr=0.1, beta1=0.8, beta2=0.9, eps=1e-6, weight_decay=0.05, decoupled=False)
    results = []
    for implementation in (kernels.cuda, kernels.reference):
        w, dw, m = ([arrays[i].copy() for arrays in draw] for i in range(3))
        v = [arrays[3] ** 2 for arrays in draw]
        w[5], dw[6] = w[5].T.copy().T, np.repeat(dw[6], 2, axis=0)[::2]
        w[22], dw[23], m[21], v[20] = map(misaligned, (w[22], dw[23], m[21], v[20]))
        implementation.adam_step(w, dw, m, v, step=3, **options)
        results.append([*w, *m, *v])
        same = dict(lr=0.1, momentum=0.5, dampening=0.1, weight_decay=0.1, nesterov=True)
        implementation.sgd_step(w, dw, m, **same)
        implementation.sgd_step(w, dw, None, **same | dict(momentum=0.0))
        results[-1] += [*w, *m]
    for ours, expected in zip(*results, strict=True):
        assert_close(ours, expected, terms=8)
    assert emulator.launched == {"adam", "sgd"}


def test_dropped_are_the_same_elements_as_in_the_reference(emulate):
    emulate("shuffled")
    for name, dtype in itertools.product(("dropout", "spatial_dropout"), (np.float32, np.float64)):
        x = np.ones((3, 5, 67), dtype)
        for seed in (0, 7, 2**40 + 1, 2**64 - 1):
            for same in (x, misaligned(x)):
                ours = getattr(kernels.cuda, name)(same, 0.3, seed)
                assert np.array_equal(ours, getattr(kernels.reference, name)(same, 0.3, seed))


def test_the_index_of_a_maximum_must_fit(emulate):
    emulate()
    huge = np.broadcast_to(np.float32(0), (1, 1, 2**16, 2**15))
    with pytest.raises(ValueError, match=r"a sample in \(65536, 32768\) takes over 31 bits"):
        kernels.cuda.adaptive_max_pool2d(huge, (1, 1))
