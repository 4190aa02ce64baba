"""The net holds: bugs that are planted into the sources are caught.

Each is a copy of the shipped sources in which one line is different.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from minicnn.kernels import reference
from minicnn.kernels.cuda import launch
from minicnn.kernels.cuda.conv_direct import THREADS
from minicnn.kernels.cuda.source import FOLDER

from tests.emulator import emulator
from tests.emulator.emulator import SCHEDULES, Emulator, EmulatorError

root = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    not emulator.is_available() or bool(emulator.SANITIZE),
    reason="without a compiler there is no net, and with a sanitizer a bug ends the process",
)

BUGS = {  # the file, the kernel that shows it, the line, and what becomes of it
    "no barrier before reading": (
        "product.cu", "multiply",
        "        __syncthreads();\n        multiply_tiles(", "        multiply_tiles(",
    ),
    "no barrier after reading": (
        "product.cu", "multiply", "        __syncthreads();\n      }\n", "      }\n",
    ),
    "read outside": (
        "conv_direct.cu", "convolve_strict",
        "row < p.vertical.size &&", "row <= p.vertical.size &&",
    ),
    "no barrier behind a copy": (
        "conv_direct.cu", "convolve_strict",
        "      __syncthreads();  // this step", "      // this step",
    ),
    "waits for too few copies": (
        "conv_direct.cu", "convolve_tf32",
        "wait_for_copies<STAGES - 2>", "wait_for_copies<STAGES - 1>",
    ),
    "one tile too few": (
        "conv_direct.cu", "convolve_tf32", "return step % STAGES;", "return step % 2;",
    ),
    "ends before its copies": (
        "conv_direct.cu", "convolve_tf32", "if (next < steps) fetch_step", "fetch_step",
    ),
    "factors of another step": (
        "conv_direct.cu", "convolve_strict",
        "factors + step % 2 * DEPTH;", "factors;",
    ),
    "too many at once": (
        "conv_direct.cu", "convolve_strict",
        "(matrix.row | count) % VECTOR == 0 &&", "(matrix.row | count) >= 0 &&",
    ),
    "the next row too late": (
        "conv_direct.cu", "convolve_strict",
        "place.column >= grid.columns;", "place.column > grid.columns;",
    ),
    "lines a sample apart": (
        "conv_direct.cu", "convolve_strict",
        "column.row * matrix.line", "column.row * matrix.sample",
    ),
    "factors of the wrong lanes": (
        "conv_direct.cu", "convolve_bfloat16",
        "right[j][k] = b[term]", "right[j][k] = b[term ^ 1]",
    ),
    "no barrier before turning": (
        "conv_fft.cu", "turn_spectra",
        "    __syncthreads();\n    for (int line", "    for (int line",
    ),
    "no barrier behind turning": (
        "conv_fft.cu", "turn_spectra", "    __syncthreads();  // the next", "    // the next",
    ),
    "phases in the wrong order": (
        "conv_fft.cu", "cut_signals", "+ signal % s.stride - s.before", "- s.before",
    ),
    "write outside": (
        "activation.cu", "relu", "count) y[i] = x[i] <= 0", "count + 1) y[i] = x[i] <= 0",
    ),
    "forgotten element": (
        "activation.cu", "relu", "count) y[i] = x[i] <= 0", "count - 1) y[i] = x[i] <= 0",
    ),
    "write to what is read": (
        "activation.cu", "relu", "y[i] = x[i] <= 0", "((Real*)x)[i] = y[i] = x[i] <= 0",
    ),
    "divergent barrier": (
        "channels.cu", "piece_sums",
        "__syncthreads();  // the last", "if (threadIdx.x < 40) __syncthreads();  // the last",
    ),
    "divergent shuffle": (
        "channels.cu", "piece_sums", "x = warp_sum(x);", "if (lane() < 5) x = warp_sum(x);",
    ),
    "shared memory not written": (
        "channels.cu", "piece_sums",
        "if (lane() == 0) shared", "if (threadIdx.x == 0) shared",
    ),
}  # fmt: skip

# Sums of 63 products, whose factors were rounded to 11 or to 8 bits.
ROUNDED = {"convolve_tf32": 0.02, "convolve_bfloat16": 0.2}

x = np.random.default_rng(0).standard_normal((70, 40)).astype(np.float32)
image = x.reshape(1, 7, 20, 20)


def arguments_and_result(kernel):
    """Return what a kernel is launched with, the last array of which is to become the result."""
    y = np.full_like(x, np.nan)
    if kernel == "relu":
        return (x.copy(), y, x.size), dict(threads=x.size), y, np.maximum(x, 0)
    if kernel == "piece_sums":
        y, channels = (
            np.full((1, 40), np.nan, np.float32),
            dict(outer=70, count=40, inner=1, pieces=1),
        )
        return (x, y, channels), dict(grid=(40, 1)), y, x.sum(axis=0, keepdims=True)
    if kernel == "turn_spectra":
        y = np.full((20, 140), np.nan, np.float32)
        expected = x.view(np.complex64).T.copy().view(np.float32)
        return (x, y, 70, 20, 1), dict(grid=(2,)), y, expected
    if kernel == "cut_signals":  # every third sample of 3 more than there are, 4 of each phase
        y, signals = np.full((70, 3, 14), np.nan, np.float32), dict(position=0, positions=70)
        signals |= dict(channel=0, channels=1, all_channels=1, size=40, stride=3, before=1)
        signals |= dict(blocks=1, first=0, step=14, window=14, start=0, length=14)
        expected = np.pad(x, ((0, 0), (1, 1))).reshape(70, 14, 3).swapaxes(1, 2)
        return (x, y, signals), dict(threads=y.size), y, expected
    if kernel == "multiply":
        y, along = np.full((70, 70), np.nan, np.float32), dict(batch=0, group=0, term=0)
        sizes = dict(batches=1, groups=1, terms=1, rows=70, columns=70, inner=40, slope=1.0)
        a, b, c = (dict(along, row=r, column=k) for r, k in ((40, 1), (1, 40), (70, 1)))
        product = dict(sizes, a=a, b=b, c=c, bias=c)
        return (x, x, None, y, product), dict(grid=(4, 1)), y, x @ x.T
    y = np.full((1, 5, 20, 20), np.nan, np.float32)
    w = np.random.default_rng(1).standard_normal((5, 7, 3, 3)).astype(np.float32)
    same = dict(stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1)
    axis = dict(windows=20, taps=3, size=20, stride=1, dilation=1, before=1)
    product = dict(
        groups=1, parts=1, terms=63, rows=5, columns=400, inner=63, channels=7, slope=1.0,
        vertical=axis, horizontal=axis,
        a=dict(first=0, group=0, row=63, plane=9, line=3, sample=1),
        c=dict(first=0, group=0, row=400, plane=2000, line=20, sample=1),
    )  # fmt: skip
    expected = reference.conv2d(image, w, None, **same)
    return (w, image, None, y, product, None), dict(grid=(4, 1), block=THREADS), y, expected


def is_caught(path, kernel, schedule):
    """Return whether a kernel of this file stops with an error or gives a wrong result."""
    arguments, options, y, expected = arguments_and_result(kernel)
    launcher = launch.Launcher(path)
    with launch.use(Emulator(schedule)):
        try:
            launcher(kernel, *arguments, **options)
        except EmulatorError:
            return True
    return not np.allclose(y, expected, atol=ROUNDED.get(kernel, 1e-4))


def planted(folder, file, line, wrong):
    """Return a copy of a source; in it or in one of its headers one line is different."""
    for path in FOLDER.glob("*.cu*"):
        shutil.copy(path, folder)
    changed = [path for path in folder.iterdir() if path.read_text().count(line) == 1]
    (place,) = [path for path in changed if path.name == file or path.suffix == ".cuh"]
    place.write_text(place.read_text().replace(line, wrong))
    return folder / file


@pytest.mark.parametrize("kernel", sorted({kernel for _, kernel, *_ in BUGS.values()}))
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_shipped_sources_pass(kernel, schedule):
    file = next(file for file, name, *_ in BUGS.values() if name == kernel)
    assert not is_caught(FOLDER / file, kernel, schedule)


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_caught_in_one_of_three_orders(tmp_path, bug):
    file, kernel, line, wrong = BUGS[bug]
    path = planted(tmp_path, file, line, wrong)
    assert any(is_caught(path, kernel, schedule) for schedule in SCHEDULES)


PROBE = """
#include "common.cuh"
extern "C" __global__ void probe(float* y, int size) {
  DYNAMIC_SHARED(float, shared);
  BODY
}
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("shared[size] = 1;", "probe: byte 256 of 256 bytes of dynamic shared memory was written"),
        ("if (threadIdx.x < 40) { __syncthreads();\n} else __syncthreads();",
         "divergent __syncthreads: thread 0 waits in line 5, thread 63 in line 6 in block "),
        ("if (threadIdx.x < 16) __syncwarp();", "deadlock: 16 of 64.* for its warp in line 5"),
        ("if (threadIdx.x >= 16) __syncwarp();", "ffffffff names lanes that left or never were"),
        ("if (threadIdx.x == 1) __shfl_sync(4u, 1, 2);", "mask 00000004 does not name lane 1"),
        ("__shfl_sync(1u << lane(), 1, 40);", "a shuffle reads a lane outside its mask"),
        ("if (blockIdx.x) __trap();", r"__trap\(\) in block \(1, 0, 0\)"),
    ],
)  # fmt: skip
def test_what_no_kernel_may_do_is_told(tmp_path, body, message):
    (tmp_path / "probe.cu").write_text(PROBE.replace("BODY", body))
    launcher = launch.Launcher(tmp_path / "probe.cu")
    y = np.zeros(64, np.float32)
    with launch.use(Emulator()), pytest.raises(EmulatorError, match=message):
        launcher("probe", y, 64, grid=(2,), block=64, shared=256)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(block=1025), r"no such block: grid \(1, 1, 1\), block \(1025, 1, 1\)"),
        (dict(grid=(1, 70_000)), "no such grid"),
        (dict(shared=228 * 1024), "too much shared memory"),
    ],
)
def test_launches_that_no_gpu_takes_are_refused(tmp_path, options, message):
    (tmp_path / "probe.cu").write_text(PROBE.replace("BODY", ""))
    launcher = launch.Launcher(tmp_path / "probe.cu")
    with launch.use(Emulator()), pytest.raises(EmulatorError, match=message):
        launcher("probe", np.zeros(64, np.float32), 64, **dict(grid=(1,), block=64) | options)


