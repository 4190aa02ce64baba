"""Pooling against plain loops, and what happens at ties, constants, infinities and NaN."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from minicnn.kernels import geometry

from minicnn import kernels
from tests.kernels import loops
from tests.kernels.cases import assert_close

implementations = pytest.mark.parametrize(
    "k", [kernels.reference, kernels.cpu], ids=["reference", "cpu"]
)


@st.composite
def strided(draw, dilated=False):
    """Draw an input's shape and windows each of which meets a sample."""
    kernel_size, stride = (tuple(draw(st.integers(1, 4)) for _ in range(2)) for _ in range(2))
    dilation = tuple(draw(st.integers(1, 2)) for _ in range(2)) if dilated else (1, 1)
    # Less padding than window: only a dilated one can then miss every sample.
    padding = tuple(tuple(draw(st.integers(0, k - 1)) for _ in range(2)) for k in kernel_size)
    size = []
    for k, d, sides in zip(kernel_size, dilation, padding, strict=True):
        size.append(max(d * (k - 1) + 1 - sum(sides), 1) + draw(st.integers(0, 5)))
    for axis in zip(size, kernel_size, stride, padding, dilation, strict=True):
        assume(min(geometry.window_counts(*axis, counted=(0, 0))) > 0)
    options = dict(kernel_size=kernel_size, stride=stride, padding=padding)
    return (2, 2, *size), options | (dict(dilation=dilation) if dilated else {})


def draw_values(shape):
    return np.random.default_rng(0).standard_normal(shape)


@implementations
@settings(deadline=None, max_examples=60)
@given(case=strided(dilated=True))
def test_max_pooling_takes_the_largest_sample_and_remembers_where(k, case):
    shape, options = case
    x = draw_values(shape)
    y, index = k.max_pool2d(x, **options)
    assert np.array_equal(y, loops.pool2d(x, lambda samples: samples.max(axis=0), **options))
    planes = x.reshape(*shape[:2], -1)
    assert np.array_equal(np.take_along_axis(planes, index.reshape(2, 2, -1), 2), planes_of(y))


def planes_of(y):
    return y.reshape(*y.shape[:2], -1)


@implementations
@settings(deadline=None, max_examples=60)
@given(case=strided())
def test_average_pooling_divides_by_the_samples_where_padding_does_not_count(k, case):
    shape, options = case
    x = draw_values(shape)
    expected = loops.pool2d(x, lambda samples: samples.mean(axis=0), **options)
    assert_close(k.avg_pool2d(x, counted=((0, 0), (0, 0)), **options), expected, x.size)


@implementations
@settings(deadline=None, max_examples=40)
@given(case=strided())
def test_average_pooling_divides_by_the_whole_window_where_padding_counts(k, case):
    shape, options = case
    x = draw_values(shape)
    cells = np.prod(options["kernel_size"])
    expected = loops.pool2d(x, lambda samples: samples.sum(axis=0) / cells, **options)
    assert_close(k.avg_pool2d(x, counted=options["padding"], **options), expected, x.size)


@implementations
@settings(deadline=None, max_examples=40)
@given(case=strided(), p=st.sampled_from([1, 2, 2.5, 7]))
def test_power_average_is_the_p_norm_of_each_window(k, case, p):
    shape, options = case
    x = draw_values(shape)

    def norm(samples):
        return (np.abs(samples) ** p).sum(axis=0) ** (1 / p)

    assert_close(k.lp_pool2d(x, p=p, **options), loops.pool2d(x, norm, **options), 10 * x.size)


@implementations
@settings(deadline=None, max_examples=40)
@given(case=strided())
def test_deviation_is_over_the_samples_of_each_window(k, case):
    shape, options = case
    x = draw_values(shape)
    expected = loops.pool2d(x, lambda samples: samples.std(axis=0), **options)
    assert_close(k.std_pool2d(x, **options), expected, 10 * x.size)


@implementations
@settings(deadline=None, max_examples=40)
@given(case=strided(), counts=st.booleans())
def test_the_gradient_of_average_pooling_is_its_adjoint(k, case, counts):
    shape, options = case
    x = draw_values(shape)
    options["counted"] = options["padding"] if counts else ((0, 0), (0, 0))
    y = k.avg_pool2d(x, **options)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    dx = k.avg_pool2d_grad(dy, shape[2:], **options)
    assert_close(np.sum(x * dx), np.sum(y * dy), x.size * y.size)


