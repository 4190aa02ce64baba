"""Scores: what a hand counts, what mir_eval says of the same, and what slow definitions find."""

import itertools
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from minicnn.audio import evaluate
from minicnn.audio.evaluate import Matches
from minicnn.audio.scores import MelodyScores

mir_eval = pytest.importorskip("mir_eval")


def rng(seed=0):
    return np.random.default_rng(seed)


def test_onsets_are_counted_within_25_and_50_ms():
    true, found = [0.1, 0.5, 1.0, 2.0], [0.12, 0.54, 1.2]
    strict, usual = (evaluate.onsets(true, found, window) for window in (0.025, 0.05))
    assert (strict.matched, strict.n_reference, strict.n_estimated) == (1, 4, 3)
    assert usual.matched == 2
    assert usual.precision == pytest.approx(2 / 3)
    assert usual.recall == 0.5
    assert usual.f_measure == pytest.approx(4 / 7)
    assert usual == evaluate.onsets(true, found)


def slow_pairs(true, found, window):
    """Return the largest number of pairs, by trying all orders."""
    few, many = sorted([true, found], key=len)
    return max(
        sum(abs(a - b) <= window for a, b in zip(few, some, strict=True))
        for some in itertools.permutations(many, len(few))
    )


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 5), st.integers(0, 5), st.integers(0, 10**6))
def test_pairs_are_as_many_as_there_can_be(n, m, seed):
    true, found = (rng(seed + k).random(size) * 0.4 for k, size in enumerate((n, m)))
    assert evaluate.onsets(true, found).matched == slow_pairs(true, found, 0.05)


def test_onsets_score_as_in_mir_eval():
    true, found = np.sort(rng(1).random(80) * 10), np.sort(rng(2).random(70) * 10)
    scores = evaluate.onsets(true, found)
    wanted = mir_eval.onset.f_measure(true, found)
    assert (scores.f_measure, scores.precision, scores.recall) == pytest.approx(wanted)


def test_the_order_of_onsets_does_not_matter_and_nothing_is_changed():
    true, found = np.array([1.0, 0.1, 0.5]), np.array([0.5, 0.11])
    before = true.copy(), found.copy()
    assert evaluate.onsets(true, found).matched == 2
    assert np.array_equal(true, before[0])
    assert np.array_equal(found, before[1])


def test_nothing_scores_0_without_a_warning():
    for true, found in (([], []), ([], [1.0]), ([1.0], [])):
        scores = evaluate.onsets(true, found)
        assert scores.f_measure == scores.precision == scores.recall == scores.accuracy == 0
    assert evaluate.onsets([], [1.0]).n_estimated == 1


def test_files_add_up_by_what_is_in_them():
    files = [evaluate.onsets([0.1, 0.2, 0.3], [0.1, 0.2, 0.3]), evaluate.onsets([1.0], [2.0])]
    together = sum(files, Matches())
    assert together == Matches(3, 4, 4)
    assert together.f_measure == 0.75


def test_a_time_that_is_none_is_an_error():
    with pytest.raises(ValueError, match="onsets: time of the estimate 1 is nan"):
        evaluate.onsets([1.0], [1.0, np.nan])
    with pytest.raises(ValueError, match="window is 0 s"):
        evaluate.onsets([1.0], [1.0], window=0)


times = np.arange(8) * 0.01


def test_melody_is_what_a_hand_counts():
    true = np.array([440.0, 440, 440, 440, 440, 0, 0, 0])
    found = np.array([440.0, 440 * 2 ** (20 / 1200), 880, -440, 0, 0, 0, 300])
    scores = evaluate.melody(times, true, times, found)
    assert scores.raw_pitch_accuracy == pytest.approx(3 / 5)  # the third by its pitch alone
    assert scores.raw_chroma_accuracy == pytest.approx(4 / 5)
    assert scores.overall_accuracy == pytest.approx(4 / 8)
    assert scores.voicing_recall == pytest.approx(3 / 5)
    assert scores.voicing_false_alarm == pytest.approx(1 / 3)


