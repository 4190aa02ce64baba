"""Losses of extreme logits: finite, and as large as they are."""

import numpy as np
import pytest

from minicnn import kernels

implementations = pytest.mark.parametrize(
    "k", [kernels.reference, kernels.cpu], ids=["reference", "cpu"]
)


@implementations
def test_softmax_cross_entropy_of_extreme_logits_is_their_distance(k):
    x = np.array([[1e4, -1e4], [-1e4, 1e4]], np.float32)
    loss, kept = k.softmax_cross_entropy(x, np.array([0, 0]), 0.0)
    assert loss.tolist() == [0, 2e4]
    grad = k.softmax_cross_entropy_grad(np.ones(2, np.float32), kept, np.array([0, 0]), 0.0)
    assert grad.tolist() == [[0, 0], [-1, 1]]


@implementations
def test_sigmoid_cross_entropy_of_extreme_logits_is_their_size(k):
    x, target = np.array([1e4, 1e4, -1e4], np.float32), np.array([1, 0, 0], np.float32)
    assert k.sigmoid_cross_entropy(x, target, None, None).tolist() == [0, 1e4, 0]
    grad = k.sigmoid_cross_entropy_grad(np.ones(3, np.float32), x, target, None, None)
    assert grad.tolist() == [0, 1, 0]


@implementations
def test_a_confident_and_right_answer_keeps_its_small_loss(k):
    loss = k.sigmoid_cross_entropy(np.array([50.0]), np.array([1.0]), None, None)
    assert loss.item() == pytest.approx(np.exp(-50), rel=1e-9)
