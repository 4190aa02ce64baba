"""No leak: however long a training is, its memory stays, and a step leaves nothing behind."""

import gc
import os
import subprocess
import sys
import weakref
from contextlib import contextmanager

import numpy as np
import pytest

import minicnn as mc
from minicnn import optim
from minicnn.autograd import Node, Tensor, observe
from tests.reliability.lives import ROOT
from tests.reliability.small import ENTRIES, of_models
from tests.reliability.steady import PARTS

PROMISE = "no leak"
MINUTES = 8


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="Linux says how large it is")
@pytest.mark.parametrize(
    ("name", "quick", "full"), [("lenet5", 500, 10_000), ("crepe-tiny", 100, 1000)]
)
def test_the_memory_of_a_training_stays_within_2_percent_after_its_first_steps(
    name, quick, full, times, count
):
    steps = times(quick=quick, full=full)
    module = ["-m", "tests.reliability.steady", name, str(steps)]
    run = subprocess.run([sys.executable, *module], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    sizes = list(map(int, run.stdout.split()))
    assert len(sizes) == PARTS
    first, *rest = sizes[PARTS // 20 :]
    assert max(rest) <= 1.02 * first
    count(steps=steps)


def alive():
    """Return how many tensors and nodes of the tape there are."""
    # Not isinstance, at which modules of other libraries that are loaded late wake up.
    return sum(issubclass(type(thing), (Tensor, Node)) for thing in gc.get_objects())


@contextmanager
def no_collector():
    """Let nothing die but what nobody refers to: a cycle would live on."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Watch:
    """An observer of operations that remembers their results, and keeps none."""

    def __init__(self):
        self.seen = []

    def __call__(self, name, arguments, options, result, function):
        self.seen += [weakref.ref(result), weakref.ref(result.data)]

    def left(self):
        return [thing() for thing in self.seen if thing() is not None]


def losses(entry, model, x):
    """Return a loss, at the end of a tape."""
    outputs = model(x)
    first = outputs[0] if isinstance(outputs, tuple) else outputs
    return entry.loss(outputs, entry.target(first.shape))


@of_models()
def test_a_step_leaves_no_tensor_no_node_and_no_array(entry, count):
    model, watch = entry.build(), Watch()
    optimizer = optim.SGD(model.parameters(), lr=1e-6)
    x = entry.x(model)
    # Where kernels are compiled, Numba leaves cycles that hold on to who called it.
    losses(entry, model, x).backward()
    optimizer.zero_grad()
    with no_collector():
        before = alive()
        for _ in range(2):
            with observe(watch):
                losses(entry, model, x).backward()
            optimizer.step()
            optimizer.zero_grad()
        assert watch.left() == []
        assert alive() == before
    count(graphs_gone=2, results_gone=len(watch.seen))


@of_models()
def test_a_tape_that_nobody_sweeps_leaves_nothing_either(entry, count):
    model = entry.build()
    x = entry.x(model)
    for watch in Watch(), Watch():  # the first compiles
        with no_collector():
            before = alive()
            with observe(watch):
                losses(entry, model.train(), x)
                with mc.no_grad():
                    model.eval()(x)
            left, grown = watch.left(), alive() - before
    assert (left, grown) == ([], 0)
    count(graphs_gone=2, results_gone=len(watch.seen))


def test_a_sweep_that_fails_in_the_middle_leaves_nothing(count, monkeypatch):
    entry = ENTRIES["lenet5-modern"]
    model, watch = entry.build(), Watch()
    x = entry.x(model)
    losses(entry, model, x).backward()
    model.zero_grad()

    def fails(*arguments, **options):
        raise MemoryError

    with no_collector():
        before = alive()
        for _ in range(2):
            with observe(watch):
                loss = losses(entry, model, x)
            monkeypatch.setattr(mc.kernels.cpu, "max_pool2d_grad", fails)
            with pytest.raises(MemoryError):
                loss.backward()
            monkeypatch.undo()
            model.zero_grad()
            del loss
        gc.collect()  # the error's own traceback is a cycle
        assert watch.left() == []
        assert alive() == before
    count(graphs_gone=2, results_gone=len(watch.seen))


def test_what_is_kept_is_found():
    watch = Watch()
    with no_collector():
        with observe(watch):
            kept = Tensor(np.ones(3), requires_grad=True) * 2
        assert len(watch.left()) == 2
        assert alive() >= 1
        del kept
        assert watch.left() == []
