"""Nonlinearities where they are delicate: large and small inputs, and NaN."""

import numpy as np
import pytest

from minicnn import kernels

implementations = pytest.mark.parametrize(
    "k", [kernels.reference, kernels.cpu], ids=["reference", "cpu"]
)
large = np.array([-1e4, -100.0, 100.0, 1e4], np.float32)
nan = np.array([np.nan], np.float32)


@implementations
def test_sigmoid_and_softplus_do_not_overflow(k):
    assert k.sigmoid(large).tolist() == pytest.approx([0, 3.8e-44, 1, 1], abs=1e-44)
    assert k.softplus(large, 1).tolist() == pytest.approx([0, 3.8e-44, 100, 1e4], abs=1e-44)
    with np.errstate(over="ignore"):
        assert k.softplus(np.array([-3e38, 3e38], np.float32), 2).tolist() == [0, np.float32(3e38)]
    assert k.softplus_grad(np.ones(4, np.float32), large, 1).tolist() == pytest.approx([0, 0, 1, 1])


@implementations
def test_elu_keeps_the_digits_of_small_inputs(k):
    assert k.elu(np.array([-1e-12]), 1.0).item() == pytest.approx(-1e-12, rel=1e-9)
    assert k.elu(large, 2.0).tolist() == pytest.approx([-2, -2, 100, 1e4])


@implementations
def test_softmax_takes_large_logits_and_keeps_the_digits_of_small_ones(k):
    assert k.softmax(large, 0).tolist() == [0, 0, 0, 1]
    assert k.log_softmax(large, 0).tolist() == [-2e4, -10100, -9900, 0]


@implementations
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_finds_the_largest_logit_of_either_sign(k, dtype):
    for x in ([-3e38, -2e38], [-0.0, -1e4], [-np.inf, -5], [1e37, -1e37, 3e37], [-2, -1e-300]):
        x = np.array(x, dtype)
        assert k.softmax(x, 0).argmax() == x.argmax()
        assert np.isfinite(k.softmax(x, 0)).all()


@implementations
def test_nan_goes_through_every_nonlinearity_and_its_gradient(k):
    for y in (k.relu(nan), k.leaky_relu(nan, 0.1), k.elu(nan, 1.0), k.sigmoid(nan), k.tanh(nan)):
        assert np.isnan(y).all()
    assert k.relu_grad(np.float32([2]), nan).tolist() == [2]


@implementations
def test_an_infinite_gradient_stops_where_the_unit_is_off(k):
    assert k.relu_grad(np.array([np.inf, np.inf]), np.array([0.0, 1.0])).tolist() == [0, np.inf]
