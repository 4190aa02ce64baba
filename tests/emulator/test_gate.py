"""Every CUDA kernel compiles for the GPUs that it is made for, and keeps within its budget."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from minicnn.kernels.cuda import conv_direct, module, nvrtc
from minicnn.kernels.cuda.source import FOLDER

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
def test_kernels_compile_for_gpus_without_these_tensor_cores(source):
    figures = compiled(source, "sm_75", "float32")
    assert set(figures) == set(source.kernels)


@every_source
def test_kernels_that_count_in_64_bits_compile_too(source):
    figures = compiled(source, "sm_90a", "float32", np.int64)
    assert set(figures) == set(source.kernels)
    assert not any(taken.spilled for taken in figures.values())


def test_the_budget_names_every_kernel_and_no_other():
    names = {kernel for source in kernels.cuda.sources() for kernel in source.kernels}
    assert set(json.loads(FILE.read_text())) == names


def disassembler():
    """Return NVIDIA's disassembler, from its wheel."""
    spec = importlib.util.find_spec("nvidia")
    folders = map(Path, spec.submodule_search_locations)
    found = [path for folder in folders for path in folder.glob("cu1*/bin/nvdisasm")]
    if not found:
        pytest.skip('the disassembler is missing: pip install "minicnn[gate]"')
    return found[0]


# What multiplies, and what copies to shared memory past the registers.
INSTRUCTIONS = {
    "strict": ("FFMA", "LDGSTS"),
    "tf32": ("HMMA.1688.F32.TF32", "LDGSTS"),
    "bfloat16": ("HMMA.16816.F32.BF16", "LDGSTS"),
}


def machine_code(folder, architecture):
    """Return the instructions of each kernel that convolves, as text."""
    options = module.options(np.dtype(np.float32), np.dtype(np.int32))
    cubin = nvrtc.compile_source(FOLDER / "conv_direct.cu", architecture, options).cubin
    (folder / "conv_direct.cubin").write_bytes(cubin)
    command = [disassembler(), folder / "conv_direct.cubin"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"\n\.text\.(\w+):\n(.*?)(?=\n//-----|\Z)", text, re.DOTALL))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_for_tensor_cores_have_their_instructions(tmp_path, architecture):
    code = machine_code(tmp_path, architecture)
    kernels_ = {f"{how}_{name}" for how in ("convolve", "correlate") for name in INSTRUCTIONS}
    assert set(code) == kernels_
    for kernel, instructions in code.items():
        for name in INSTRUCTIONS[kernel.partition("_")[2]]:
            assert name in instructions, kernel
        assert ("HMMA" in instructions) == (not kernel.endswith("strict")), kernel


def loops(code):
    """Yield the instructions from each label to where a branch goes back to it."""
    labels, instructions = {}, []
    for line in code.splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(instructions)
        elif found := re.search(r"/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            instructions.append(found[1])
            target = re.search(r"BRA.*`\((\.L_x_\d+)\)", found[1])
            if target and target[1] in labels:
                yield instructions[labels[target[1]] :]


def test_the_choice_of_an_algorithm_counts_with_the_instructions_that_there_are(tmp_path):
    if nvrtc.version() != VERSION:
        pytest.skip("another compiler makes others")
    code = machine_code(tmp_path, "sm_90a")
    for precision, counted in conv_direct.INSTRUCTIONS.items():
        steps = loops(code[f"convolve_{conv_direct.FACTORS[precision]}"])
        step = min((loop for loop in steps if any("BAR.SYNC" in i for i in loop)), key=len)
        # Not all of them are for each warp: it copies in vectors or not, and takes turns.
        assert 0.75 * len(step) < counted < len(step), precision


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
