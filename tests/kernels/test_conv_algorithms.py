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


TAPS = {
    "direct": [(3, 3), (1, 3), (1, 1), (5, 5), (1, 17), (9, 2), (4, 3), (2, 5)],
    "winograd": [(3, 3), (5, 5), (1, 3), (3, 1), (1, 4), (5, 1)],
    "fft": [(3, 3), (1, 17), (17, 1), (9, 2), (2, 5)],
}


@st.composite
def convolutions(draw, algorithm):
    """Return arrays and options of a convolution that an algorithm can do."""
    integers = st.integers
    groups = draw(integers(1, 3))
    n, c, o = draw(integers(1, 3)), groups * draw(integers(1, 9)), groups * draw(integers(1, 20))
    taps = draw(st.sampled_from(TAPS[algorithm]))
    stride = dilation = (1, 1)
    if algorithm != "winograd" and draw(st.booleans()):
        stride = draw(integers(1, 3)), draw(integers(1, 3))
    if algorithm == "direct" and draw(st.booleans()):
        dilation = draw(integers(1, 2)), draw(integers(1, 2))
    padding = tuple((draw(integers(0, 4)), draw(integers(0, 4))) for _ in range(2))
    least = [
        max(1, d * (k - 1) + 1 - sum(p)) for k, d, p in zip(taps, dilation, padding, strict=True)
    ]
    # Often as large as the filter, or as small as can be.
    size = [
        draw(st.sampled_from([low, max(low, k)]) | integers(low, 40))
        for low, k in zip(least, taps, strict=True)
    ]
    rng = np.random.default_rng(draw(integers(0, 99)))
    shapes = (n, c, *size), (o, c // groups, *taps), (o,), (c,)
    arrays = [rng.standard_normal(shape) for shape in shapes]
    return *arrays, dict(stride=stride, padding=padding, dilation=dilation, groups=groups)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=80, deadline=None)
@given(st.data())
def test_none_disagrees_with_the_definition_anywhere(algorithm, data):
    x, w, b, c, options = data.draw(convolutions(algorithm))
    y = reference.conv2d(x, w, b, **options)
    size = x.shape[2:]
    calls = [
        ("conv2d", (x, w, b), {}),
        ("conv2d", (x, w, b), dict(slope=0.0)),
        ("conv2d", (x, w, b), dict(slope=0.3)),
        ("conv2d_input_grad", (y, w, size), {}),
        ("conv2d_weight_grad", (y, x, w.shape[2:]), {}),
        ("conv_transpose2d", (y, w, c), dict(size=size)),
        ("conv_transpose2d_input_grad", (x, w, y.shape[2:]), {}),
    ]
    plan = conv.plan(x.shape, w.shape, **options, allowed=[algorithm])
    # Of what is left of a filter without the taps that meet nothing, Winograd may have no tile.
    assert plan.algorithm == algorithm or algorithm == "winograd" or not plan.cost
    for name, arguments, more in calls:
        with conv.allow(algorithm):
            ours = getattr(kernels.cpu, name)(*arguments, **options, **more)
        theirs = getattr(reference, name)(*arguments, **options, **more)
        assert_close(ours, theirs, 10_000 * w.size)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_algorithm_that_is_allowed_alone_is_the_one_that_runs(algorithm, monkeypatch):
    module, ran = conv.ALGORITHMS[algorithm], []
    inner = module.conv2d
    monkeypatch.setattr(module, "conv2d", lambda *a, **k: ran.append(algorithm) or inner(*a, **k))
    with conv.allow(algorithm):
        kernels.cpu.conv2d(
            np.ones((2, 8, 12, 12)), np.ones((4, 8, 3, 3)), None,
            stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1,
        )  # fmt: skip
    assert ran == [algorithm]


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
    with pytest.raises(ValueError, match="no algorithm is allowed"), conv.allow():
        pass
    with pytest.raises(ValueError, match="work is 'grad'; it must be one of output"):
        conv.plan((1, 1, 8, 8), (1, 1, 3, 3), work="grad")


VECTORS = """
import numpy as np
from minicnn import kernels
from minicnn.kernels import reference
from minicnn.kernels.cpu import vectors
import sys
assert vectors.REGISTERS == vectors.KINDS[sys.argv[1]]
rng = np.random.default_rng(0)
for dtype, bound in ((np.float32, 1e-4), (np.float64, 1e-12)):
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in ((2, 5, 13, 37), (11, 5, 3, 3), 11))
    for algorithm in kernels.cpu.conv.ALGORITHMS:
        stride = (1, 1) if algorithm == "winograd" else (1, 2)
        options = dict(stride=stride, padding=((1, 1), (2, 0)), dilation=(1, 1), groups=1)
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
    script = "from minicnn.kernels.cpu import vectors"
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
assert mc.kernels.cpu.conv.plan((1, 1, 9, 9), (1, 1, 3, 3)).costs
"""
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, timeout=60)
