"""The same seed gives the same bits: again, with other threads, other workers, or a break.

`python -m tests.reliability.test_repeat MODEL STEPS FOLDER` trains a model in a process of its own,
straight and with a break in this folder, and prints what comes of both.
"""

import functools
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import minicnn as mc
from minicnn import data, kernels, optim
from tests.models.entries import Entry
from tests.reliability.lives import ROOT
from tests.reliability.small import ENTRIES, of_models

PROMISE = "the same seed gives the same bits"
MINUTES = 8

EPOCHS = 2
# Workers know nothing of the model that their batches are for: one for each kind of inputs and
# targets will do, which are images, spectrograms and waveforms, classes, tags, tags in each frame,
# and factors.
LOADED = ("lenet5", "onset_cnn", "recommender", "crepe-tiny", "deep_salience")


@dataclass(frozen=True)
class Plan:
    """What decides the bits: a model, and how many steps it is trained in each of the epochs."""

    name: str
    steps: int

    @property
    def entry(self) -> Entry:
        return ENTRIES[self.name]


@pytest.fixture
def plan(entry, times):
    name = next(name for name, each in ENTRIES.items() if each is entry)
    return Plan(name, times(quick=4, full=20) // EPOCHS)


@pytest.fixture(autouse=True)
def _threads():
    before = mc.get_num_threads()
    yield
    mc.set_num_threads(before)


def noisy(x, target, *, rng):
    return x + rng.normal(0, 0.1, x.shape).astype(np.float32), target


def samples(plan, model):
    """Return as many samples as an epoch takes, of noise, and their targets."""
    x = np.concatenate([plan.entry.x(model, seed) for seed in range(plan.steps)])
    with mc.no_grad(), kernels.use(kernels.outline):
        outputs = model.eval()(x[:1])
    return data.ArrayDataset(x, plan.entry.target((len(x), *outputs.shape[1:])))


def trained(plan, *, seed=7, threads=1, workers=0, folder=None, epochs=EPOCHS):
    """Return a digest of everything that training leaves behind, by its name."""
    mc.set_num_threads(threads)
    mc.manual_seed(seed)
    model = plan.entry.build()
    options = dict(shuffle=True, transform=noisy, num_workers=workers)
    loader = data.DataLoader(samples(plan, model), plan.entry.batch, **options)
    optimizer = optim.Adam(model.parameters(), lr=plan.entry.rate)
    history = mc.fit(
        model, loader, plan.entry.loss, optimizer,
        epochs=epochs, checkpoint=folder, resume=folder is not None, progress=False,
    )  # fmt: skip
    loader.close()
    arrays = {**model.state_dict(), "loss": np.array([r["train_loss"] for r in history])}
    return {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()}


@functools.cache
def usual(plan):
    """Return what the plan comes to with one thread, no workers and no break."""
    return trained(plan)


def assert_usual(plan, digests):
    wanted = usual(plan)
    assert digests.keys() == wanted.keys()
    assert [name for name in wanted if digests[name] != wanted[name]] == []


@of_models()
def test_a_run_that_is_done_three_times_and_once_more_with_a_break_ends_with_the_same_bits(
    plan, tmp_path, count
):
    # Two of the four where other addresses and another seed of hashes are, at the same time.
    command = [sys.executable, "-m", __name__, plan.name, str(plan.steps), str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as elsewhere:
        assert_usual(plan, trained(plan))
        straight, resumed = json.load(elsewhere.stdout)
    assert_usual(plan, straight)
    assert_usual(plan, resumed)
    count(runs_equal=4)


@of_models()
@pytest.mark.parametrize("threads", [2, 4])
def test_the_number_of_threads_changes_no_bit(plan, threads, count):
    assert_usual(plan, trained(plan, threads=threads))
    count(runs_with_other_threads=1)


@of_models(LOADED, quick=["lenet5"])
@pytest.mark.parametrize("workers", [1, 4])
def test_the_number_of_workers_that_load_changes_no_bit(plan, workers, count):
    assert_usual(plan, trained(plan, workers=workers))
    count(runs_with_workers=1)


def kind(name):
    """Return what a loader sees of a model: the axes and dtypes of inputs and targets."""
    plan = Plan(name, 1)
    return tuple((each.ndim, each.dtype) for each in samples(plan, plan.entry.build()).arrays)


@pytest.mark.torture
def test_no_model_takes_batches_of_a_kind_that_workers_have_not_loaded():
    assert {*map(kind, ENTRIES)} == {*map(kind, LOADED)}


@of_models(["lenet5"])
def test_another_seed_gives_other_bits(plan):
    digests, others = trained(plan, seed=8), usual(plan)
    same = {name for name in others if digests[name] == others[name]}
    assert same == {"OUT.weight"}  # the paper's bitmaps, which are not trained


if __name__ == "__main__":
    asked, folder = Plan(sys.argv[1], int(sys.argv[2])), sys.argv[3]
    trained(asked, folder=folder, epochs=1)
    # What the broken-off run drew goes on, whatever the seed is now.
    print(json.dumps([trained(asked), trained(asked, folder=folder, seed=8)]))
