"""Labels to targets: what is in a frame, in a bin, and beside it."""

import numpy as np
import pytest

from minicnn import models
from minicnn.audio import targets
from minicnn.audio.targets import PitchBins

crepe = PitchBins.of(models.crepe("tiny", rng=0))
deep = PitchBins.of(models.deep_salience(rng=0))


def test_the_bins_of_the_networks_are_those_of_the_papers():
    assert (crepe.n_bins, crepe.width) == (360, 20)
    assert targets.to_hertz(crepe.first) == pytest.approx(31.70, abs=0.005)
    assert targets.to_hertz(crepe.cents[-1]) == pytest.approx(2005.5, abs=0.05)
    assert (deep.n_bins, deep.width) == (360, 20)
    assert targets.to_hertz(deep.first) == pytest.approx(32.7)
    with pytest.raises(TypeError, match="OnsetCNN are no pitches"):
        PitchBins.of(models.onset_cnn(rng=0))


def test_cents_count_from_10_hertz():
    assert targets.to_cents(20.0) == 1200
    assert targets.to_hertz(2400) == 40
    assert targets.to_cents(0.0) == -np.inf


def test_a_frequency_outside_of_the_bins_is_in_none():
    found = crepe.nearest([0.0, 1.0, 31.70, 440.0, 2005.5, 3000.0])
    assert found.tolist() == [-1, -1, 0, 228, 359, -1]


def test_one_and_several_classes():
    assert targets.one_hot([2, 0], 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert targets.multi_hot([[0, 2], [], [1]], 3).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert targets.one_hot([], 3).shape == (0, 3)
    with pytest.raises(ValueError, match="row 1 has class 3; there are 3"):
        targets.multi_hot([[0], [3]], 3)


def test_the_bump_is_that_of_the_paper():
    target = targets.blurred([440.0, 0.0, np.nan], crepe)
    distance = crepe.cents - 1200 * np.log2(44)
    assert np.allclose(target[0], np.exp(-(distance**2) / (2 * 25**2)), atol=1e-7)
    assert not target[1:].any()


def test_the_salience_of_neighbours_is_at_most_one_and_the_blur_is_a_bin():
    target = targets.salience([targets.to_hertz(deep.cents[[100, 101]])], deep)[:, 0]
    assert target[100] == target[101] == 1
    assert target[102] == pytest.approx(np.exp(-0.5) + np.exp(-2), abs=1e-6)
    outside = targets.salience([[5.0, 20_000.0]], deep)
    assert not outside.any()


def test_the_frames_beside_an_onset_count_a_quarter():
    target, weight = targets.onsets([0.05, 0.0, 9.0], n_frames=8, frame_rate=100)
    assert target.tolist() == [1, 1, 0, 0, 1, 1, 1, 0]
    assert weight.tolist() == [1, 0.25, 1, 1, 0.25, 1, 0.25, 1]
    target, weight = targets.onsets([0.05], n_frames=8, frame_rate=100, neighbours=0)
    assert target.sum() == 1
    assert (weight == 1).all()


def test_an_onset_is_one_with_full_weight_beside_another():
    target, weight = targets.onsets([0.03, 0.04], n_frames=8, frame_rate=100)
    assert target.tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    assert weight.tolist() == [1, 1, 0.25, 1, 1, 0.25, 1, 1]


def test_activity_is_smoothed_and_ends_with_the_frames():
    target = targets.activity([(0.1, 0.3), (0.8, 5.0)], n_frames=10, frame_rate=10)
    assert np.allclose(target, [0.02, 0.98, 0.98, 0.02, 0.02, 0.02, 0.02, 0.02, 0.98, 0.98])
    assert targets.activity([], 3, 10, smoothing=0).tolist() == [0, 0, 0]


def test_tags_become_rows_of_zeros_and_ones():
    names = ["rock", "piano", "slow"]
    rows = targets.tags([("slow", "rock"), (), ("piano",)], names)
    assert rows.dtype == np.float32
    assert rows.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    with pytest.raises(ValueError, match="row 1 has 'fast', which is none of 3 tags"):
        targets.tags([("slow",), ("rock", "fast")], names)


def test_a_guess_where_nothing_sounds_is_no_pitch():
    target = targets.blurred([-220.0, 0, np.nan, 440], crepe)
    assert not target[:3].any()
    assert target[3].max() == pytest.approx(1, abs=0.1)
    assert (crepe.nearest([-220.0, np.nan]) == -1).all()


def test_an_onset_behind_the_last_frame_marks_none():
    target, weight = targets.onsets([1.0], 100, 100)
    assert not target.any()
    assert (weight == 1).all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: targets.onsets([0.1, np.nan], 10, 100), "onsets: 1 times are not finite"),
        (lambda: targets.activity([[0, np.inf]], 10, 100), "activity: 1 times are not finite"),
        (lambda: targets.one_hot([1.5], 3), "classes are float64; whole numbers are taken"),
    ],
)
def test_what_is_no_time_rate_or_class_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
