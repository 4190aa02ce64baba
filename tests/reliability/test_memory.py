"""Kernels cannot corrupt memory: they read and write within their arrays, and get it right."""

import ctypes
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from minicnn.kernels.cpu import conv

from tests.reliability.guarded import Watch
from tests.reliability.lives import ROOT, cores

PROMISE = "kernels cannot corrupt memory"
MINUTES = 12

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pages are protected as POSIX does")

# Calls in one process.
PART = 2500


@pytest.mark.parametrize("what", [*conv.ALGORITHMS, "others"])
def test_between_guards_every_kernel_gives_what_the_reference_gives(what, times, count):
    wanted = times(quick=150, full=30_000)
    parts = [min(PART, wanted - start) for start in range(0, wanted, PART)]

    def strained(seed):
        module = ["-m", "tests.reliability.strain", what, str(parts[seed]), str(seed)]
        run = subprocess.run([sys.executable, *module], cwd=ROOT, capture_output=True, text=True)
        # A negative code is the signal of the processor's refusal.
        assert run.returncode == 0, f"seed {seed} ended with {run.returncode}:\n{run.stderr}"
        return map(int, run.stdout.split())

    with ThreadPoolExecutor(cores()) as pool:
        for cases, arrays in pool.map(strained, range(len(parts))):
            count(calls=cases, arrays_between_guards=arrays)


@pytest.mark.parametrize("number", [-1, 5])
def test_a_number_that_is_written_beside_an_array_is_found(number):
    watch = Watch(random.Random(0))  # which begins with an array at the end of its pages
    array = watch.empty((5,), np.float32)
    assert np.isnan(array).all()
    ctypes.c_float.from_address(array.ctypes.data + 4 * number).value = 1
    del array
    assert watch.broken == [(5,)]


def test_what_is_written_within_an_array_breaks_nothing():
    watch = Watch(random.Random(0))
    for dtype in (np.float32, np.float64, np.int32):
        for size in (0, 1, 5, 4096, 70_000):
            watch.empty((size,), dtype).fill(1)
            watch.laid(np.ones((size, 2), dtype).T)[...] = 2
    assert watch.lent == 30
    assert watch.broken == []


@pytest.mark.parametrize(("seed", "number"), [(0, 8), (1, -1)])
def test_a_number_that_is_read_beyond_a_page_ends_the_process(seed, number):
    script = f"""
import ctypes, random
import numpy as np
from tests.reliability.guarded import Watch
array = Watch(random.Random({seed})).empty((8,), np.float32)
print(ctypes.c_float.from_address(array.ctypes.data + 4 * {number}).value)
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode in (-signal.SIGSEGV, -signal.SIGBUS), run.stderr
    assert run.stdout == ""
