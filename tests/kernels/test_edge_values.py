"""What the compiled kernels make of NaN, infinities, zeros and denormals: what the reference does.

And their exponentials, against NumPy's in a longer type.
"""

import numpy as np
import pytest

from minicnn import kernels

both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
VALUES = [
    np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 1e-310, -1e-310, 1, -1, 3e38, -3e38,
    88, -88, 89, -103, -104, -105, 709, 710, -745, -746, 1000, -1000, 0.1, 2,
]  # fmt: skip
ONE_ARRAY = [
    ("relu",), ("leaky_relu", 0.2), ("elu", 1.3), ("sigmoid",), ("tanh",),
    ("scaled_tanh", 1.7, 0.6), ("softplus", 2.0), ("softmax", 1), ("log_softmax", 1),
    ("dropout", 0.4, 7), ("spatial_dropout", 0.4, 7), ("gaussian_noise", 0.4, 7),
]  # fmt: skip
TWO_ARRAYS = [
    ("relu_grad",), ("leaky_relu_grad", 0.2), ("elu_grad", 1.3), ("sigmoid_grad",),
    ("tanh_grad",), ("scaled_tanh_grad", 1.7, 0.6), ("softplus_grad", 2.0), ("softmax_grad", 1),
    ("log_softmax_grad", 1), ("squared_error",), ("huber", 0.5),
    ("add_residual", 0.2), ("add_residual", 0.0), ("add_residual", 1.0),
    ("sigmoid_cross_entropy", None, None),
]  # fmt: skip


def call_by_name(call):
    return call[0]


def strange(dtype, seed):
    """Return strange values next to each other, and each of them among usual ones."""
    rng = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        values = np.array(VALUES).astype(dtype)
    x = rng.standard_normal((40, len(values))).astype(dtype)
    x[: len(values)][np.diag_indices(len(values))] = values
    x[-2:] = values, rng.permutation(values)
    return x


def assert_same(call, *arrays):
    name, *constants = call
    with np.errstate(all="ignore"):
        expected = getattr(kernels.reference, name)(*arrays, *constants)
    y = getattr(kernels.cpu, name)(*arrays, *constants)
    assert y.dtype == expected.dtype
    eps, tiny = np.finfo(y.dtype).eps, np.finfo(y.dtype).tiny
    with np.errstate(invalid="ignore"):
        assert np.allclose(y, expected, rtol=8 * eps, atol=64 * eps, equal_nan=True)
    zeros = (expected == 0) & (np.abs(y) < tiny)
    assert np.array_equal(np.signbit(y[zeros]), np.signbit(expected[zeros]))


@both_dtypes
@pytest.mark.parametrize("call", ONE_ARRAY, ids=call_by_name)
def test_strange_values_give_what_the_reference_gives(call, dtype):
    assert_same(call, strange(dtype, 0))


@both_dtypes
@pytest.mark.parametrize("call", TWO_ARRAYS, ids=call_by_name)
def test_strange_values_and_gradients_give_what_the_reference_gives(call, dtype):
    usual = np.random.default_rng(1).uniform(0.1, 0.9, (40, len(VALUES))).astype(dtype)
    assert_same(call, usual, strange(dtype, 0))
    if call[0].endswith("_grad"):
        assert_same(call, strange(dtype, 0), usual)


@both_dtypes
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (0, 5), (1,), (4097,), (3, 4, 5)])
def test_arrays_of_any_shape_are_taken(shape, dtype):
    x = np.random.default_rng(0).uniform(0.1, 0.9, shape).astype(dtype)
    for name in ("relu", "sigmoid", "tanh"):
        assert_same((name,), x)
        assert_same((f"{name}_grad",), x, x)
    assert_same(("scaled_tanh", 1.7, 0.6), x)
    assert_same(("dropout", 0.4, 7), x)
    assert_same(("gaussian_noise", 0.4, 7), x)


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.dtype(np.float32).newbyteorder()])
def test_what_no_loop_is_made_for_goes_to_the_reference(dtype):
    x = np.arange(-3, 3).astype(dtype).reshape(2, 3)
    assert np.array_equal(kernels.cpu.relu(x), kernels.reference.relu(x))
    assert kernels.cpu.sigmoid(x).dtype == kernels.reference.sigmoid(x).dtype


