"""Threads that share the items of a kernel: each done once, by whoever comes, and no error lost."""

import importlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import minicnn as mc

parallel = pytest.importorskip("minicnn.kernels.cpu.parallel", reason="Numba is not installed")
compiled = importlib.import_module("minicnn.kernels.cpu.compiled")

ITEMS = 1000
MUCH = 1 << 30  # so many elements that every helper is worth it


@parallel.parallel()
def count(done, by, worker, start, stop):
    """Count how often an item is done, and how many each worker does; take some time over it."""
    for i in range(start, stop):
        done[i] += 1
        by[worker] += 1
        rest = 1.0
        for _ in range(1000):
            rest = rest * 0.5 + done[i]
        if rest < 0:
            done[i] = 0


@parallel.parallel()
def fail(done, bad, start, stop):
    """Count the items, of which one is refused."""
    for i in range(start, stop):
        if i == bad:
            raise ValueError
        done[i] += 1


@compiled.linked()
def twice(x):
    return x + x


@parallel.parallel()
def double(x, start, stop):
    """Double each item."""
    for i in range(start, stop):
        x[i] = twice(x[i])


@pytest.fixture
def threads():
    before = mc.get_num_threads()
    yield mc.set_num_threads
    mc.set_num_threads(before)


@pytest.mark.parametrize("number", [1, 2, 3, 7])
def test_every_item_is_done_once(threads, number):
    threads(number)
    for items in (1, 2, 5, ITEMS):
        done, by = np.zeros(items, np.int64), np.zeros(number, np.int64)
        count(done, by, count=items, elements=MUCH, workers=number)
        assert (done == 1).all()
        assert by.sum() == items


def test_arguments_of_each_kind_meet_the_code_for_their_kind(threads):
    threads(2)
    for dtype in (np.float32, np.int64, np.float64, np.int64, np.float32):
        x = np.full(ITEMS, 3, dtype)
        double(x, count=ITEMS, elements=MUCH)
        assert (x == 6).all()


def test_callers_at_once_may_be_the_first(threads):
    """None of several threads that begin together calls a kernel before its place is known."""
    threads(1)

    @parallel.parallel()
    def add(x, start, stop):
        for i in range(start, stop):
            x[i] += 1

    begin, arrays = threading.Barrier(4), [np.zeros(ITEMS, np.float32) for _ in range(4)]

    def run(x):
        begin.wait()
        add(x, count=ITEMS, elements=1)

    callers = [threading.Thread(target=run, args=(x,)) for x in arrays]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert all((x == 1).all() for x in arrays)


def test_a_kernel_is_neither_in_its_launcher_nor_are_its_parts_compiled_alone(monkeypatch):
    """Each is optimised and translated once: most of what a first call takes."""
    monkeypatch.setenv("MINICNN_SIMD", "plain")  # nothing of it is kept on disk

    @compiled.linked()
    def thrice(x):
        return 3 * x

    @parallel.parallel()
    def triple(x, start, stop):
        for i in range(start, stop):
            x[i] = thrice(x[i])

    x = np.ones(ITEMS, np.float32)
    triple(x, count=ITEMS, elements=1)
    assert (x == 3).all()
    names = [
        re.findall(r"define [^@]*@_ZN[^(]*?(triple_launch|triple|thrice)", text)
        for code in (triple._launch, triple._kernel)
        for text in code.inspect_llvm().values()
    ]
    assert [set(each) for each in names] == [{"triple_launch"}, {"triple"}]
    with pytest.raises(TypeError, match="thrice is part of compiled functions"):
        thrice(1.0)


def test_code_on_disk_for_other_types_is_not_taken(tmp_path):
    """Two processes that fill a cache at once may leave the code for one type under another."""
    script = """
import numpy as np, sys
from minicnn import kernels
for kind in sys.argv[1:]:
    x = np.linspace(-1, 1, 5).astype(kind)
    assert np.array_equal(kernels.cpu.relu(x), np.maximum(x, 0)), kind
"""
    environment = {k: v for k, v in os.environ.items() if k != "MINICNN_SIMD"}
    environment["NUMBA_CACHE_DIR"] = str(tmp_path)

    def run(*kinds):
        command = [sys.executable, "-c", script, *kinds]
        subprocess.run(command, check=True, env=environment, timeout=300)

    run("float32", "float64")
    kept = sorted(tmp_path.rglob("*relu*.nbc"))
    assert len(kept) >= 4  # launcher and kernel, for two types
    one, other = [path for path in kept if "launch" not in path.name][:2]
    shutil.copy(one, other)
    run("float32", "float64")
    kept[0].write_bytes(kept[0].read_bytes()[:100])  # cut off
    run("float64", "float32")


def test_parts_may_print():
    """What they need for it is known to the process that compiles them, too."""
    script = """
import importlib, numpy as np
parallel = importlib.import_module("minicnn.kernels.cpu.parallel")
compiled = importlib.import_module("minicnn.kernels.cpu.compiled")
@compiled.linked()
def say(x):
    print("heard", x)
@parallel.parallel()
def speak(x, start, stop):
    for i in range(start, stop):
        say(x[i])
speak(np.ones(1), count=1, elements=1)
"""
    environment = os.environ | {"MINICNN_SIMD": "plain"}  # nothing is kept
    command = [sys.executable, "-c", script]
    run = subprocess.run(
        command, check=True, env=environment, timeout=120, capture_output=True, text=True
    )
    assert run.stdout == "heard 1.0\n"


def test_helpers_work_and_wake_up_again(threads):
    threads(2)
    for _ in range(3):
        time.sleep(0.05)  # longer than helpers look for a job
        by, end = np.zeros(2, np.int64), time.monotonic() + 30  # others may have all processors
        while not by[1] and time.monotonic() < end:
            count(np.zeros(ITEMS, np.int64), by, count=ITEMS, elements=MUCH, workers=2)
        assert by.min() > 0


def test_small_work_is_done_by_the_caller_alone(threads):
    threads(2)
    by = np.zeros(2, np.int64)
    count(np.zeros(ITEMS, np.int64), by, count=ITEMS, elements=parallel.LEAST - 1, workers=2)
    assert by.tolist() == [ITEMS, 0]


@pytest.mark.parametrize("number", [1, 2])
def test_a_part_that_fails_is_an_error_and_the_team_works_on(threads, number):
    threads(number)
    done = np.zeros(ITEMS, np.int64)
    with pytest.raises(MemoryError, match="fail"):
        fail(done, 7, count=ITEMS, elements=MUCH)
    done[:] = 0
    fail(done, -1, count=ITEMS, elements=MUCH)
    assert (done == 1).all()


def test_callers_at_once_do_not_disturb_each_other(threads):
    threads(2)
    wrong = []

    def call():
        for _ in range(200):
            done, by = np.zeros(50, np.int64), np.zeros(2, np.int64)
            count(done, by, count=50, elements=MUCH, workers=2)
            if not (done == 1).all() or by.sum() != 50:
                wrong.append(by)

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert not wrong


@pytest.mark.parametrize("wait", [0, 0.05])
def test_a_program_ends_while_helpers_look_for_work_or_sleep(wait):
    script = f"""
import time
import numpy as np
import minicnn as mc
from minicnn import kernels
mc.set_num_threads(3)
kernels.cpu.relu(np.ones((64, 64, 64), np.float32))
time.sleep({wait})
"""
    for _ in range(3):
        subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
