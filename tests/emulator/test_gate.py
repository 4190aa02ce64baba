"""Every CUDA kernel compiles for the GPUs that it is made for, and keeps within its budget."""

import json

import numpy as np
import pytest
from minicnn.kernels.cuda import nvrtc

from minicnn import kernels
from tests.emulator.budget import ARCHITECTURES, FILE, REALS, VERSION, compiled

try:
    nvrtc.library()
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

every_source = pytest.mark.parametrize(
    "source", kernels.cuda.sources(), ids=lambda source: source.path.stem
)


@every_source
@pytest.mark.parametrize("real", REALS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_without_spilling_and_within_their_registers(source, architecture, real):
    budget = json.loads(FILE.read_text())
    figures = compiled(source, architecture, real)
    assert set(figures) == set(source.kernels)
    for kernel, taken in figures.items():
        assert taken.spilled == 0, kernel
        if nvrtc.version() == VERSION:
            assert taken.registers <= budget[kernel][real], kernel


@every_source
def test_kernels_that_count_in_64_bits_compile_too(source):
    figures = compiled(source, "sm_90a", "float32", np.int64)
    assert set(figures) == set(source.kernels)
    assert not any(taken.spilled for taken in figures.values())


def test_the_budget_names_every_kernel_and_no_other():
    names = {kernel for source in kernels.cuda.sources() for kernel in source.kernels}
    assert set(json.loads(FILE.read_text())) == names


def test_an_error_in_a_source_is_the_compilers_own(tmp_path):
    wrong = tmp_path / "wrong.cu"
    wrong.write_text('extern "C" __global__ void wrong(float* x) { x[0] = nothing; }')
    with pytest.raises(
        nvrtc.CompileError, match=r"wrong\.cu for sm_90:\n.*\"nothing\" is undefined"
    ):
        nvrtc.compile_source(wrong, "sm_90")


def test_an_error_about_an_option_is_told():
    source = kernels.cuda.sources()[0]
    with pytest.raises(nvrtc.CompileError, match="sm_1"):
        nvrtc.compile_source(source.path, "sm_1")
