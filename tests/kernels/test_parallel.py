"""Threads that share the items of a kernel: each done once, by whoever comes, and no error lost."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import minicnn as mc

parallel = pytest.importorskip("minicnn.kernels.cpu.parallel", reason="Numba is not installed")

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