def test_recordings_count_alike_in_the_mean_of_melody_scores():
    times, right = np.arange(10) / 100, np.full(10, 440.0)
    half = np.where(times < 0.05, 440.0, 220.0)
    each = [evaluate.melody(times, right, times, found) for found in (right, half)]
    mean = MelodyScores.mean(iter(each))
    assert mean.raw_pitch_accuracy == pytest.approx(0.75)
    assert mean.raw_chroma_accuracy == 1


def test_a_melody_is_scored_at_50_and_25_and_10_cents():
    true = np.full(8, 440.0)
    found = true * 2 ** (np.array([0, 5, 9, 12, 20, 30, 49, 51]) / 1200)
    right = [evaluate.melody(times, true, times, found, cents) for cents in (50, 25, 10)]
    assert [each.raw_pitch_accuracy for each in right] == pytest.approx([7 / 8, 5 / 8, 3 / 8])


def test_melody_scores_as_in_mir_eval_when_hops_differ():
    true_times, found_times = np.arange(300) * 0.01, np.arange(520) * 0.0058
    true = 220 * 2 ** np.cumsum(rng(1).normal(0, 0.01, 300))
    found = np.interp(found_times, true_times, true) * 2 ** rng(2).normal(0, 0.03, 520)
    true[rng(3).random(300) < 0.3] = 0
    found[rng(4).random(520) < 0.2] *= -1
    before = true.copy(), found.copy()
    scores = evaluate.melody(true_times, true, found_times, found)
    assert np.array_equal(true, before[0])
    assert np.array_equal(found, before[1])
    wanted = mir_eval.melody.evaluate(true_times, true, found_times, found)
    assert scores.raw_pitch_accuracy == pytest.approx(wanted["Raw Pitch Accuracy"])
    assert scores.raw_chroma_accuracy == pytest.approx(wanted["Raw Chroma Accuracy"])
    assert scores.overall_accuracy == pytest.approx(wanted["Overall Accuracy"])
    assert scores.voicing_recall == pytest.approx(wanted["Voicing Recall"])
    assert scores.voicing_false_alarm == pytest.approx(wanted["Voicing False Alarm"])


def test_an_estimate_that_is_shorter_has_no_pitch_before_and_after():
    true_times, true = np.arange(100) * 0.01, np.full(100, 440.0)
    part = slice(40, 60)
    scores = evaluate.melody(true_times, true, true_times[part], true[part])
    assert scores.raw_pitch_accuracy == pytest.approx(0.2)
    assert scores.voicing_recall == pytest.approx(0.2)


def test_without_a_reference_all_is_0_and_without_an_estimate_silence_is_right():
    assert evaluate.melody([], [], times, np.ones(8)).overall_accuracy == 0
    true = np.array([440.0, 440, 440, 440, 440, 440, 0, 0])
    scores = evaluate.melody(times, true, [], [])
    assert scores.raw_pitch_accuracy == 0
    assert scores.overall_accuracy == pytest.approx(2 / 8)
    silent = evaluate.melody(times, np.zeros(8), times, np.zeros(8))
    assert (silent.overall_accuracy, silent.raw_pitch_accuracy) == (1, 0)
    assert evaluate.melody([0.0], [440.0], [0.0], [440.0]).raw_pitch_accuracy == 1


def test_times_that_a_file_rounded_are_no_gap_and_a_gap_is_an_error():
    hop = 256 / 44100
    rounded = np.round(np.arange(200) * hop, 3)
    true = np.full(200, 440.0)
    assert evaluate.melody(np.arange(200) * hop, true, rounded, true).raw_pitch_accuracy == 1
    kept = np.r_[0:50, 80:200]
    with pytest.raises(ValueError, match=r"no frame between 0\.284 and 0\.464 s"):
        evaluate.melody(rounded, true, rounded[kept], true[kept])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(estimated_times=times[:3]), r"the estimate has times \(3,\) and frequencies \(8,\)"),
        (dict(estimated_times=times[::-1]), r"from 0\.070 s to 0\.060 s; times must increase"),
        (dict(reference_times=times - 1), r"the reference begins at -1\.000 s"),
        (dict(estimated_frequencies=np.full(8, np.nan)), "the estimate: frequency 0 is nan"),
        (dict(reference_times=np.full(8, np.inf)), "the reference: time 0 is inf"),
    ],
)
def test_a_melody_that_is_none_is_an_error(change, message):
    given = dict(
        reference_times=times,
        reference_frequencies=np.full(8, 440.0),
        estimated_times=times,
        estimated_frequencies=np.full(8, 440.0),
    )
    with pytest.raises(ValueError, match=message):
        evaluate.melody(**{**given, **change})


