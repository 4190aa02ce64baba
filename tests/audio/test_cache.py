"""Features of a folder: what is kept, what is made anew, and what is said of files that fail."""

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn import models
from minicnn.audio import cache
from minicnn.audio.cache import folder_features
from minicnn.audio.front_end import FrontEnd, Waveform
from minicnn.data import DataLoader, MappedDataset

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")

RATE = 16_000


@dataclasses.dataclass(frozen=True)
class Deadly(Waveform):
    """A front end that kills its process where the first sample is 0.5."""

    def transform(self, samples):
        if samples[0] == 0.5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().transform(samples)


@dataclasses.dataclass(frozen=True)
class Counting(Waveform):
    """A front end that writes a line for each file that it transforms."""

    log: str = ""

    def transform(self, samples):
        with open(self.log, "a") as file:
            file.write(f"{os.getpid()}\n")
        return super().transform(samples)


def plain(kind=Waveform, **more):
    return kind(RATE, hop_length=1, length=100, step=100, before=0, edges="silent", **more)


def clip(seed, n=1000):
    return (0.1 * np.random.default_rng(seed).standard_normal(n)).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of five sound files, one of them further down, and a text."""
    (tmp_path / "in" / "below").mkdir(parents=True)
    for i in range(4):
        soundfile.write(tmp_path / "in" / f"{i}.wav", clip(i, 1000 + i), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "in" / "below" / "4.FLAC", clip(4), RATE, format="FLAC")
    (tmp_path / "in" / "labels.csv").write_text("file,label\n")
    return tmp_path / "in"


def entries(tmp_path):
    return sorted((tmp_path / "cache").iterdir())


def folder_of(front_end, folder, workers=0, **options):
    return folder_features(
        front_end, folder, folder.parent / "cache", workers=workers, progress=False, **options
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_each_file_has_the_features_of_its_samples(folder, workers):
    found = folder_of(models.onset_cnn(rng=0), folder, workers)
    assert [path.name for path in found.paths] == ["0.wav", "1.wav", "2.wav", "3.wav", "4.FLAC"]
    assert len(found) == 5
    assert not found.failed
    for i in range(4):
        expected = found.front_end.transform(cache.sound.resample(clip(i, 1000 + i), RATE, 44_100))
        assert isinstance(found[i], np.memmap)
        assert np.array_equal(found[i], expected)


def test_features_are_kept_by_content_not_by_name(folder, tmp_path):
    counting = plain(Counting, log=str(tmp_path / "log"))
    first = folder_of(counting, folder)
    (folder / "0.wav").rename(folder / "zero.wav")
    again = folder_of(counting, folder)
    assert len((tmp_path / "log").read_text().splitlines()) == 5
    assert [path.name for path in again.paths] == ["1.wav", "2.wav", "3.wav", "4.FLAC", "zero.wav"]
    assert again.entries[4] == first.entries[0]
    soundfile.write(folder / "1.wav", clip(99), RATE)
    changed = folder_of(counting, folder)
    assert len((tmp_path / "log").read_text().splitlines()) == 6
    assert changed.entries[0] != first.entries[1]
    assert changed.entries[1:] == again.entries[1:]


def test_another_front_end_has_other_entries(folder, tmp_path, monkeypatch):
    folder_of(plain(), folder)
    folder_of(plain(), folder)
    assert len(entries(tmp_path)) == 5
    folder_of(plain(normalised=True), folder)
    assert len(entries(tmp_path)) == 10
    monkeypatch.setattr(cache.front_ends, "VERSION", -1)
    folder_of(plain(), folder)
    assert len(entries(tmp_path)) == 15


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00v\x00{'descr'", b"no array at all" * 9])
def test_an_entry_that_cannot_be_read_is_made_anew(folder, damage):
    found = folder_of(plain(), folder)
    expected = np.array(found[2])
    for entry in found.entries:
        entry.write_bytes(damage)
    again = folder_of(plain(), folder)
    assert again.entries == found.entries
    assert np.array_equal(again[2], expected)


def test_an_entry_that_was_cut_off_is_made_anew(folder):
    found = folder_of(plain(), folder)
    expected = np.array(found[0])
    found.entries[0].write_bytes(found.entries[0].read_bytes()[:-1])
    assert np.array_equal(folder_of(plain(), folder)[0], expected)


def test_nothing_half_written_stays(folder, tmp_path, monkeypatch):
    def fail(file, array):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(cache.np, "save", fail)
    with pytest.warns(RuntimeWarning, match=r"5 of 5 files have no features: '.*0.wav': disk full"):
        found = folder_of(plain(), folder)
    assert len(found) == 0
    assert not entries(tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_files_are_named_and_the_others_go_on(folder, workers):
    (folder / "1.wav").write_text("no sound")
    soundfile.write(folder / "3.wav", np.zeros(0, np.float32), RATE)
    message = (
        r"2 of 5 files have no features: load: '.*1.wav' is no whole.*; load: '.*3.wav': there"
    )
    with pytest.warns(RuntimeWarning, match=message):
        found = folder_of(plain(), folder, workers)
    assert [path.name for path in found.paths] == ["0.wav", "2.wav", "4.FLAC"]
    assert {path.name for path in found.failed} == {"1.wav", "3.wav"}
    assert np.allclose(found[1][0], clip(2, 1002))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no such signal")
def test_a_file_that_kills_its_process_is_named_and_the_others_go_on(folder):
    deadly = clip(1)
    deadly[0] = 0.5
    soundfile.write(folder / "1.wav", deadly, RATE, subtype="FLOAT")
    message = r"1 of 5 files have no features: '.*1.wav': its worker process died"
    with pytest.warns(RuntimeWarning, match=message):
        found = folder_of(plain(Deadly), folder, workers=2)
    assert [path.name for path in found.paths] == ["0.wav", "2.wav", "3.wav", "4.FLAC"]
    assert [path.name for path in found.failed] == ["1.wav"]


UNGUARDED = """
import sys
from minicnn import models
from minicnn.audio.cache import folder_features

