"""Every algorithm of convolution, forced in turn, against the definition."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from minicnn.kernels import reference

from minicnn import kernels
from tests.kernels.cases import CASES, assert_close

conv = kernels.cpu.conv
ALGORITHMS = tuple(conv.ALGORITHMS)
CONVOLUTIONS = [case for case in CASES if str(case.operation).startswith("conv")]


def gradients(case, arrays, implementation):
    """Return the output and all gradients."""
    from minicnn.autograd import Tensor

    tensors = [Tensor(array, requires_grad=True) for array in arrays]
    with kernels.use(implementation):
        y = case.run(*tensors)
        y.backward(np.cos(np.arange(y.size)).reshape(y.shape).astype(y.dtype))
    return [y.data, *(tensor.grad for tensor in tensors)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
def test_each_agrees_with_the_definition(case, algorithm):
    arrays = case.draw(np.float64)
    with conv.allow(algorithm):
        ours = gradients(case, arrays, kernels.cpu)
    for one, other in zip(ours, gradients(case, arrays, reference), strict=True):
        assert_close(one, other, 100 * case.terms())


@st.composite
def convolutions(draw):
    """Return arrays and options of any convolution that has a window."""
    integers = st.integers
    groups = draw(integers(1, 3))
    n, c, o = draw(integers(1, 3)), groups * draw(integers(1, 9)), groups * draw(integers(1, 20))
    taps = draw(st.sampled_from([(3, 3), (1, 3), (1, 1), (5, 5), (1, 17), (9, 2), (4, 3)]))
    stride = draw(integers(1, 3)), draw(integers(1, 3))
    dilation = draw(integers(1, 2)), draw(integers(1, 2))
    if draw(st.booleans()):
        stride = dilation = (1, 1)
    padding = tuple((draw(integers(0, 4)), draw(integers(0, 4))) for _ in range(2))
    size = [
        draw(integers(max(1, d * (k - 1) + 1 - sum(p)), 40))
        for k, d, p in zip(taps, dilation, padding, strict=True)
    ]
    rng = np.random.default_rng(draw(integers(0, 99)))
    x, w, b = (rng.standard_normal(s) for s in ((n, c, *size), (o, c // groups, *taps), (o,)))
    return x, w, b, dict(stride=stride, padding=padding, dilation=dilation, groups=groups)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_none_disagrees_with_the_definition_anywhere(algorithm, convolution):
    x, w, b, options = convolution
    y = reference.conv2d(x, w, b, **options)
    expected = [
        y,
        np.maximum(y, 0),
        reference.conv2d_input_grad(y, w, x.shape[2:], **options),
        reference.conv2d_weight_grad(y, x, w.shape[2:], **options),
    ]
    with conv.allow(algorithm):
        ours = [
            kernels.cpu.conv2d(x, w, b, **options),
            kernels.cpu.conv2d(x, w, b, **options, activation="relu"),
            kernels.cpu.conv2d_input_grad(y, w, x.shape[2:], **options),
            kernels.cpu.conv2d_weight_grad(y, x, w.shape[2:], **options),
        ]
    for one, other in zip(ours, expected, strict=True):
        assert_close(one, other, 10_000 * w.size)


def test_the_plan_tells_what_was_chosen_and_what_it_costs():
    plan = conv.plan((1, 8, 32, 32), (16, 8, 3, 3), padding=((1, 1), (1, 1)), allowed=["direct"])
    assert plan.algorithm == "direct"
    assert plan.cost == plan.costs["direct"] >= 16 * 8 * 9 * 32 * 32
    with conv.allow("direct"):
        assert conv.plan((1, 8, 32, 32), (16, 8, 3, 3)).algorithm == "direct"


def test_a_plan_leaves_out_taps_that_meet_padding_only():
    all_taps = conv.plan((4, 8, 1, 64), (8, 8, 1, 64), padding=((0, 0), (32, 31)))
    few = conv.plan((4, 8, 1, 8), (8, 8, 1, 64), padding=((0, 0), (32, 31)))
    # 64 windows of 64 taps, against 8 of the 15 taps that can meet one of 8 samples.
    assert few.costs["direct"] < all_taps.costs["direct"] / 15


def test_an_unknown_algorithm_is_refused():
    with pytest.raises(ValueError, match="'fast' is none of direct"):
        conv.plan((1, 1, 8, 8), (1, 1, 3, 3), allowed=["fast"])
    with pytest.raises(ValueError, match="'fast' is none of direct"), conv.allow("fast"):
        pass


VECTORS = """
import numpy as np
from minicnn import kernels
from minicnn.kernels import reference
from minicnn.kernels.cpu import tile
import sys
assert tile.REGISTERS == tile.KINDS[sys.argv[1]]
rng = np.random.default_rng(0)
for dtype, bound in ((np.float32, 1e-4), (np.float64, 1e-12)):
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in ((2, 5, 13, 37), (11, 5, 3, 3), 11))
    options = dict(stride=(1, 2), padding=((1, 1), (2, 0)), dilation=(1, 1), groups=1)
    for algorithm in kernels.cpu.conv.ALGORITHMS:
        with kernels.cpu.conv.allow(algorithm):
            y = reference.conv2d(x, w, b, **options)
            for name, *arguments in (
                ("conv2d", x, w, b),
                ("conv2d_input_grad", y, w, x.shape[2:]),
                ("conv2d_weight_grad", y, x, w.shape[2:]),
            ):
                ours = getattr(kernels.cpu, name)(*arguments, **options)
                theirs = getattr(reference, name)(*arguments, **options)
                assert abs(ours - theirs).max() < bound * 30
    one, other = x[:, :, 0].copy()
    assert abs(kernels.cpu.linear(one, other, None) - one @ other.T).max() < bound
"""


KINDS = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("plain", "neon", "avx2", "avx512")]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_vectors_gives_the_same(kind):
    environment = os.environ | {"MINICNN_SIMD": kind}
    subprocess.run([sys.executable, "-c", VECTORS, kind], check=True, env=environment, timeout=300)


def test_an_unknown_kind_of_vectors_is_refused():
    script = "from minicnn.kernels.cpu import tile"
    environment = os.environ | {"MINICNN_SIMD": "mmx"}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True
    )
    assert "MINICNN_SIMD is 'mmx'; it must be one of avx512, avx2, neon, plain" in run.stderr


def test_without_a_compiler_the_reference_runs_and_says_so():
    script = """
import warnings
import numpy as np
import minicnn as mc
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for _ in range(2):
        mc.ops.conv2d(np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 3, 3), np.float32))
        mc.ops.relu(np.ones(3, np.float32))
assert [str(w.message) for w in caught] == [
    "minicnn runs on its reference kernels, which are slow: NUMBA_DISABLE_JIT is set"
]
assert mc.kernels.cpu.conv2d is mc.kernels.reference.conv2d
"""
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=60)
