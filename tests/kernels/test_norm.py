"""Normalisation where it is delicate: a large mean, and statistics that run along."""

import weakref

import numpy as np
import pytest

import minicnn as mc
from minicnn import kernels, ops

implementations = pytest.mark.parametrize(
    "k", [kernels.reference, kernels.cpu], ids=["reference", "cpu"]
)


@implementations
def test_batch_norm_of_values_far_from_zero_keeps_its_digits(k):
    x = np.random.default_rng(0).standard_normal((64, 2, 8)).astype(np.float32) + 1000
    y, mean, variance = k.batch_norm(x, np.ones(2, np.float32), np.zeros(2, np.float32), 1e-5)
    exact = x.astype(np.float64)
    expected = exact - exact.mean(axis=(0, 2), keepdims=True)
    expected /= np.sqrt(exact.var(axis=(0, 2), keepdims=True) + 1e-5)
    assert np.abs(y - expected).max() < 1e-3
    assert mean == pytest.approx(exact.mean(axis=(0, 2)), rel=1e-6)
    assert variance == pytest.approx(exact.var(axis=(0, 2)), rel=1e-4)


@pytest.mark.parametrize("mean", [0, 1000])
def test_batch_norm_does_not_care_what_value_comes_first(mean):
    x = np.random.default_rng(0).standard_normal((4, 2, 100, 100), np.float32) + np.float32(mean)
    x[0, :, 0, 0] += 100
    one, exact = np.ones(2, np.float32), x.astype(np.float64)
    y, _, _ = kernels.cpu.batch_norm(x, one, 0 * one, 0.0)
    expected = exact - exact.mean(axis=(0, 2, 3), keepdims=True)
    expected /= exact.std(axis=(0, 2, 3), keepdims=True)
    assert (np.abs(y - expected) / (1 + np.abs(expected))).max() < 4 * np.finfo(np.float32).eps


@pytest.mark.parametrize("slope", [0.0, 0.3, 1.0])
def test_the_tape_keeps_no_residual(slope):
    leaf = mc.Tensor(np.ones((4, 3), np.float32), requires_grad=True)
    residual = leaf * 2.0
    kept = weakref.ref(residual.data)
    y = ops.batch_norm(leaf + 1.0, training=True, residual=residual, slope=slope)
    del residual
    assert kept() is None
    y.sum().backward()
    assert leaf.grad is not None


@implementations
def test_running_statistics_move_by_the_momentum_towards_the_unbiased_variance(k):
    mean, variance = np.zeros(1), np.ones(1)
    k.update_running_statistics(mean, variance, np.array([4.0]), np.array([3.0]), 4, 0.25)
    assert (mean.item(), variance.item()) == (1, 0.75 + 0.25 * 3 * 4 / 3)


@implementations
def test_local_response_norm_sees_its_window_of_channels_only(k):
    x = np.ones((1, 7, 1))
    y = k.local_response_norm(x, 3, 1.0, 1.0, 0.0)
    assert y.ravel().tolist() == pytest.approx([1 / 2, *[1 / 3] * 5, 1 / 2])
