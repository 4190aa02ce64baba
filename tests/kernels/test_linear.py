"""The fully connected layer: its adjoints over drawn shapes, and long sums in float32."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import kernels
from tests.kernels.cases import assert_close

implementations = pytest.mark.parametrize(
    "k", [kernels.reference, kernels.cpu], ids=["reference", "cpu"]
)
sizes = st.tuples(st.integers(0, 5), st.integers(1, 6), st.integers(1, 6))


@implementations
@settings(deadline=None, max_examples=40)
@given(shape=sizes)
def test_both_gradients_are_adjoints(k, shape):
    n, i, o = shape
    rng = np.random.default_rng(0)
    x, w, dy = rng.standard_normal((n, i)), rng.standard_normal((o, i)), rng.standard_normal((n, o))
    product = np.sum(k.linear(x, w, None) * dy)
    assert_close(np.sum(x * k.linear_input_grad(dy, w)), product, 100)
    assert_close(np.sum(w * k.linear_weight_grad(dy, x)), product, 100)


@implementations
def test_a_bias_gradient_of_many_rows_keeps_its_digits(k):
    dy = np.full((200_000, 4), 0.1, np.float32)
    assert k.linear_bias_grad(dy) == pytest.approx([20_000] * 4, rel=1e-5)