folder_features(models.crepe("tiny", rng=0), *sys.argv[1:], workers=2, progress=False)
"""


def test_a_script_that_does_not_guard_its_start_hears_of_it_once(folder, tmp_path):
    (tmp_path / "script.py").write_text(UNGUARDED)
    command = [sys.executable, tmp_path / "script.py", folder, tmp_path / "kept"]
    # The package that is tested, not another one that may be installed.
    paths = {**os.environ, "PYTHONPATH": str(Path(cache.__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=paths)
    # Python itself may say afterwards what the workers, which it stops, had not given back.
    message = "RuntimeError: folder_features: no worker process starts; a script must"
    [said] = [line for line in done.stderr.splitlines() if line.startswith(message)]
    assert done.returncode == 1
    assert "if __name__" in said
    assert done.stderr.count("Traceback") <= 4  # of both workers, of one more, and of the script


def test_workers_are_other_processes(folder, tmp_path):
    folder_of(plain(Counting, log=str(tmp_path / "log")), folder, workers=2)
    processes = (tmp_path / "log").read_text().split()
    assert len(processes) == 5
    assert str(os.getpid()) not in processes


def test_the_bar_counts_files(folder, capsys):
    folder_features(plain(), folder, folder.parent / "cache", workers=0)
    assert "5/5" in capsys.readouterr().err
    folder_of(plain(), folder)
    assert not capsys.readouterr().err


def test_every_window_may_have_a_target_of_its_own(folder):
    found = folder_of(models.crepe("tiny", rng=0), folder)
    targets = [found.front_end.window_times(x.shape[-1]) + i for i, x in enumerate(found)]
    windows = found.windows(targets, per_window=True)
    loaded = np.concatenate([y for _, y in DataLoader(windows, 4)])
    assert np.array_equal(loaded, np.concatenate(targets))
    assert windows[-1][1] == targets[-1][-1]
    targets[2] = targets[2][1:]
    message = rf"there are {len(targets[2])} targets for {len(targets[2]) + 1} windows of '.*wav'"
    with pytest.raises(ValueError, match=message):
        found.windows(targets, per_window=True)


def test_windows_go_through_a_loader(folder):
    found = folder_of(models.crepe("tiny", rng=0), folder)
    windows = found.windows(["a", "b", "c", "d", "e"])
    counts = [len(found.front_end.windows(x)) for x in found]
    assert len(windows) == sum(counts)
    assert np.bincount(windows.files).tolist() == counts
    expected = np.concatenate([found.front_end.windows(x) for x in found])
    batches = list(DataLoader(windows, 4))
    assert np.array_equal(np.concatenate([x for x, _ in batches]), expected)
    assert "".join(np.concatenate([y for _, y in batches])) == "".join(
        letter * count for letter, count in zip("abcde", counts, strict=True)
    )
    assert np.array_equal(windows[-1][0], expected[-1])
    with pytest.raises(IndexError):
        windows[len(windows)]


def test_windows_without_targets_are_alone_and_travel_to_workers(folder):
    windows = folder_of(plain(), folder).windows()
    assert len(windows) == 50
    (window,) = pickle.loads(pickle.dumps(windows))[12]
    assert np.array_equal(window[0], clip(1, 1001)[200:300])
    found = [x for (x,) in DataLoader(windows, 25, num_workers=1)]
    assert np.array_equal(found[0][12], window)


def test_an_entry_is_a_file_for_a_mapped_data_set(folder):
    found = folder_of(models.onset_cnn(rng=0), folder)
    (channel,) = MappedDataset(found.entries[0])[1]
    assert np.array_equal(channel, found[0][1])


def test_there_is_one_target_for_each_file(folder):
    with pytest.raises(ValueError, match="WindowDataset: there are 2 targets for 5 files"):
        folder_of(plain(), folder).windows([0, 1])


def test_statistics_are_those_of_all_frames(folder):
    found = folder_of(models.onset_cnn(rng=0), folder)
    frames = np.concatenate(list(found), axis=-1).astype(np.float64)
    statistics = found.statistics()
    assert statistics.mean.shape == (3, 80, 1)
    assert np.allclose(statistics.mean, frames.mean(axis=-1, keepdims=True), rtol=1e-5)
    assert np.allclose(statistics.deviation, frames.std(axis=-1, keepdims=True), rtol=1e-4)
    assert np.array_equal(statistics.least, frames.min(axis=-1, keepdims=True).astype(np.float32))
    assert np.array_equal(statistics.most, frames.max(axis=-1, keepdims=True).astype(np.float32))


def test_nothing_has_no_statistics():
    empty = cache.FolderFeatures(plain(), (), (), {})
    with pytest.raises(ValueError, match="statistics: there are no features"):
        empty.statistics()
    assert len(empty.windows()) == 0


def test_what_cannot_be_a_folder_of_sounds_is_said(tmp_path, folder):
    with pytest.raises(NotADirectoryError, match="there is no folder '.*nowhere'"):
        folder_of(plain(), tmp_path / "nowhere")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    with pytest.raises(ValueError, match="there is no sound file in '.*texts'"):
        folder_of(plain(), tmp_path / "texts")
    with pytest.raises(ValueError, match="workers is -1; it must be 0 or more"):
        folder_of(plain(), folder, workers=-1)
    with pytest.raises(TypeError, match="LeNet5 takes no sound"):
        folder_of(models.lenet5(), folder)


def test_a_front_end_of_a_network_has_an_entry_of_its_own(folder, tmp_path):
    for name in ("mel_cnn_1d", "mel_cnn_2d", "voice_cnn"):
        folder_of(models.create(name, rng=0), folder)
    assert len(entries(tmp_path)) == 10  # the two taggers hear the same
    assert FrontEnd.of(models.mel_cnn_1d(rng=0)) == FrontEnd.of(models.mel_cnn_2d(rng=0))
