"""Kernels cannot corrupt memory: they read and write within their arrays, and get it right."""

import ctypes
import os
import random
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest
from minicnn.kernels import reference
from minicnn.kernels.cpu import conv

from tests.reliability import calls, strain
from tests.reliability.guarded import Watch
from tests.reliability.lives import ROOT, crew

PROMISE = "kernels cannot corrupt memory"
MINUTES = 12

pytestmark = pytest.mark.skipif(os.name != "posix", reason="pages are protected as POSIX does")

WHAT = [*conv.ALGORITHMS, "others"]
of_each = pytest.mark.parametrize("what", WHAT)

# Calls in one process: to start it takes as long as 1,000 of them.
PART = 10_000
APART = 1_000_000  # seeds of two processes


@pytest.fixture
def strained(tmp_path, times):
    """Return a function that strains kernels in a process, and says what it has done."""

    def strained(what, seed, calls, *more):
        log = tmp_path / f"{what}-{seed}"
        command = [sys.executable, "-m", "tests.reliability.strain", what, str(seed)]
        command += ["--calls", str(calls), *more]
        run = subprocess.run(
            [*command, "--log", str(log)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=times(quick=100, full=60 * MINUTES),
        )
        # A negative code is the signal of the processor's refusal, or of a call without an end.
        assert run.returncode == 0, (
            f"{run.stderr}\nended with {run.returncode} at {log.read_text().strip()}\n"
            f"to do it again: {shlex.join(command)}"
        )
        reached, arrays = map(int, run.stdout.split())
        return reached, arrays

    return strained


@of_each
def test_between_guards_every_kernel_gives_what_the_reference_gives(what, strained, times, count):
    # Elsewhere than in CI hypothesis keeps looking for new cases.
    seed = 0 if os.environ.get("CI") else random.SystemRandom().randrange(APART)
    reached, arrays = strained(what, seed, times(quick=150, full=1500), "--by-hypothesis")
    count(arrays_between_guards=arrays, **{f"calls_of_{what}": reached})


@pytest.mark.torture
@of_each
def test_and_so_it_does_a_hundred_thousand_times(what, strained, count):
    with crew() as pool:
        parts = pool.map(lambda part: strained(what, APART * part, PART), range(1, 11))
        for reached, arrays in parts:
            count(arrays_between_guards=arrays, **{f"calls_of_{what}": reached})


def test_every_kernel_is_among_them():
    drawn = {*calls.CONVOLUTIONS, *calls.FAMILY}
    # Filters that are prepared are no kernel of their own, but a way of conv2d.
    assert drawn - {"prepared"} == set(reference.__all__)


@pytest.fixture
def here(monkeypatch):
    """Let this process do what one of its own does to strain kernels."""
    monkeypatch.setattr("minicnn.kernels.threads._count", 1)
    monkeypatch.setattr(signal, "alarm", lambda seconds: None)  # it is the test's own
    monkeypatch.setattr(conv, "ALGORITHMS", dict(conv.ALGORITHMS))


@of_each
def test_one_number_at_the_border_that_is_off_by_a_thousandth_is_found(what, here, monkeypatch):
    right, spoiled = strain.done, []

    def off(call):
        results = right(call)
        for array in results:
            if array.dtype.kind == "f" and array.any():
                array[(-1,) * array.ndim] += 1e-3 * np.sqrt(np.mean(np.square(array)))
                spoiled.append(call.name)
                break
        return results

    monkeypatch.setattr(strain, "done", off)
    strained = strain.Strain(what)
    for seed in range(100):
        before, found = len(spoiled), False
        try:
            strained.case(random.Random(seed))
        except AssertionError:
            found = True
        assert found == (len(spoiled) > before), f"the case of seed {seed}"
    assert len(spoiled) > 90


def test_a_call_without_an_end_is_ended_and_named(tmp_path):
    script = """
import ctypes, sys
from tests.reliability import strain
strain.PATIENCE = 1
strain.done = lambda call: ctypes.PyDLL(None).pause()  # as a kernel does, it keeps the interpreter
strain.main()
"""
    log = tmp_path / "log"
    run = subprocess.run(
        [sys.executable, "-c", script, "others", "3", "--log", str(log)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == -signal.SIGALRM
    assert "in case" in run.stderr
    assert log.read_text().startswith("seed 3: ")


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
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert run.returncode in (-signal.SIGSEGV, -signal.SIGBUS), run.stderr
    assert run.stdout == ""