def test_several_pitches_are_what_a_hand_counts():
    true = [[440.0, 660.0], [440.0], [], [220.0]]
    found = [[441.0], [440.0, 440.5], [100.0], [0.0]]
    scores = evaluate.multi_f0(times[:4], true, times[:4], found)
    assert (scores.matched, scores.n_reference, scores.n_estimated) == (2, 4, 4)
    assert scores.precision == scores.recall == 0.5
    assert scores.accuracy == pytest.approx(2 / 6)


def test_several_pitches_score_as_in_mir_eval_when_hops_differ():
    def frames(n, seed):
        draw = rng(seed)
        return [
            np.sort(draw.choice(np.arange(50.0, 500, 7), draw.integers(0, 4))) for _ in range(n)
        ]

    true_times, found_times = np.arange(60) * 0.01, np.arange(25) * 0.02
    true, found = frames(60, 1), frames(25, 2)
    scores = evaluate.multi_f0(true_times, true, found_times, found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = mir_eval.multipitch.evaluate(true_times, true, found_times, found)
    found = scores.precision, scores.recall, scores.accuracy
    assert found == pytest.approx((wanted["Precision"], wanted["Recall"], wanted["Accuracy"]))


def test_of_several_pitches_none_may_be_there():
    assert evaluate.multi_f0([], [], [], []) == Matches()
    assert evaluate.multi_f0([0.0], [[440.0]], [], []) == Matches(0, 1, 0)
    assert evaluate.multi_f0([0.0, 0.1], [[], []], [0.0, 0.1], [[], []]) == Matches()
    close = evaluate.multi_f0([0.0], [[440.0]], [0.0], [[450.0]], tolerance=25)
    assert close.matched == 0


def test_an_estimate_of_several_pitches_has_none_before_and_after_its_frames():
    true = [[440.0]] * 5
    shifted = evaluate.multi_f0(times[:5], true, times[:5] + 0.003, true)
    assert (shifted.matched, shifted.n_estimated) == (4, 4)


@pytest.mark.parametrize("tolerance", [0, -1, np.nan])
def test_a_tolerance_is_above_0(tolerance):
    with pytest.raises(ValueError, match=rf"melody: tolerance is {tolerance} cents; it must be"):
        evaluate.melody(times, np.ones(8), times, np.ones(8), tolerance)
    with pytest.raises(ValueError, match=rf"multi_f0: tolerance is {tolerance} cents; it must be"):
        evaluate.multi_f0([0.0], [[440.0]], [0.0], [[440.0]], tolerance)


@pytest.mark.parametrize(
    ("frequencies", "message"),
    [
        ([[440.0]], r"1 frames of frequencies and times \(2,\)"),
        ([[440.0], [-1.0]], r"\[-1.0\] Hz at 0\.010 s; pitches are above 0"),
        ([[440.0], [np.nan]], r"\[nan\] Hz at 0\.010 s"),
    ],
)
def test_pitches_that_are_none_are_an_error(frequencies, message):
    with pytest.raises(ValueError, match=message):
        evaluate.multi_f0(times[:2], [[440.0], [440.0]], times[:2], frequencies)


def slow_roc(true, scores):
    """Return how often a clip with the tag scores above one without; a tie is half."""
    pairs = [(a > b) + (a == b) / 2 for a in scores[true == 1] for b in scores[true == 0]]
    return np.mean(pairs)


def slow_precision(true, scores):
    """Return the mean of the precisions at each clip with the tag."""
    order = np.argsort(-scores)
    hits = np.cumsum(true[order])
    return np.mean((hits / np.arange(1, len(true) + 1))[true[order] == 1])


def test_tags_score_by_their_definitions():
    true = (rng(1).random((40, 6)) < 0.3).astype(int)
    scores = rng(2).random((40, 6)) + 0.3 * true
    found = evaluate.tags(true, scores)
    roc = [slow_roc(true[:, i], scores[:, i]) for i in range(6)]
    pr = [slow_precision(true[:, i], scores[:, i]) for i in range(6)]
    assert np.allclose(found.roc_auc_of_tags, roc)
    assert np.allclose(found.pr_auc_of_tags, pr)
    assert found.roc_auc == pytest.approx(np.mean(roc))
    assert found.pr_auc == pytest.approx(np.mean(pr))
    assert found.skipped == ()


def test_tags_of_all_or_of_no_clips_are_left_out_and_named():
    true = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]])
    scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.2, 0.3], [0.7, 0.3, 0.4]])
    found = evaluate.tags(true, scores, ["rock", "harp", "loud"])
    assert found.skipped == ("harp", "loud")
    assert found.roc_auc == 0.5
    assert np.isnan(found.roc_auc_of_tags).tolist() == [False, True, True]
    assert evaluate.tags(true, scores).skipped == (1, 2)


