"""Answers to labels: round trips, and every decoder against a slow and obvious one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn import models
from minicnn.audio import decoding, targets
from minicnn.audio.targets import PitchBins

crepe = PitchBins.of(models.crepe("tiny", rng=0))
deep = PitchBins.of(models.deep_salience(rng=0))


def rng(seed=0):
    return np.random.default_rng(seed)


@given(st.floats(40, 1900))
def test_a_pitch_comes_back_within_a_cent(frequency):
    target = targets.blurred([frequency], crepe)
    decoded, confidence = decoding.local_average(target, crepe)
    assert abs(targets.to_cents(decoded[0]) - targets.to_cents(frequency)) < 1
    assert 0.9 < confidence[0] <= 1


def test_pitches_that_sound_together_come_back_as_bins():
    chosen = [[100, 190, 250], [], [40]]
    frequencies = [targets.to_hertz(deep.cents[some]) for some in chosen]
    target = targets.salience(frequencies, deep)
    assert target.shape == (360, 3)
    assert target.max() == 1
    found = decoding.salience_peaks(target, deep)
    for some, peaks in zip(chosen, found, strict=True):
        assert deep.nearest(peaks).tolist() == some


def slow_average(row, bins, radius=4):
    centre = int(np.argmax(row))
    total = weighted = 0.0
    for i in range(max(centre - radius, 0), min(centre + radius + 1, bins.n_bins)):
        total += row[i]
        weighted += row[i] * bins.cents[i]
    return 10 * 2 ** ((weighted / total if total else bins.cents[centre]) / 1200)


def test_the_local_average_is_that_of_a_loop():
    rows = rng().random((50, 360)) ** 8
    rows[0], rows[1, 0], rows[2, -1] = 0, 2, 2  # nothing, and both ends
    frequency, confidence = decoding.local_average(rows, crepe)
    assert np.allclose(frequency, [slow_average(row, crepe) for row in rows], rtol=1e-12)
    assert np.array_equal(confidence, rows.max(axis=1))
    with pytest.raises(ValueError, match="12 bins and 2 axes; there are 360 bins"):
        decoding.local_average(np.ones((3, 12)), crepe)


def test_the_average_may_go_around_a_path():
    rows = np.zeros((2, 360))
    rows[:, 100], rows[:, 300] = 0.4, 0.9
    frequency, _ = decoding.local_average(rows, crepe, path=[100, 300])
    assert np.allclose(targets.to_cents(frequency), crepe.cents[[100, 300]])


def slow_viterbi(emission, transition, start):
    """Return the score of the best path, by a dense matrix and loops."""
    best = emission[0] + start
    for row in emission[1:]:
        best = (
            np.array(
                [
                    max(best[i] + transition[i, j] for i in range(len(best)))
                    for j in range(len(best))
                ]
            )
            + row
        )
    return best.max()


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 12), st.integers(1, 9), st.integers(0, 3), st.integers(0, 10**6))
def test_the_path_is_as_likely_as_that_of_a_dense_matrix(n, states, k, seed):
    draw = rng(seed)
    emission, start = draw.standard_normal((n, states)), draw.standard_normal(states)
    band = draw.standard_normal((states, 2 * k + 1))
    dense = np.full((states, states), -np.inf)
    for i in range(states):
        for j in range(max(0, i - k), min(states, i + k + 1)):
            dense[i, j] = band[i, j - i + k]
    path = decoding.viterbi(emission, band, start)
    score = emission[np.arange(n), path].sum() + start[path[0]] + dense[path[:-1], path[1:]].sum()
    assert score == pytest.approx(slow_viterbi(emission, dense, start))


def test_a_path_does_not_follow_an_octave_error():
    truth = 150 + np.round(10 * np.sin(np.arange(100) / 8)).astype(int)
    activations = targets.blurred(targets.to_hertz(crepe.cents[truth]), crepe)
    activations[40] = targets.blurred(targets.to_hertz(crepe.cents[[truth[40] + 60]]), crepe)
    assert activations.argmax(axis=1)[40] == truth[40] + 60
    assert np.abs(decoding.pitch_path(activations) - truth).max() <= 2
    assert decoding.pitch_path(np.zeros((0, 360))).shape == (0,)


def slow_onsets(activations, frame_rate, threshold=0.54, combine=0.03):
    window, n, found = np.hamming(5), len(activations), []
    curve = [
        sum(window[d + 2] * activations[i + d] for d in range(-2, 3) if 0 <= i + d < n)
        for i in range(n)
    ]
    for i in range(n):
        near = curve[max(i - 1, 0) : i + 2]
        time = i / frame_rate
        is_peak = curve[i] >= threshold and curve[i] == max(near)
        if is_peak and (not found or round((time - found[-1]) * frame_rate) > combine * frame_rate):
            found.append(time)
    return found


def test_onsets_are_those_of_a_loop():
    for seed in range(30):
        activations = rng(seed).random(300) ** 6
        found = decoding.pick_onsets(activations, 100)
        assert found.tolist() == slow_onsets(activations, 100)
    assert decoding.pick_onsets([], 100).shape == (0,)


def test_onsets_come_back_on_their_frames():
    times = np.array([0.1, 0.31, 0.5])
    target, _ = targets.onsets(times, 80, 100, neighbours=0)
    assert np.allclose(decoding.pick_onsets(target, 100), times)


def test_of_two_onsets_within_30_ms_the_first_one_stays():
    target, _ = targets.onsets([0.2, 0.23, 0.26], 80, 100, neighbours=0)
    assert decoding.pick_onsets(target, 100, smooth=1).tolist() == [0.2, 0.26]


def test_saliences_are_those_of_a_loop():
    activations = rng().random((360, 20))
    for frame, found in enumerate(decoding.salience_peaks(activations, deep, threshold=0.8)):
        column = activations[:, frame]
        wanted = [
            i for i in range(1, 359)
            if column[i] > column[i - 1] and column[i] > column[i + 1] and column[i] >= 0.8
        ]  # fmt: skip
        assert deep.nearest(found).tolist() == wanted


def test_a_voice_does_not_come_and_go_in_a_moment():
    probabilities = np.full(400, 0.1)
    probabilities[100:300] = 0.9
    probabilities[150:155] = 0.0
    probabilities[350:353] = 1.0
    active = decoding.is_active(probabilities, frame_rate=70)
    assert np.flatnonzero(active).tolist() == list(range(100, 300))
    assert decoding.is_active([], 70).shape == (0,)


def test_the_median_is_that_of_a_loop_at_the_ends_of_what_is_there():
    probabilities = rng().random(50)
    found = decoding.is_active(probabilities, frame_rate=10, median=0.5)
    wanted = [np.median(probabilities[max(i - 2, 0) : i + 3]) for i in range(50)]
    assert np.array_equal(decoding.median_filter(probabilities, 10, median=0.5), wanted)
    assert found.tolist() == [median > 0.5 for median in wanted]


def test_tags_are_ranked():
    ranked = decoding.rank_tags([0.2, 0.9, 0.5], ["rock", "piano", "slow"], 2)
    assert ranked == [("piano", 0.9), ("slow", 0.5)]
    with pytest.raises(ValueError, match="there are 2 names"):
        decoding.rank_tags([0.1], ["a", "b"])


def test_segments_are_averaged():
    segments = np.array([[0.9, 0.1], [0.4, 0.4]])
    assert np.allclose(decoding.average_segments(segments), [0.65, 0.25])
    assert np.allclose(decoding.average_segments(segments, "geometric"), [0.6, 0.2])
    with pytest.raises(ValueError, match="no segments"):
        decoding.average_segments(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="mean is 'median'"):
        decoding.average_segments(segments, "median")


def test_a_median_over_a_long_recording_is_that_of_its_pieces(monkeypatch):
    probabilities = np.random.default_rng(0).random(1000)
    at_once = decoding.is_active(probabilities, 70)
    monkeypatch.setattr(decoding, "MANY", 64)
    assert np.array_equal(decoding.is_active(probabilities, 70), at_once)
    assert 0 < at_once.sum() < 1000
    assert decoding.is_active([], 70).shape == (0,)


def test_a_path_is_refused_where_none_is_possible():
    near = np.log(np.full((4, 3), 1 / 3))
    emission = np.zeros((3, 4))
    emission[1] = -np.inf
    with pytest.raises(ValueError, match="no path through the 3 frames is possible"):
        decoding.viterbi(emission, near)
    apart = np.full((2, 4), -np.inf)
    apart[0, 0] = apart[1, 3] = 0  # further than a step goes
    with pytest.raises(ValueError, match="no path through the 2 frames is possible"):
        decoding.viterbi(apart, near)
    with pytest.raises(ValueError, match=r"transition is \(4, 2\); it takes \(4, an odd number\)"):
        decoding.viterbi(emission, near[:, :2])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: decoding.pick_onsets([0.1], 0), "pick_onsets: frame_rate is 0"),
        (lambda: decoding.pick_onsets([0.1], 100, smooth=0), "smooth is 0; a window has 1 frame"),
        (lambda: decoding.is_active([np.nan, 0.5], 70), "1 probabilities are NaN"),
        (lambda: decoding.median_filter([0.5], 70, median=-1), "median is -1 s; it is finite"),
    ],
)
def test_what_is_no_rate_window_or_probability_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