def test_arrays_of_different_types_or_shapes_are_combined_as_in_the_reference():
    x, target = np.ones((3, 4), np.float32), np.full(4, 0.3)
    assert_same(("squared_error",), x, target)
    assert_same(("relu_grad",), target, x)


@both_dtypes
@pytest.mark.parametrize("kernel_size", [(2, 2), (3, 3), (1, 4), (3, 2), (2, 5)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 3), (4, 4), (2, 5)])
@pytest.mark.parametrize("before", [0, 1])
def test_strange_values_in_windows_give_what_the_reference_gives(
    kernel_size, stride, before, dtype
):
    x = strange(dtype, 0)[None, None, :, :17].repeat(2, axis=1)
    x[0, 1, :20, :9] = -np.inf
    above = before if kernel_size[0] > 1 else 0  # a window without a sample has no maximum
    padding = ((above, 0), (before, before))
    windows = dict(kernel_size=kernel_size, stride=stride, padding=padding)
    y, index = kernels.cpu.max_pool2d(x, **windows, dilation=(1, 1))
    expected, place = kernels.reference.max_pool2d(x, **windows, dilation=(1, 1))
    assert np.array_equal(y, expected, equal_nan=True)
    assert np.array_equal(index, place)
    x = np.where(np.abs(x) > 1e30, dtype(np.inf), x)
    with np.errstate(all="ignore"):
        assert_equal_means(x, windows)


def assert_equal_means(x, windows):
    y = kernels.cpu.avg_pool2d(x, **windows, counted=windows["padding"])
    expected = kernels.reference.avg_pool2d(x, **windows, counted=windows["padding"])
    eps = np.finfo(x.dtype).eps
    assert np.allclose(y, expected, rtol=1e3 * eps, atol=1e4 * eps, equal_nan=True)


@both_dtypes
@pytest.mark.parametrize("windows", [(1, 1), (5, 3), (40, 27)])
def test_strange_values_in_adaptive_windows_give_what_the_reference_gives(windows, dtype):
    x = strange(dtype, 0)[None, None]
    x = np.where(np.abs(x) > 1e30, dtype(np.inf), x)  # their sum has lost all others
    with np.errstate(all="ignore"):
        for name, constants in (("max", ()), ("lp", (2,)), ("std", ()), ("avg", ())):
            call = f"adaptive_{name}_pool2d"
            y = getattr(kernels.cpu, call)(x, windows, *constants)
            expected = getattr(kernels.reference, call)(x, windows, *constants)
            if name == "max":
                assert np.array_equal(y[1], expected[1])
                y, expected = y[0], expected[0]
            eps = np.finfo(dtype).eps
            assert np.allclose(y, expected, rtol=1e3 * eps, atol=1e4 * eps, equal_nan=True)


CONVOLUTIONS = {  # x, w, stride, padding, groups
    "winograd": [
        ((2, 5, 13, 37), (17, 5, 3, 3), (1, 1), ((1, 1), (1, 1)), 1),
        ((1, 70, 9, 8), (60, 35, 3, 3), (1, 1), ((2, 0), (1, 1)), 2),
        ((2, 6, 1, 600), (9, 6, 1, 3), (1, 1), ((0, 0), (1, 1)), 1),
    ],
    "fft": [
        ((2, 3, 1, 61), (5, 3, 1, 17), (1, 1), ((0, 0), (8, 8)), 1),
        ((2, 6, 40, 9), (34, 3, 12, 3), (2, 1), ((5, 6), (1, 1)), 2),
        ((1, 2, 2500, 1), (17, 2, 30, 1), (1, 1), ((15, 14), (0, 0)), 1),
    ],
}
CONVOLUTIONS["direct"] = CONVOLUTIONS["winograd"] + CONVOLUTIONS["fft"]