@pytest.mark.parametrize("declaration", ["", "__shared__ float own[64]; shared = own;"])
def test_shared_memory_begins_as_nan_in_every_block(tmp_path, declaration):
    body = f"{declaration} if (threadIdx.x == 0) y[blockIdx.x] = shared[63]; shared[63] = 1;"
    (tmp_path / "probe.cu").write_text(PROBE.replace("BODY", body))
    y = np.zeros(3, np.float32)
    with launch.use(Emulator()):
        launch.Launcher(tmp_path / "probe.cu")("probe", y, 3, grid=(3,), block=1, shared=256)
    assert np.isnan(y).all()


def test_an_error_of_the_compiler_is_told(tmp_path):
    (tmp_path / "probe.cu").write_text(PROBE.replace("BODY", "nothing();"))
    launcher = launch.Launcher(tmp_path / "probe.cu")
    with (
        launch.use(Emulator()),
        pytest.raises(EmulatorError, match="probe.cu:5:.*nothing.* was not declared"),
    ):
        launcher("probe", np.zeros(3, np.float32), 3, grid=(1,))


SANITIZERS = {  # a bug, and what is said of it
    "address": ("read outside", "heap-buffer-overflow"),
    "thread": ("no barrier after reading", "data race"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SANITIZERS)
def test_sanitizers_name_the_line_of_a_planted_bug(tmp_path, name):
    bug, report = SANITIZERS[name]
    file, kernel, line, wrong = BUGS[bug]
    path = planted(tmp_path, file, line, wrong)
    script = "import sys; from tests.emulator.test_net import is_caught; is_caught(*sys.argv[1:])"
    command = [*emulator.SANITIZED, sys.executable, "-c", script, str(path), kernel, "forward"]
    environment = os.environ | emulator.sanitized(name)
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode
    assert report in done.stderr
    assert file in done.stderr


def add_up(path):
    """Run a kernel in which all threads of a block add to one number."""
    y = np.zeros(1, np.float32)
    with launch.use(Emulator()):
        launch.Launcher(Path(path))("probe", y, 1, grid=(1,), block=64)
    assert y[0] == 64


@pytest.mark.slow
@pytest.mark.parametrize(("body", "races"), [("atomicAdd(y, 1);", False), ("y[0] += 1;", True)])
def test_a_missing_atomic_is_a_race_between_threads(tmp_path, body, races):
    (tmp_path / "probe.cu").write_text(PROBE.replace("BODY", body))
    script = "import sys; from tests.emulator.test_net import add_up; add_up(sys.argv[1])"
    command = [*emulator.SANITIZED, sys.executable, "-c", script, str(tmp_path / "probe.cu")]
    environment = os.environ | emulator.sanitized("thread")
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert bool(done.returncode) == ("data race" in done.stderr) == races, done.stderr
    assert ("probe.cu:5" in done.stderr) == races