def test_equal_probabilities_know_nothing():
    found = evaluate.tags([[1], [0], [0], [1]], np.full((4, 1), 0.5))
    assert (found.roc_auc, found.pr_auc) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("true", "scores", "names", "message"),
    [
        ([[1, 0]], [[0.5]], None, r"reference is \(1, 2\), the probabilities are \(1, 1\)"),
        ([[1], [0]], [[0.5], [np.nan]], None, r"clip and tag \(1, 0\) is nan"),
        ([[1], [0.5]], [[0.5], [0.1]], None, "0.5 is neither 0 nor 1"),
        ([[1], [0]], [[0.5], [0.1]], ["a", "b"], "2 names and 1 columns"),
        ([[1], [1]], [[0.5], [0.1]], None, "each of 1 tags is on all or on none of 2 clips"),
        (np.zeros((0, 2)), np.zeros((0, 2)), None, "on all or on none of 0 clips"),
    ],
)
def test_tags_that_cannot_be_scored_are_an_error(true, scores, names, message):
    with pytest.raises(ValueError, match=message):
        evaluate.tags(true, scores, names)


def test_frames_are_what_a_hand_counts():
    true = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], bool)
    said = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0], bool)
    found = evaluate.frames(true, said)
    assert found.accuracy == pytest.approx(0.8)
    assert found.precision == found.recall == found.f_measure == pytest.approx(0.75)
    assert found.false_alarm == pytest.approx(1 / 6)


def test_frames_without_a_voice_score_0_but_for_their_accuracy():
    found = evaluate.frames(np.zeros(4), np.zeros(4))
    assert (found.accuracy, found.precision, found.recall, found.f_measure) == (1, 0, 0, 0)
    assert evaluate.frames(np.ones(4), np.ones(4)).false_alarm == 0


@pytest.mark.parametrize(
    ("true", "said", "message"),
    [
        ([1, 0], [1], r"reference is \(2,\), the estimate is \(1,\)"),
        ([], [], r"both must be \(n,\), n >= 1"),
        ([1, 0], [0.7, 0.2], "0.7 is neither 0 nor 1; a threshold says which"),
        ([1, 0], [np.nan, 0], "nan is neither 0 nor 1"),
    ],
)
def test_frames_that_cannot_be_scored_are_an_error(true, said, message):
    with pytest.raises(ValueError, match=message):
        evaluate.frames(true, said)


