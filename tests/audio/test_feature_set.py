"""Features of tracks in memory: what is computed, where, and which windows come of it."""

import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from minicnn import audio, models
from minicnn.audio import datasets, generated, synth
from minicnn.audio import feature_set as room
from minicnn.data import DataLoader
from minicnn.models.onset_cnn import OnsetCNN
from minicnn.models.recommender import Recommender

onset = audio.FrontEnd.of(OnsetCNN)


@dataclass
class Made:
    """A track of so many seconds of noise."""

    name: str
    seconds: float
    label: Any = None

    def load(self, sample_rate):
        draw = np.random.default_rng(len(self.name))
        noise = draw.normal(0, 0.1, int(self.seconds * sample_rate)).astype(np.float32)
        return noise, self.label


@dataclass
class Deadly(Made):
    """A track that its process dies of."""

    def load(self, sample_rate):
        os._exit(1)


@dataclass
class Missing(Made):
    """A track whose file is not there."""

    def load(self, sample_rate):
        raise FileNotFoundError(f"load: there is no file {self.name!r}")


@pytest.fixture(scope="module")
def two():
    """Return the features of two tracks, of 0.5 and 0.3 s."""
    tracks = [Made("one", 0.5, "first"), Made("the other", 0.3, "second")]
    return audio.track_features(onset, tracks, progress=False)


def test_features_of_tracks_are_those_of_their_samples_in_order_and_with_labels(two):
    assert two.names == ("one", "the other")
    assert two.labels == ("first", "second")
    assert two.front_end is onset
    for x, track in zip(two, (Made("one", 0.5), Made("the other", 0.3)), strict=True):
        assert np.allclose(x, onset.transform(track.load(onset.sample_rate)[0]), atol=1e-5)


def test_a_network_or_its_front_end_may_be_given(two):
    found = audio.track_features(OnsetCNN, [Made("one", 0.5)], progress=False)
    assert np.array_equal(found[0], two[0])
    with pytest.raises(TypeError, match="FrontEnd.of: int takes no sound"):
        audio.track_features(3, [], progress=False)


def test_processes_find_the_same_as_this_one():
    tracks = generated.dataset([synth.corpus("tones", size=5, seconds=0.3, rng=3)], "onsets")
    here, there = (
        audio.track_features(onset, tracks, workers=workers, progress=False) for workers in (0, 2)
    )
    assert there.names == here.names
    assert len(there) == 5
    for i in range(5):
        # A matrix product is summed in another order by another number of threads.
        assert np.allclose(there[i], here[i], rtol=0, atol=1e-5)
        assert np.array_equal(there.labels[i], here.labels[i])


def test_for_few_tracks_no_process_is_started(monkeypatch):
    monkeypatch.setattr(room, "WorkerPool", lambda *_: pytest.fail("a pool was started"))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    few = [Made(str(i), 0.1) for i in range(15)]
    assert len(audio.track_features(onset, few, progress=False)) == 15
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert len(audio.track_features(onset, few * 2, progress=False)) == 30


def test_a_track_that_cannot_be_read_is_an_error_of_its_own_in_any_process():
    tracks = [Made("good", 0.1), Missing("gone.wav", 1)]
    for workers in (0, 2):
        with pytest.raises(FileNotFoundError, match=r"no file 'gone\.wav'"):
            audio.track_features(onset, tracks, workers=workers, progress=False)


def test_a_process_that_dies_is_an_error_that_says_so():
    with pytest.raises(RuntimeError, match="track_features: a worker process died"):
        audio.track_features(onset, [Deadly("deadly", 1)], workers=2, progress=False)


def test_there_are_no_fewer_than_0_workers():
    with pytest.raises(ValueError, match="track_features: workers is -1; it must be 0 or more"):
        audio.track_features(onset, [], workers=-1, progress=False)


def test_no_tracks_are_a_feature_set_of_none():
    found = audio.track_features(onset, [], progress=False)
    assert len(found) == len(found.windows()) == len(found.windows([], per_window=True)) == 0
    assert list(DataLoader(found.windows(), 4)) == []
    with pytest.raises(ValueError, match="statistics: there are no features"):
        found.statistics()