@implementations
@settings(deadline=None, max_examples=40)
@given(case=strided(dilated=True))
def test_the_gradient_of_max_pooling_is_the_adjoint_of_taking_the_maxima(k, case):
    shape, options = case
    x = draw_values(shape)
    y, index = k.max_pool2d(x, **options)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    dx = k.max_pool2d_grad(dy, index, shape[2:], **options)
    assert_close(np.sum(x * dx), np.sum(y * dy), x.size * y.size)


adaptive = st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 8), st.integers(1, 8))


@implementations
@settings(deadline=None, max_examples=40)
@given(sizes=adaptive)
def test_adaptive_windows_cover_from_floor_to_ceiling(k, sizes):
    h, w, oh, ow = sizes
    x = draw_values((2, 2, h, w))
    pools = {
        "max": k.adaptive_max_pool2d(x, (oh, ow))[0],
        "mean": k.adaptive_avg_pool2d(x, (oh, ow)),
        "std": k.adaptive_std_pool2d(x, (oh, ow)),
        "norm": k.adaptive_lp_pool2d(x, (oh, ow), 2),
    }
    for i in range(oh):
        rows = slice(i * h // oh, int(np.ceil((i + 1) * h / oh)))
        for j in range(ow):
            columns = slice(j * w // ow, int(np.ceil((j + 1) * w / ow)))
            window = planes_of(x[:, :, rows, columns])
            assert np.array_equal(pools["max"][:, :, i, j], window.max(axis=2))
            assert_close(pools["mean"][:, :, i, j], window.mean(axis=2), x.size)
            assert_close(pools["std"][:, :, i, j], window.std(axis=2), 10 * x.size)
            assert_close(pools["norm"][:, :, i, j], np.linalg.norm(window, axis=2), 10 * x.size)


@implementations
@settings(deadline=None, max_examples=40)
@given(sizes=adaptive)
def test_the_gradient_of_adaptive_average_pooling_is_its_adjoint(k, sizes):
    h, w, oh, ow = sizes
    x, dy = draw_values((2, 2, h, w)), draw_values((2, 2, oh, ow))
    dx = k.adaptive_avg_pool2d_grad(dy, (h, w))
    product = np.sum(k.adaptive_avg_pool2d(x, (oh, ow)) * dy)
    assert_close(np.sum(x * dx), product, x.size * dy.size)


two_by_two = dict(kernel_size=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)))


@implementations
def test_the_lectures_example_of_max_pooling(k):
    x = np.array([[1, 5, 2, 4], [2, 3, 9, 1], [5, 3, 3, 4], [7, 8, 2, 2]], float)
    y, index = k.max_pool2d(x[None, None], dilation=(1, 1), **two_by_two)
    assert y.tolist() == [[[[5, 9], [8, 4]]]]
    assert index.tolist() == [[[[1, 6], [13, 11]]]]


@implementations
def test_the_first_of_equal_maxima_gets_the_whole_gradient(k):
    x = np.ones((1, 1, 2, 2))
    _, index = k.max_pool2d(x, dilation=(1, 1), **two_by_two)
    dx = k.max_pool2d_grad(np.full((1, 1, 1, 1), 5.0), index, (2, 2), dilation=(1, 1), **two_by_two)
    assert dx.tolist() == [[[[5, 0], [0, 0]]]]


@implementations
def test_overlapping_windows_add_up_their_gradients_at_a_shared_maximum(k):
    x = np.array([0.0, 1.0, 0.0]).reshape(1, 1, 1, 3)
    options = dict(kernel_size=(1, 2), stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1))
    _, index = k.max_pool2d(x, **options)
    dx = k.max_pool2d_grad(np.array([2.0, 3.0]).reshape(1, 1, 1, 2), index, (1, 3), **options)
    assert dx.ravel().tolist() == [0, 5, 0]


@implementations
def test_nan_goes_through_every_pooling(k):
    x = np.zeros((1, 1, 2, 2))
    x[0, 0, 1, 0] = np.nan
    assert np.isnan(k.max_pool2d(x, dilation=(1, 1), **two_by_two)[0]).all()
    assert np.isnan(k.avg_pool2d(x, counted=((0, 0), (0, 0)), **two_by_two)).all()
    assert np.isnan(k.lp_pool2d(x, p=2, **two_by_two)).all()
    assert np.isnan(k.std_pool2d(x, **two_by_two)).all()


