"""What the CUDA kernels make of NaN, infinities and zeros: what the reference does."""

import numpy as np
import pytest

from minicnn import kernels
from tests.kernels.test_edge_values import ONE_ARRAY, TWO_ARRAYS, call_by_name, strange

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@pytest.fixture(autouse=True)
def _emulated(emulate):
    emulate("shuffled")


def assert_same(name, *arguments, tolerance=64, **options):
    with np.errstate(all="ignore"):
        expected = getattr(kernels.reference, name)(*arguments, **options)
        y = getattr(kernels.cuda, name)(*arguments, **options)
        assert y.dtype == expected.dtype
        eps = np.finfo(y.dtype).eps
        assert np.allclose(y, expected, rtol=tolerance * eps, atol=tolerance * eps, equal_nan=True)


@both_dtypes
@pytest.mark.parametrize("call", ONE_ARRAY, ids=call_by_name)
def test_strange_values(call, dtype):
    name, *constants = call
    assert_same(name, strange(dtype, 0), *constants)


@both_dtypes
@pytest.mark.parametrize("call", TWO_ARRAYS, ids=call_by_name)
def test_strange_values_and_gradients(call, dtype):
    (name, *constants), values = call, strange(dtype, 0)
    usual = np.random.default_rng(1).uniform(0.1, 0.9, values.shape).astype(dtype)
    assert_same(name, usual, values, *constants)
    if name.endswith("_grad"):
        assert_same(name, values, usual, *constants)


@both_dtypes
@pytest.mark.parametrize("kernel_size", [(2, 2), (3, 3), (1, 4), (2, 12)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
def test_strange_values_in_windows(kernel_size, stride, dtype):
    x = strange(dtype, 0)[None, None, :, :17].repeat(2, axis=1)
    x[0, 1, :20, :9] = -np.inf
    windows = dict(kernel_size=kernel_size, stride=stride, padding=((0, 0), (1, 1)))
    y, index = kernels.cuda.max_pool2d(x, **windows, dilation=(1, 1))
    expected, place = kernels.reference.max_pool2d(x, **windows, dilation=(1, 1))
    assert np.array_equal(y, expected, equal_nan=True)
    assert np.array_equal(index, place)
    x = np.where(np.abs(x) > 1e30, dtype(np.inf), x)  # their sum has lost all others
    assert_same("avg_pool2d", x, **windows, counted=windows["padding"], tolerance=1e4)
    for name, options in (("lp_pool2d", dict(p=3)), ("std_pool2d", {})):
        assert_same(name, x, **windows, **options, tolerance=1e4)


@both_dtypes
@pytest.mark.parametrize("windows", [(1, 1), (5, 3), (40, 27)])
def test_strange_values_in_adaptive_windows(windows, dtype):
    x = strange(dtype, 0)[None, None]
    x = np.where(np.abs(x) > 1e30, dtype(np.inf), x)
    y, index = kernels.cuda.adaptive_max_pool2d(x, windows)
    expected, place = kernels.reference.adaptive_max_pool2d(x, windows)
    assert np.array_equal(y, expected, equal_nan=True)
    assert np.array_equal(index, place)
    for name, constants in (("lp", (2,)), ("std", ()), ("avg", ())):
        assert_same(f"adaptive_{name}_pool2d", x, windows, *constants, tolerance=1e4)


@both_dtypes
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (4097,), (3, 4, 5)])
def test_arrays_of_any_shape_are_taken(shape, dtype):
    x = np.random.default_rng(0).uniform(0.1, 0.9, shape).astype(dtype)
    for name in ("relu", "sigmoid", "tanh"):
        assert_same(name, x)
        assert_same(f"{name}_grad", x, x)
    assert_same("dropout", x, 0.4, 7)
    assert_same("gaussian_noise", x, 0.4, 7)


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.dtype(np.float32).newbyteorder()])
def test_what_no_kernel_is_made_for_goes_to_the_reference(dtype):
    x = np.arange(-3, 3).astype(dtype).reshape(2, 3)
    assert np.array_equal(kernels.cuda.relu(x), kernels.reference.relu(x))
    assert kernels.cuda.sigmoid(x).dtype == kernels.reference.sigmoid(x).dtype


def test_arrays_of_different_types_or_shapes_are_combined_as_in_the_reference():
    x, target = np.ones((3, 4), np.float32), np.full(4, 0.3)
    for name in ("squared_error", "relu_grad"):
        expected = getattr(kernels.reference, name)(x, target)
        assert np.array_equal(getattr(kernels.cuda, name)(x, target), expected)


def test_what_no_kernel_is_made_for_goes_to_the_reference_in_every_file():
    rng = np.random.default_rng(0)
    x, y, dy = rng.standard_normal((3, 2, 3, 4, 4)).astype(np.float16)
    labels, weight, channels = np.array([[[1] * 4] * 4] * 2), np.ones(4), np.ones(3, np.float16)
    windows = dict(kernel_size=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)))
    calls = [
        ("softmax_cross_entropy", (x, labels, 0.1), {}),
        ("softmax_cross_entropy_grad", (dy[:, 0], x, labels, 0.1), {}),
        ("sigmoid_cross_entropy", (x, y, weight, None), {}),
        ("sigmoid_cross_entropy_grad", (dy, x, y, weight, None), {}),
        ("max_pool2d", (x,), dict(windows, dilation=(1, 1))),
        ("adaptive_max_pool2d", (x, (2, 2)), {}),
        ("batch_norm", (x, channels, channels, 1e-5), {}),
        ("batch_norm", (x, channels, channels, 1e-5, y, 0.0), {}),
        ("linear", (x[0, 0], y[0, 0], weight), {}),
    ]
    for name, arguments, options in calls:
        ours = getattr(kernels.cuda, name)(*arguments, **options)
        expected = getattr(kernels.reference, name)(*arguments, **options)
        pairs = zip(ours, expected, strict=True) if isinstance(ours, tuple) else [(ours, expected)]
        assert all(np.array_equal(one, other) for one, other in pairs)
    small = dy[:, :, ::2, ::2]
    index = kernels.reference.max_pool2d(x, **windows, dilation=(1, 1))[1]
    gradients = [
        kernels.cuda.max_pool2d_grad(small, index, (4, 4), **windows, dilation=(1, 1)),
        kernels.cuda.adaptive_max_pool2d_grad(small, index, (4, 4)),
    ]
    expected = kernels.reference.adaptive_max_pool2d_grad(small, index, (4, 4))
    assert all(np.array_equal(gradient, expected) for gradient in gradients)


def test_statistics_and_weights_with_gaps_are_moved_in_place():
    rng = np.random.default_rng(0)
    given = rng.standard_normal((4, 5))
    options = dict(lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01, nesterov=False)
    results = []
    for implementation in (kernels.cuda, kernels.reference):
        wide = np.zeros((4, 5, 2)) + given[..., None]
        mean, variance, w, velocity = wide[..., 0]
        implementation.update_running_statistics(mean, variance, given[0], given[1] ** 2, 10, 0.3)
        implementation.sgd_step([w], [given[2]], [velocity], **options)
        results.append(wide)
    assert np.array_equal(*results)
