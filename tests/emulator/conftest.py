"""The emulator as a fixture: inside these tests the CUDA kernels run, on NumPy arrays."""

import pytest
from minicnn.kernels.cuda import conv_direct, launch

import minicnn as mc
from minicnn import kernels
from tests.emulator.cublas import Cublas
from tests.emulator.cufft import Fourier
from tests.emulator.emulator import COMPILER, SCHEDULES, Emulator, is_available


@pytest.fixture
def emulate():
    """Return a function that lets one emulator run all kernels until the test ends."""
    if not is_available():
        pytest.skip(f"the emulator needs a C++ compiler, and there is no {COMPILER}")
    blocks = []

    def start(*arguments, **options):
        emulator = Emulator(*arguments, **options)
        for block in (launch.use(emulator), kernels.use(kernels.cuda)):
            block.__enter__()
            blocks.append(block)
        return emulator

    yield start
    for block in reversed(blocks):
        block.__exit__(None, None, None)


@pytest.fixture(params=SCHEDULES)
def emulator(request, emulate):
    """Run all kernels in this order of threads and blocks."""
    return emulate(request.param)


@pytest.fixture
def everything_by_fourier(monkeypatch):
    """Let the Fourier transform do small convolutions too; return what an emulator needs for it."""
    monkeypatch.setattr(conv_direct, "seconds", lambda layer, dtype: float("inf"))
    return dict(cublas=Cublas(), fourier=Fourier())


@pytest.fixture
def set_precision():
    """Return `mc.set_matmul_precision`, for this test only."""
    yield mc.set_matmul_precision
    mc.set_matmul_precision("float32")