@implementations
def test_a_window_of_equal_samples_has_deviation_and_gradient_zero(k):
    x = np.full((1, 1, 2, 2), 3.0)
    y = k.std_pool2d(x, **two_by_two)
    assert y.item() == 0
    assert not k.std_pool2d_grad(np.ones((1, 1, 1, 1)), x, y, **two_by_two).any()


@implementations
def test_a_window_of_zeros_has_norm_and_gradient_zero(k):
    x = np.zeros((1, 1, 2, 2))
    y = k.lp_pool2d(x, p=2, **two_by_two)
    assert y.item() == 0
    assert not k.lp_pool2d_grad(np.ones((1, 1, 1, 1)), x, y, p=2, **two_by_two).any()


@implementations
def test_high_powers_of_large_values_do_not_overflow(k):
    x = np.full((1, 1, 2, 2), 1e30, np.float32)
    y = k.lp_pool2d(x, p=8, **two_by_two)
    assert y.item() == pytest.approx(1e30 * 4 ** (1 / 8), rel=1e-5)
    dx = k.lp_pool2d_grad(np.ones((1, 1, 1, 1), np.float32), x, y, p=8, **two_by_two)
    assert np.isfinite(dx).all()


@implementations
def test_minus_infinity_at_the_border_wins_over_the_padding(k):
    x = np.full((1, 1, 4, 6), -np.inf)
    x[0, 0, 1, 1] = 0
    options = dict(kernel_size=(3, 3), stride=(2, 2), padding=((1, 1), (1, 1)), dilation=(1, 1))
    y, index = k.max_pool2d(x, **options)
    assert np.array_equal(planes_of(x)[0, 0][index.ravel()], y.ravel())
    dx = k.max_pool2d_grad(np.ones(y.shape), index, (4, 6), **options)
    assert dx.sum() == y.size


@implementations
@pytest.mark.parametrize("value", [0.1, 0.3, -7.7])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_samples_have_no_deviation_however_they_round(k, value, dtype):
    x = np.full((1, 1, 7, 7), value, dtype)
    y = k.adaptive_std_pool2d(x, (1, 1))
    assert y.item() == 0
    assert not k.adaptive_std_pool2d_grad(np.ones((1, 1, 1, 1), dtype), x, y).any()
    padded = dict(kernel_size=(3, 3), stride=(2, 2), padding=((1, 1), (1, 1)))
    assert not k.std_pool2d(x, **padded).any()


@implementations
def test_an_infinite_sample_has_an_infinite_norm(k):
    x = np.array([1.0, np.inf, 2.0, 3.0]).reshape(1, 1, 2, 2)
    assert k.lp_pool2d(x, p=3, **two_by_two).item() == np.inf


@settings(deadline=None, max_examples=40)
@given(
    case=strided(dilated=True),
    width=st.integers(0, 150),
    step=st.sampled_from([1, 3, 8, 9]),
    strange=st.sampled_from([[], [np.nan], [np.inf, -np.inf], [np.nan, -np.inf]]),
)
def test_wide_rows_of_any_step_are_pooled_as_in_the_reference(case, width, step, strange):
    (n, c, h, w), options = case
    options = options | dict(stride=(options["stride"][0], step))
    x = draw_values((n, c, h, w + width)).astype(np.float32)
    x.reshape(-1)[:: 1 + x.size // 5][: len(strange)] = strange
    sizes = options["kernel_size"], options["stride"], options["padding"], options["dilation"]
    axes = zip(x.shape[2:], *sizes, strict=True)
    assume(min(min(geometry.window_counts(*axis, counted=(0, 0))) for axis in axes) > 0)
    y, index = kernels.cpu.max_pool2d(x, **options)
    expected, place = kernels.reference.max_pool2d(x, **options)
    assert np.array_equal(y, expected, equal_nan=True)
    assert np.array_equal(index, place)


@pytest.mark.parametrize("k", [kernels.reference, kernels.cpu, kernels.outline])
def test_maxima_are_the_same_without_an_index(k):
    x = draw_values((2, 3, 9, 70))
    x[0, 1, 2, 3] = np.nan
    windows = dict(two_by_two, dilation=(1, 1))
    for pool in (
        lambda **index: k.max_pool2d(x, **windows, **index),
        lambda **index: k.max_pool2d(x[:, :, :, :9], **windows, **index),
        lambda **index: k.max_pool2d(x, **windows | dict(stride=(9, 9)), **index),
        lambda **index: k.adaptive_max_pool2d(x, (4, 5), **index),
    ):
        y, index = pool(with_index=False)
        assert index is None
        assert np.array_equal(y, pool()[0], equal_nan=True)
