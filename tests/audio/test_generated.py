"""Generated music as data sets: its labels are those of the clips, and cost no more."""

import pickle

import numpy as np
import pytest

from minicnn.audio import datasets, generated, synth

corpora = {
    "classes": "instruments", "tags": "tagged", "onsets": "polyphony", "voice": "songs",
    "pitch": "melodies", "multi_f0": "polyphony",
}  # fmt: skip


def same(first, second):
    """Return whether two labels of any task are the same."""
    if isinstance(first, tuple | list):
        return len(first) == len(second) and all(map(same, first, second))
    return np.array_equal(first, second)


def corpus(name, split="train", size=3, **options):
    return synth.corpus(name, split, size, seconds=2.0, sample_rate=16_000, rng=5, **options)


def test_every_task_has_its_labels():
    assert tuple(generated.LABELS) == datasets.TASKS
    found, clip = {}, {}
    for task, name in corpora.items():
        (track, *_) = generated.dataset([corpus(name)], task)
        samples, found[task] = track.load(16_000)
        clip[task] = corpus(name)[0]
        assert np.array_equal(samples, clip[task].samples)
        assert same(track.label, found[task]), task
    assert found["classes"] == clip["classes"].instrument == "clarinet"
    assert found["tags"] == clip["tags"].tags
    assert np.array_equal(found["onsets"], clip["onsets"].onsets())
    assert np.array_equal(found["voice"], clip["voice"].segments())
    times, frequency = found["pitch"]
    assert np.allclose(times, np.arange(400) / 200)
    assert np.array_equal(frequency, clip["pitch"].f0(200)[0])
    times, pitches = found["multi_f0"]
    assert np.allclose(times, np.arange(400) / 200)
    assert same(pitches, clip["multi_f0"].pitches(200))


def test_where_nobody_plays_there_is_no_pitch():
    silent = synth.play(synth.Piece((), 1.003), sample_rate=16_000, rng=0)
    times, frequency = generated.LABELS["pitch"](silent)
    assert len(times) == len(frequency) == len(generated.LABELS["multi_f0"](silent)[0])
    assert not frequency.any()


def test_a_pitch_is_that_of_one_player():
    (track, *_) = generated.dataset([corpus("polyphony")], "pitch")
    with pytest.raises(ValueError, match="pitch takes one source, and there are"):
        track.load(16_000)


def test_samples_come_at_the_rate_that_is_asked_for():
    pytest.importorskip("soxr")
    (track, *_) = generated.dataset([corpus("polyphony")], "onsets")
    (one, early), (two, late) = track.load(16_000), track.load(8000)
    assert (len(one), len(two)) == (32_000, 16_000)
    assert np.array_equal(early, late)


def test_for_a_class_or_tags_nothing_has_to_sound(monkeypatch):
    for task in ("classes", "tags"):
        (track, *_) = generated.dataset([corpus(corpora[task])], task)
        wanted = track.load(16_000)[1]
        with monkeypatch.context() as patch:
            patch.setattr(synth, "play", lambda *_, **__: pytest.fail("it was played"))
            assert track.label == wanted


def test_classes_and_tags_have_the_numbers_of_the_whole_corpus():
    tags = generated.dataset([corpus("tagged")], "tags")
    classes = generated.dataset([corpus("instruments")], "classes")
    assert tags.names == synth.TAGS
    assert classes.names == synth.SOLOISTS
    assert {
        track.label for track in generated.dataset([corpus("instruments", size=8)], "classes")
    } == {*synth.SOLOISTS}
    with pytest.raises(ValueError, match="generated polyphony: onsets have no names"):
        generated.dataset([corpus("polyphony")], "onsets").names  # noqa: B018


def test_corpora_of_several_splits_are_one_data_set():
    found = generated.dataset([corpus("tagged"), corpus("tagged", "test", 2)], "tags")
    assert len(found) == 5
    assert found.splits == ("test", "train")
    assert found.name == "generated tagged"
    test = found.split("test")
    assert [track.name for track in test] == ["tagged test 0", "tagged test 1"]
    assert test.names == found.names
    assert (
        str(found) == "generated tagged: 5 tracks with tags; license: none needed: it is generated"
    )


def test_tracks_go_to_other_processes():
    (track, *_) = generated.dataset([corpus("tagged")], "tags")
    again = pickle.loads(pickle.dumps(track))
    assert np.array_equal(again.load(16_000)[0], track.load(16_000)[0])


def test_what_is_asked_for_must_exist():
    with pytest.raises(ValueError, match="no task 'beats'; there are classes, tags"):
        generated.dataset([], "beats")
    with pytest.raises(ValueError, match="classes are those of instruments, not of songs"):
        generated.dataset([corpus("instruments"), corpus("songs")], "classes")