def test_a_rare_class_counts_as_much_as_a_frequent_one():
    true, said = [0, 0, 0, 0, 1, 1, 3], [0, 0, 0, 1, 1, 0, 1]
    found = evaluate.classes(true, said, ["flute", "piano", "violin", "horn"])
    assert found.class_average == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)
    assert found.accuracy == pytest.approx(4 / 7)
    assert found.absent == ("violin",)
    assert np.allclose(found.accuracy_of_classes, [0.75, 0.5, np.nan, 0], equal_nan=True)
    assert found.confusion.tolist() == [[3, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert evaluate.classes(true, said, 4).absent == (2,)
    assert evaluate.classes(true, said, np.int64(4)).absent == (2,)


@pytest.mark.parametrize(
    ("true", "said", "message"),
    [
        ([0, 1], [0], r"reference is \(2,\), the prediction is \(1,\)"),
        ([], [], r"both must be \(n,\)"),
        ([0, 1], [0, 2], "there is no class 2 of 2"),
        ([0, -1], [0, 1], "there is no class -1 of 2"),
    ],
)
def test_classes_that_do_not_exist_are_an_error(true, said, message):
    with pytest.raises(ValueError, match=message):
        evaluate.classes(true, said, 2)


def test_recommendations_score_by_their_definitions():
    draw = rng(5)
    listeners, songs = draw.normal(size=(7, 3)), draw.normal(size=(30, 3))
    heard = draw.random((7, 30)) < 0.2
    known = (draw.random((7, 30)) < 0.3) & ~heard
    found = evaluate.recommendation(
        scipy.sparse.csr_array(heard), listeners, songs, known=scipy.sparse.csr_array(known)
    )
    scores = listeners @ songs.T
    left = [~row for row in known]
    auc = [slow_roc(heard[i, left[i]], scores[i, left[i]]) for i in range(7)]
    precision = [slow_precision(heard[i, left[i]], scores[i, left[i]]) for i in range(7)]
    assert found.auc == pytest.approx(np.mean(auc))
    assert found.mean_average_precision == pytest.approx(np.mean(precision))
    assert (found.n_listeners, found.n_skipped) == (7, 0)


def test_songs_of_one_score_count_as_in_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    popularity = rng(1).integers(0, 5, (300, 1))
    for seed in range(5):
        heard = rng(seed).random((1, 300)) < 0.1
        found = evaluate.recommendation(scipy.sparse.csr_array(heard), [[1]], popularity)
        wanted = (
            metrics.average_precision_score(heard[0], popularity[:, 0]),
            metrics.roc_auc_score(heard[0], popularity[:, 0]),
        )
        assert (found.mean_average_precision, found.auc) == pytest.approx(wanted)


def test_listeners_without_songs_to_find_are_left_out_and_counted():
    heard = scipy.sparse.csr_array(np.array([[1, 0, 0], [0, 0, 0], [1, 1, 1]]))
    found = evaluate.recommendation(heard, np.ones((3, 1)), np.array([[3.0], [2.0], [1.0]]))
    assert (found.n_listeners, found.n_skipped) == (1, 2)
    assert found.auc == found.mean_average_precision == 1


def test_a_stored_0_is_no_listen():
    heard = scipy.sparse.csr_array(np.array([[1.0, 1, 0]]))
    heard.data[1] = 0
    found = evaluate.recommendation(heard, np.ones((1, 1)), np.array([[3.0], [2.0], [1.0]]))
    assert found.auc == 1
    assert heard.nnz == 2


@pytest.mark.parametrize(
    ("listeners", "songs", "message"),
    [
        (np.ones((3, 2)), np.ones((3, 2)), r"held_back is \(2, 3\); .* 3 listeners and 3 songs"),
        (np.ones((2, 2)), np.ones((3, 1)), r"listeners are \(2, 2\), those of songs \(3, 1\)"),
        (np.full((2, 1), np.nan), np.ones((3, 1)), r"factor of listener \(0, 0\) is nan"),
        (np.ones((2, 1)), np.full((3, 1), np.inf), r"factor of song \(0, 0\) is inf"),
        (np.ones((2, 1)), np.ones((3, 1)), "none of 2 listeners can be scored"),
    ],
)
def test_recommendations_that_cannot_be_scored_are_an_error(listeners, songs, message):
    with pytest.raises(ValueError, match=message):
        evaluate.recommendation(scipy.sparse.csr_array((2, 3)), listeners, songs)


def test_the_libraries_are_asked_for_when_they_are_needed():
    code = (
        "import sys; from minicnn.audio import evaluate;"
        "assert not {'mir_eval', 'sklearn', 'librosa'} & set(sys.modules);"
        "sys.modules['mir_eval.util'] = None; evaluate.onsets([1.0], [1.0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'needs mir_eval: pip install "minicnn[audio]"' in done.stderr