def test_music_shorter_than_a_window_is_followed_by_silence():
    front_end = audio.FrontEnd.of(Recommender)
    x = audio.track_features(front_end, [Made("short", 0.2)], progress=False)
    assert x[0].shape[-1] == front_end.length
    assert np.allclose(x[0][..., -1], x[0].min())
    assert len(x.windows()) == 1


def test_feature_sets_are_the_same_only_if_they_are_one(two):
    again = replace(two)
    assert two == two
    assert two != again
    assert [two, again].index(again) == 1


def test_statistics_are_those_of_all_frames(two):
    found = two.statistics()
    frames = np.concatenate([two[0], two[1]], axis=-1).astype(np.float64)
    for name, wanted in (
        ("mean", frames.mean(axis=-1)), ("deviation", frames.std(axis=-1)),
        ("least", frames.min(axis=-1)), ("most", frames.max(axis=-1)),
    ):  # fmt: skip
        value = getattr(found, name)
        assert value.shape == (3, 80, 1)
        assert value.dtype == np.float32
        assert np.allclose(value[..., 0], wanted, rtol=1e-5, atol=1e-5), name


def test_inputs_are_scaled_to_what_statistics_say(two):
    found = two.statistics()
    frames = np.concatenate([two[0], two[1]], axis=-1)
    standard, unit = found.standardise(frames), found.to_unit(frames)
    assert np.allclose(standard.mean(axis=-1), 0, atol=1e-4)
    assert np.allclose(standard.std(axis=-1), 1, atol=1e-4)
    assert (unit.min(), unit.max()) == (0, pytest.approx(1))
    batch = np.stack([frames, frames])
    assert np.array_equal(found.standardise(batch)[1], standard)
    assert found.to_unit(batch).dtype == found.standardise(batch).dtype == np.float32


def test_features_that_are_all_alike_are_scaled_to_0(two):
    silent = replace(two, arrays=(np.full((3, 80, 9), 2.5, np.float32),) * 2)
    found = silent.statistics()
    for scale in (found.standardise, found.to_unit):
        assert not scale(silent[0]).any()


def test_windows_come_one_recording_after_another_with_a_row_of_the_target_each(two):
    rows = [np.arange(len(two.times(i))) + 1000 * i for i in range(2)]
    found = two.windows(rows, per_window=True)
    wanted = np.concatenate([onset.windows(x) for x in two])
    assert len(found) == len(wanted) == sum(map(len, rows))
    for i in (0, 1, len(rows[0]) - 1, len(rows[0]), -1):
        window, target = found[i]
        assert np.array_equal(window, wanted[i])
        assert target == np.concatenate(rows)[i]
    assert np.array_equal(found.files, np.repeat([0, 1], [len(each) for each in rows]))
    with pytest.raises(IndexError):
        found[len(found)]


def test_all_windows_of_a_recording_may_have_one_target(two):
    found = two.windows(["first", "second"])
    assert [found[i][1] for i in (0, len(two.times(0)) - 1, -1)] == ["first", "first", "second"]
    (window,) = two.windows()[0]
    assert window.shape == (3, 80, 15)


def test_windows_have_as_many_targets_as_there_are(two):
    with pytest.raises(ValueError, match="there are 1 targets for 2 files"):
        two.windows([1])
    rows = [np.zeros(len(two.times(0))), np.zeros(3)]
    with pytest.raises(ValueError, match="there are 3 targets for 31 windows of 'the other'"):
        two.windows(rows, per_window=True)


def test_what_windows_say_is_averaged_over_each_recording(two):
    windows = two.windows()
    values = np.random.default_rng(0).normal(size=(len(windows), 2, 3)).astype(np.float32)
    found = windows.means(values)
    assert found.dtype == np.float32
    for i in range(2):
        assert np.allclose(found[i], values[windows.files == i].mean(axis=0), atol=1e-6)
    assert windows.means(np.arange(len(windows))).tolist() == [25, 66]
    with pytest.raises(ValueError, match="there are 3 rows for 82 windows of 2 recordings, of 2"):
        windows.means(values[:3])
    none = audio.track_features(onset, [], progress=False)
    assert none.windows().means(np.zeros((0, 5))).shape == (0, 5)


