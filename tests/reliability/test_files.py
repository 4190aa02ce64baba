"""Files cannot harm: whatever is in them, they are read, or refused in one line, and no more."""

import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
from minicnn import data
from minicnn.audio import cache, datasets, sound
from tests.reliability import bombs, planted
from tests.reliability.lives import ROOT, cores, crew
from tests.reliability.readers import HOSTILE, archive, npy, npy_with_length, readers

PROMISE = "files cannot harm"
MINUTES = 25

pytest.importorskip("resource", reason="limits of POSIX are needed")
if not os.path.exists("/proc/self/statm"):
    pytest.skip("memory is watched as Linux tells it", allow_module_level=True)

# Memory of other threads' arenas would count as taken.
ALONE = {**os.environ, "MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}


@pytest.fixture
def folder():
    """A folder in memory where there is one: a million files are written to it."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as made:
        yield Path(made)


def fuzzed(folder, parts, *options):
    """Fuzz readers in a process of their own, and return the figures of each."""
    command = [sys.executable, "-m", "tests.reliability.fuzzing", folder, json.dumps(parts)]
    run = subprocess.run(
        [*map(str, command), *options], cwd=ROOT, env=ALONE, capture_output=True, text=True
    )
    ready, *lines = run.stdout.splitlines() or [""]
    assert ready == "ready", run.stderr
    found = [json.loads(line) for line in lines]
    if run.returncode:
        reason = f"it ends by signal {-run.returncode}" if run.returncode < 0 else run.stderr
        last = max(folder.glob("input*"), key=lambda path: path.stat().st_mtime)
        died = dict(name=parts[len(found)][0], inputs=0, accepted=0, kept=0)
        found.append({**died, "findings": {"end": (reason, last.read_bytes().hex())}})
    return found


PLANTED = "--of", "tests.reliability.planted"


def test_the_watch_sees_every_kind_of_harm(folder, count):
    def outcome(fault):
        [figures] = fuzzed(folder / fault.__name__, [(fault.__name__, 0, 20)], *PLANTED)
        return [reason for reason, _ in figures["findings"].values()]

    with crew() as pool:
        for fault, reasons in zip(planted.FAULTS, pool.map(outcome, planted.FAULTS), strict=True):
            assert any(re.search(planted.FAULTS[fault], each) for each in reasons), (fault, reasons)
    [good] = fuzzed(folder / "good", [("is_good", 0, 200)], *PLANTED)
    assert not good["findings"]
    assert 0 < good["accepted"] < good["inputs"] == 200
    count(kinds_of_harm_seen=len(planted.FAULTS))


def test_the_search_finds_its_way_where_chance_does_not(folder):
    parts = [("hides_a_fault_behind_many_conditions", 0, 8000)]
    [guided] = fuzzed(folder / "guided", parts, *PLANTED)
    [unguided] = fuzzed(folder / "unguided", parts, *PLANTED, "--unguided")
    assert [reason[0] for reason in guided["findings"].values()] == ["it raises KeyError: "]
    assert not unguided["findings"]


def test_no_input_does_harm(folder, times, count):
    made = readers(folder)
    largest = 30_000  # for one process
    total = times(quick=2_000, full=1_000_000)
    shares = {name: -(-total * each.weight // 1000) for name, each in made.items()}
    parts = [
        (name, seed, min(largest, share - seed * largest))
        for name, share in shares.items()
        for seed in range(-(-share // largest))
    ]
    # What is short shares a process, which takes a second to start.
    short = [part for part in parts if part[2] < 10_000]
    jobs = [[part] for part in parts if part[2] >= 10_000]
    jobs += [some for i in range(cores()) if (some := short[i :: cores()])]
    run = lambda numbered: fuzzed(folder / str(numbered[0]), numbered[1])  # noqa: E731
    totals, findings = Counter(), {}
    with crew() as pool:
        for figures in itertools.chain(*pool.map(run, enumerate(jobs))):
            name = figures["name"]
            totals["inputs"] += figures["inputs"]
            totals[name] += figures["accepted"]
            totals["kept"] += figures["kept"]
            for reason, content in figures["findings"].values():
                findings.setdefault((name, reason), content[:4000])
    count(inputs=totals["inputs"], of_them_new_ways=totals["kept"], readers=len(made))
    assert not findings, "; ".join(map(str, findings))
    assert totals["inputs"] >= total
    assert all(totals[name] for name in made), "none of its inputs was valid"


def test_small_files_do_not_become_large(folder, times, count):
    names = times(quick=bombs.FEW, full=bombs.BOMBS)
    command = [sys.executable, "-m", "tests.reliability.bombs", str(folder), *names]
    run = subprocess.run(command, cwd=ROOT, env=ALONE, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    results = [json.loads(line) for line in run.stdout.splitlines()]
    assert [name for name, *_ in results] == list(names)
    refusal = "(ValueError|MemoryError): (load|load_torch|read_idx|MappedDataset): "
    for name, size, seconds, outcome in results:
        assert re.match(f"it is read|{refusal}", outcome), (name, outcome)
        # Some are read to where they become too much: not at once, but in proportion to their size.
        assert seconds < max(1, size / 3e6), name
    count(bombs=len(results))


@pytest.mark.parametrize("function", ["os.system", "posix.system", "builtins.exec", "numpy.load"])
def test_a_checkpoint_that_tries_to_run_code_is_refused_by_name(tmp_path, count, function):
    words = b"c" + function.replace(".", "\n").encode() + b"\n"
    [hostile] = (each for each in HOSTILE if words in each)
    (tmp_path / "hostile.pt").write_bytes(archive(hostile))
    message = f"load_torch: .* holds '{function}'; only tensors and plain data are read"
    with pytest.raises(ValueError, match=message):
        mc.load_torch(tmp_path / "hostile.pt")
    count(hostile_checkpoints=1)


def table(path):
    return datasets.load(path, "classes")


# What the search once found: how the file is called, what is in it, and what is said since.
FOUND = [
    (data.MappedDataset, "a.npy", npy_with_length(b"{'shape': (2, "), "header is none of NumPy's"),
    (data.MappedDataset, "a.npy", npy_with_length(b"{'" + b"'" * 2), "header is none of NumPy's"),
    (data.MappedDataset, "a.npy", npy_with_length(b"(" * 9999), "header is none of NumPy's"),
    (data.MappedDataset, "a.npy", b"PK\x03\x04 an archive", "no whole .npy file: the magic string"),
    (mc.load, "a", bombs.metadata("[" * 100_000), "nests values deeper than any that `save` wrote"),
    (mc.load_torch, "a.pt", archive(b".").replace(b"archive", b"a\nb\nc\nd"), "no record|damaged"),
    (data.read_idx, "a", b"\0\0\x08\x03" + bytes(4) + b"\xff" * 8, "is too large, with shape"),
    (table, "a.csv", b'file,"lab\nel"\n', "line 2: a value has several lines"),
    (table, "a.csv", b"file,label\n\xff", "no UTF-8 text, at byte 11"),
    (table, "a.csv", b'file,label\n"', "line 2: unexpected end of data"),
]


@pytest.mark.parametrize(("read", "name", "content", "message"), FOUND)
def test_what_was_found_stays_mended(tmp_path, read, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(
        ValueError, match=f"^(MappedDataset|load|load_torch|read_idx): .*({message})"
    ) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_sound_that_declares_more_than_there_is_memory_is_refused(tmp_path):
    bombs.flac(tmp_path / "a.flac")
    with pytest.raises(
        MemoryError, match=r"load: '.*a.flac' takes 549.76 GB of memory, and .* are free"
    ):
        sound.load(tmp_path / "a.flac")


def test_an_entry_of_the_cache_that_is_no_array_of_floats_is_made_anew(tmp_path):
    for content in (b"PK\x03\x04", npy_with_length(b"{"), npy(np.arange(4)), npy(np.ones(4))):
        (tmp_path / "entry.npy").write_bytes(content)
        assert not cache._is_readable(tmp_path / "entry.npy")
    (tmp_path / "entry.npy").write_bytes(npy(np.ones((2, 3), np.float32)))
    assert cache._is_readable(tmp_path / "entry.npy")
