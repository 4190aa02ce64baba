"""Overload is refused, not suffered: what is too large is said before, and who dies has a name."""

import os
import shutil
import signal
import struct
import sys
import time
from functools import partial

import numpy as np
import pytest
from minicnn.kernels import memory

import minicnn as mc
from minicnn import audio, data, nn, ops
from minicnn.audio import datasets, sound
from tests.reliability.lives import at_once, live
from tests.reliability.readers import archive
from tests.reliability.test_kill import assert_whole

PROMISE = "overload is refused, not suffered"
MINUTES = 12

resource = pytest.importorskip("resource", reason="limits and signals of POSIX are needed")

LARGE = 1 << 40  # [bytes] more than any machine that runs this has
FLOATS = LARGE // 4


def safetensors():
    header = b'{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (FLOATS, LARGE)
    return struct.pack("<Q", len(header)) + header


def idx():
    return bytes([0, 0, 13, 2]) + struct.pack(">2I", FLOATS >> 20, 1 << 20)


def au():
    return b".snd" + struct.pack(">5I", 24, 2**32 - 1, 3, 16_000, 1)


# Files with holes, which take no room on the disk: how they begin, and what reads them.
TOO_LARGE = {
    "load": (safetensors, mc.load, "a"),
    "load_torch": (partial(archive, b"."), mc.load_torch, "a.pt"),
    "read_idx": (idx, data.read_idx, "a"),
    "sound.load": (au, sound.load, "a.au"),
    "datasets.load": (lambda: b"file,label\n", partial(datasets.load, task="classes"), "a.csv"),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_file_larger_than_memory_is_refused_before_it_is_read(tmp_path, count, name):
    if memory.available() is None:
        pytest.skip("this system does not say how much memory it has")
    begin, read, file = TOO_LARGE[name]
    begin = begin()
    (tmp_path / file).write_bytes(begin)
    try:
        os.truncate(tmp_path / file, len(begin) + LARGE)
    except OSError:
        pytest.skip("this file system has no files so large")
    refused(count, lambda: read(tmp_path / file), f"{name.split('.')[-1]}: .*{file}'?")


def test_results_larger_than_memory_are_refused_after_the_first_batch(count):
    many = 1 << 38
    model = nn.Linear(1, 4)
    x = np.broadcast_to(np.float32(1), (many, 1))
    refused(count, lambda: mc.predict(model, x), "predict: all outputs")

    class Batches:
        def __len__(self):
            return many

        def __iter__(self):
            while True:
                yield x[:8], np.zeros(8, int)

    metrics = {"mean": lambda outputs, targets: outputs.mean()}
    evaluate = partial(mc.evaluate, model, Batches(), ops.cross_entropy, metrics)
    refused(count, evaluate, "evaluate: all outputs")


def test_a_batch_larger_than_memory_is_refused_before_a_kernel_begins(count):
    x = mc.Tensor(np.broadcast_to(np.float32(1), (1 << 22, 3, 224, 224)))
    for layer in (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(3)):
        refused(count, lambda layer=layer: layer(x), r"an array of float32 and shape \(.*\)")


def refused(count, call, message):
    """Assert that a call says what it would take, quickly, and takes none of it."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    takes = r"takes [\d,.]+ GB of memory, and [\d,.]+ GB are free"
    with pytest.raises(MemoryError, match=f"^{message} {takes}"):
        call()
    assert time.process_time() - started < 5
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    # [KB] on Linux; the first kernel brings its compiler.
    assert taken < 2**29 >> (10 if sys.platform == "linux" else 0)
    count(larger_than_memory=1)


def test_what_a_process_or_container_may_have_is_heeded(monkeypatch, tmp_path):
    files = {
        "/sys/fs/cgroup/memory.max": b"4000000\n",
        "/sys/fs/cgroup/memory.current": b"3000000\n",
        "/sys/fs/cgroup/memory.stat": b"anon 1\ninactive_file 200000\nactive_file 100000\n",
        "/proc/meminfo": b"MemTotal: 9 kB\nMemAvailable:   8000 kB\n",
        "/proc/self/statm": b"1000 1 1",
    }
    monkeypatch.setattr(memory, "_lines", lambda path: files[path].splitlines())
    assert memory.available() == 4_000_000 - 3_000_000 + 300_000
    files["/sys/fs/cgroup/memory.max"] = b"max\n"
    assert memory.available() == 8000 << 10
    limits = resource.getrlimit(resource.RLIMIT_AS)
    page = resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1500 * page, limits[1]))
    assert memory.available() == 500 * page

    def missing(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(memory, "_lines", missing)
    assert memory.available() is None
    memory.demand(1 << 60, "what nobody knows")


class Deadly:
    """A data set, one sample of which kills the process that reads it, as the system would."""

    def __init__(self, sample, number=signal.SIGKILL):
        self.sample, self.number = sample, number

    def __len__(self):
        return 40

    def __getitem__(self, index):
        if index == self.sample:
            os.kill(os.getpid(), self.number)
            time.sleep(60)
        time.sleep(0.01)
        return np.float32(index), index


class DeadlyBatches(Deadly):
    def batch(self, indices):
        return tuple(np.stack(each) for each in zip(*map(self.__getitem__, indices), strict=True))


def test_a_worker_that_is_killed_is_reported_with_its_sample(times, count):
    samples = np.random.default_rng(0).permutation(40)[: times(quick=2, full=20)]
    for workers, sample in enumerate(samples.tolist()):
        loader = data.DataLoader(Deadly(sample), 4, num_workers=1 + workers % 2)
        message = rf"a worker process died \(signal 9, which .*\) at sample {sample}; num_workers=0"
        with pytest.raises(RuntimeError, match=f"DataLoader: {message}"):
            list(loader)
        loader.dataset = Deadly(None)
        assert len(list(loader)) == 10
        loader.close()
        count(workers_killed=1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSEGV])
def test_a_worker_that_ends_otherwise_is_reported_with_its_batch(count, number):
    loader = data.DataLoader(DeadlyBatches(10, number), 4, num_workers=1)
    with pytest.raises(
        RuntimeError, match=rf"\(signal {number}\) at one of the samples 8, 9, 10, 11;"
    ):
        list(loader)
    loader.close()
    count(workers_killed=1)


class DeadlyTrack:
    name = "the third song"

    def load(self, sample_rate):
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)


class Track:
    name = "another song"

    def load(self, sample_rate):
        return np.zeros(30_000, np.float32), None


def test_a_track_that_kills_its_process_is_named(count):
    tracks = [Track(), Track(), DeadlyTrack(), Track()]
    front_end = audio.FrontEnd.of(mc.models.mel_cnn_1d)
    with pytest.raises(RuntimeError, match=r"died \(signal 9, .*\) at 'the third song'; workers=0"):
        audio.track_features(front_end, tracks, workers=2, progress=False)
    count(workers_killed=1)


def test_ctrl_c_at_any_moment_leaves_a_valid_checkpoint_and_no_orphan(
    tmp_path, times, count, uninterrupted
):
    digest, seconds = uninterrupted

    def run(rng):
        """Interrupt a run up to three times, let it end, and return how often it was."""
        folder, interrupted = tmp_path / str(rng.random()), 0
        workers, wanted = rng.randrange(3), rng.randint(1, times(quick=1, full=3))
        while True:
            after = rng.uniform(0, 1.2 * seconds) if interrupted < wanted else None
            life = live(
                "tests.reliability.training", folder, workers,
                after=after, number=signal.SIGINT, to_all=True,
            )  # fmt: skip
            if life.said:
                assert life.said[-1].split()[1] == digest
            if not life.hit:
                assert life.code == 0, life.errors
                assert life.said
                shutil.rmtree(folder)
                return interrupted
            interrupted += 1
            assert life.said or "KeyboardInterrupt" in life.errors, life.errors
            assert_whole(folder)
            assert not (folder / ".held").exists()

    runs, hits = at_once(run, 1, times(quick=1, full=60))
    count(interruptions=hits, runs_bit_identical=runs)
