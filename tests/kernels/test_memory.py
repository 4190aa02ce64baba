"""Memory that is used again: never by two arrays at once, and never more than was once in use."""

import gc
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from minicnn.kernels import memory

import minicnn as mc
from minicnn import kernels, nn, ops, optim

SHAPE = (3, 100_000)


@pytest.fixture(autouse=True)
def _nothing_waits():
    gc.collect()
    mc.empty_cache()


def figures():
    return mc.memory_stats()


def test_the_memory_of_an_array_serves_the_next_of_its_size():
    before = figures()
    address = memory.empty(SHAPE, np.float32).ctypes.data
    assert memory.empty(SHAPE, np.float32).ctypes.data == address
    after = figures()
    assert (after["fresh"] - before["fresh"], after["reused"] - before["reused"]) == (1, 1)


def test_a_view_keeps_the_memory():
    view = memory.empty(SHAPE, np.float32)[1:, ::2]
    view[:] = 7
    other = memory.empty(SHAPE, np.float32)
    other[:] = 1
    assert (view == 7).all()
    assert not np.shares_memory(view, other)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_arrays_begin_where_vectors_do(dtype):
    array = memory.empty((70_001,), dtype)
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.ctypes.data % 64 == 0


def test_zeros_are_zeros_in_memory_that_was_used():
    memory.empty(SHAPE, np.float32).fill(3)
    assert not memory.zeros(SHAPE, np.float32).any()


def test_the_figures_count_what_is_in_use_and_what_waits():
    start = figures()["in_use"]
    arrays = [memory.empty(SHAPE, np.float32) for _ in range(4)]
    size = (figures()["in_use"] - start) / 4
    assert arrays[0].nbytes <= size <= arrays[0].nbytes * 9 / 8 + 4096
    del arrays
    after = figures()
    assert after["in_use"] == start
    assert after["waiting"] == 4 * size
    assert after["peak"] >= start + 4 * size
    mc.empty_cache()
    assert figures()["waiting"] == 0


def test_what_waits_and_what_is_used_stay_below_the_peak_and_a_little():
    for size in range(1, 60):
        memory.empty((size * 100_000,), np.float32)
        now = figures()
        assert now["waiting"] + now["in_use"] <= now["peak"] + memory.SPARE


def test_small_arrays_are_plain():
    before = figures()
    assert memory.empty((10, 10), np.float32).base is None
    assert figures() == before


def test_an_array_owns_its_memory_and_a_view_does_not():
    array = memory.empty(SHAPE, np.float32)
    assert memory.owns(array)
    assert memory.owns(np.empty(3))
    assert not memory.owns(array[1:])
    assert not memory.owns(np.empty(3)[:2])


def test_threads_never_get_the_same_memory():
    wrong = []

    def work(number):
        for _ in range(200):
            array = memory.empty((50_000,), np.float32)
            array.fill(number)
            if not (array == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_long_training_takes_no_more_memory_than_its_first_steps(monkeypatch):
    # Which workspaces exist at once would depend on when threads run.
    monkeypatch.setattr("minicnn.kernels.threads._count", 1)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3))
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    x = mc.Tensor(np.random.default_rng(0).standard_normal((8, 3, 64, 64), np.float32))

    def step():
        optimizer.zero_grad()
        ops.mse_loss(model(x), np.zeros((8, 16, 29, 29), np.float32)).backward()
        optimizer.step()
        stats = figures()
        return stats["in_use"], stats["in_use"] + stats["waiting"], stats["fresh"]

    for _ in range(3):
        step()
    first = step()
    for _ in range(30):
        last = step()
    assert last == first


def test_what_cannot_be_had_leaves_no_trace_in_the_figures():
    before = figures()
    with pytest.raises(MemoryError):
        memory.empty((1 << 50,), np.float32)
    assert figures()["in_use"] == before["in_use"]
    assert figures()["peak"] == before["peak"]


def test_threads_that_wait_keep_no_array(monkeypatch):
    from minicnn.kernels.cpu import parallel

    monkeypatch.setattr(parallel, "LEAST", 1)
    monkeypatch.setattr("minicnn.kernels.threads._count", 2)
    start = figures()["in_use"]
    for _ in range(5):
        kernels.cpu.relu(memory.zeros(SHAPE, np.float32))
    end = time.monotonic() + 5
    while figures()["in_use"] > start and time.monotonic() < end:
        time.sleep(0.01)
    assert figures()["in_use"] == start


def test_a_child_that_forks_can_allocate():
    script = """
import os, numpy as np, threading, warnings
from minicnn import kernels, nn, ops, optim
from minicnn.kernels import memory
warnings.simplefilter("ignore")
stop = threading.Event()

def allocate():
    while not stop.is_set():
        memory.empty((100_000,), np.float32)

other = threading.Thread(target=allocate)
other.start()
for _ in range(50):
    child = os.fork()
    if child == 0:
        memory.empty((100_000,), np.float32)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stop.set()
other.join()
"""
    if not hasattr(os, "fork"):
        pytest.skip("this system does not fork")
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