@both_dtypes
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize(
    ("algorithm", "case"),
    [(name, case) for name, cases in CONVOLUTIONS.items() for case in cases],
    ids=str,
)
@pytest.mark.parametrize("where", ["middle", "first column", "last column"])
def test_what_is_not_finite_is_met_by_the_windows_of_the_definition(
    algorithm, case, value, dtype, where
):
    x_shape, w_shape, stride, padding, groups = case
    options = dict(stride=stride, padding=padding, dilation=(1, 1), groups=groups)
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(dtype) for shape in (x_shape, w_shape))
    dy = rng.standard_normal(kernels.reference.conv2d(x, w, None, **options).shape).astype(dtype)
    size, taps = x_shape[2:], w_shape[2:]
    usual_x, usual_dy = x.copy(), dy.copy()
    for spoilt in (x, dy):
        height, width = spoilt.shape[2:]
        column = {"middle": width // 3, "first column": 0, "last column": width - 1}[where]
        spoilt[0, 1, height // 2, column] = value
    calls = [
        ("conv2d", (x, w, None), {}),
        ("conv2d", (x, w, np.ones(len(w), dtype)), dict(slope=0.0)),
        ("conv2d", (x, w, np.ones(len(w), dtype)), dict(slope=0.3)),
        ("conv2d_input_grad", (dy, w, size), {}),
        ("conv2d_weight_grad", (dy, usual_x, taps), {}),
        ("conv2d_weight_grad", (usual_dy, x, taps), {}),
        ("conv_transpose2d", (dy, w, None), dict(size=size)),
    ]
    for name, arrays, more in calls:
        with kernels.cpu.conv.allow(algorithm), np.errstate(all="ignore"):
            ours = getattr(kernels.cpu, name)(*arrays, **options, **more)
            expected = getattr(kernels.reference, name)(*arrays, **options, **more)
        assert np.array_equal(np.isnan(ours), np.isnan(expected))
        infinite = np.isinf(expected)
        assert np.array_equal(ours[infinite], expected[infinite])
        assert np.isfinite(ours[np.isfinite(expected)]).all()


def test_filters_that_are_prepared_do_not_spread_what_is_not_finite():
    x = np.random.default_rng(0).standard_normal((2, 8, 40, 40)).astype(np.float32)
    w = np.random.default_rng(1).standard_normal((16, 8, 3, 3)).astype(np.float32)
    options = dict(stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1)
    with kernels.cpu.conv.allow("winograd"):
        convolve = kernels.cpu.conv.prepared(w, None, x.shape, **options)
    x[1, 3, 20, 20] = np.nan
    with np.errstate(invalid="ignore"):
        expected = kernels.reference.conv2d(x, w, None, **options)
    assert np.array_equal(np.isnan(convolve(x)), np.isnan(expected))


@pytest.mark.parametrize("wrong", [5, -6])
def test_a_class_that_does_not_exist_is_refused(wrong):
    with pytest.raises(IndexError):
        kernels.cpu.softmax_cross_entropy(np.ones((2, 5), np.float32), np.array([0, wrong]), 0.0)


@pytest.mark.parametrize(("name", "units"), [("exp", 1.1), ("expm1", 1.3), ("log1p", 2)])
@pytest.mark.parametrize(
    ("dtype", "longer", "low"), [(np.float32, np.float64, -87), (np.float64, np.longdouble, -708)]
)
def test_exponentials_err_by_about_one_unit_in_the_last_place(name, units, dtype, longer, low):
    from minicnn.kernels.cpu import compiled, exponential

    function = getattr(exponential, name)

    @compiled.compiled()
    def fill(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    rng = np.random.default_rng(0)
    low, high = {"exp": (low, -low), "expm1": (low, 0), "log1p": (0, 1)}[name]
    near = rng.choice([-1, 1], 20000) * 10 ** rng.uniform(-30, 0, 20000)
    x = np.concatenate([rng.uniform(low, high, 20000), np.clip(near, low, high)]).astype(dtype)
    y = np.empty_like(x)
    fill(x, y)
    exact = getattr(np, name)(x.astype(longer))
    unit = np.spacing(np.abs(exact).astype(dtype)).astype(longer)
    assert (np.abs(y - exact) / unit).max() <= units
