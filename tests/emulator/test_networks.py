"""Whole networks run on the CUDA kernels as they do on the CPU."""

import numpy as np
import pytest

import minicnn as mc
from minicnn.models.resnet import BasicBlock
from tests.emulator.cublas import Cublas


def assert_same(ours, expected):
    for one, other in zip(ours, expected, strict=True):
        assert np.allclose(one, other, rtol=1e-4, atol=1e-4 * np.abs(other).max())


@pytest.mark.parametrize("cublas", [None, Cublas()], ids=["own products", "cublas"])
def test_lenet_5_learns_the_same(emulate, cublas):
    x = np.random.default_rng(0).standard_normal((3, 1, 32, 32)).astype(np.float32)
    labels = np.array([1, 0, 9])

    def train():
        model = mc.models.lenet5(rng=0)
        optimizer = mc.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        for _ in range(2):
            loss = mc.ops.cross_entropy(model(mc.Tensor(x)), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float(loss), *(p.data for p in model.parameters())

    expected = train()
    emulate("shuffled", cublas=cublas)
    assert_same(train(), expected)


def test_a_residual_block_has_the_same_output_and_gradients(emulate):
    x = np.random.default_rng(0).standard_normal((3, 4, 8, 8)).astype(np.float32)

    def run():
        model, input_ = BasicBlock(4, 8, stride=2, rng=0), mc.Tensor(x, requires_grad=True)
        found = []
        for _ in range(2):  # in training, and in evaluation
            y = model(input_)
            (y * y).sum().backward()
            found += [y.data, input_.grad, *(p.grad for p in model.parameters())]
            model.eval()
        return found

    expected = run()
    emulator = emulate("shuffled")
    assert_same(run(), expected)
    assert {"normalise_grad", "add_residual", "relu_grad"} <= emulator.launched


@pytest.mark.parametrize("is_by_fourier", [False, True])
def test_a_small_crepe_has_the_same_output_and_gradients(emulate, request, is_by_fourier):
    x = np.random.default_rng(0).standard_normal((2, 1, 1024)).astype(np.float32)

    def run():
        mc.manual_seed(0)  # for dropout
        model = mc.models.crepe(capacity="tiny", rng=0)
        y = model(mc.Tensor(x))
        (y * y).sum().backward()
        return y.data, *(p.grad for p in model.parameters())

    expected = run()
    libraries = request.getfixturevalue("everything_by_fourier") if is_by_fourier else {}
    emulator = emulate("reverse", **libraries)
    assert_same(run(), expected)
    launched = {"convolve_strict", "correlate_strict", "piece_moments", "max_pool", "dropout"}
    launched |= {"cut_signals", "join_signals"} if is_by_fourier else set()
    assert launched <= emulator.launched