def test_data_sets_of_a_folder_become_features(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("soxr")
    for name in ("a.wav", "b.wav"):
        soundfile.write(tmp_path / name, np.zeros(8000), 8000)
    (tmp_path / "labels.csv").write_text("file,time\na.wav,0.5\nb.wav,\n")
    found = audio.track_features(onset, datasets.load(tmp_path, "onsets"), progress=False)
    assert found.names == ("a.wav", "b.wav")
    assert [label.tolist() for label in found.labels] == [[0.5], []]
    assert len(found.times(0)) == 101


def features_of(model, *lengths):
    """Return features that count frames, of recordings as long as this."""
    arrays = [np.ones(model.input_shape[:-1])[..., None] * np.arange(1, n + 1) for n in lengths]
    names = tuple(f"{n} frames" for n in lengths)
    return room.TrackFeatures(audio.FrontEnd.of(model), names, tuple(arrays), ("",) * len(lengths))


def test_pieces_follow_one_another_and_see_what_is_around_them():
    features = features_of(models.onset_cnn(), 25, 8)
    targets = [np.arange(1, 26), np.arange(1, 9)]
    pieces = features.pieces(targets, 10, around=3)
    assert len(pieces) == 4
    for x, target in pieces:
        assert x.shape == (3, 80, 16)
        assert target.shape == (16,)
    whole = np.concatenate([target[3:-3] for _, target in pieces])
    assert whole.tolist() == [*range(1, 26), *[0] * 5, *range(1, 9), 0, 0]
    assert pieces[1][0][0, 0].tolist() == list(range(8, 24))
    # The onset network's windows see the first and the last frame again.
    assert pieces[0][0][0, 0].tolist() == [1, 1, 1, *range(1, 14)]
    assert pieces[2][0][0, 0].tolist() == [*range(18, 26), *[25] * 8]


def test_pieces_end_in_silence_where_windows_see_it():
    model = models.voice_cnn()
    features = features_of(model, 10)
    ((x, target),) = features.pieces([np.ones((2, 10))], 12, around=1)
    silence = np.log(np.float32(1e-7))
    assert np.allclose(x[0, 0], [silence, *range(1, 11), *[silence] * 3])
    assert target.tolist() == [[0, *[1] * 10, 0, 0, 0]] * 2


def test_every_frame_of_a_piece_has_a_target():
    features = features_of(models.voice_cnn(), 10)
    with pytest.raises(ValueError, match="pieces: there are 2 targets for 1 files"):
        features.pieces([np.zeros(10)] * 2, 5)
    message = r"pieces: the target of '10 frames' is \(9,\) for 10 frames"
    with pytest.raises(ValueError, match=message):
        features.pieces([np.zeros(9)], 5)


@pytest.mark.parametrize(
    "build", [models.onset_cnn, models.voice_cnn, lambda: models.crepe("tiny")]
)
def test_windows_of_a_batch_are_those_one_by_one(build):
    model = build()
    rng = np.random.default_rng(0)
    lengths = (1500, 2600) if model.input_shape[-1] == 1024 else (20, 130)
    arrays = [rng.random((*model.input_shape[:-1], n), np.float32) for n in lengths]
    features = room.TrackFeatures(audio.FrontEnd.of(model), ("a", "b"), tuple(arrays), ("", ""))
    answers = [np.arange(len(features.times(i))) for i in range(2)]
    dataset = features.windows(answers, per_window=True, scale=lambda x: 2 * x)
    indices = np.arange(len(dataset))[::-3]
    windows, found = dataset.batch(indices)
    alone = [dataset[i] for i in indices]
    assert np.array_equal(windows, [window for window, _ in alone])
    assert found.tolist() == [answer for _, answer in alone]
    unscaled = features.windows().batch(indices)
    assert np.array_equal(2 * unscaled[0], windows)
