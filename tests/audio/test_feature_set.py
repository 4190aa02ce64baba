"""Features of tracks in memory: pieces of them for networks that slide."""

import numpy as np
import pytest

from minicnn import models
from minicnn.audio.feature_set import TrackFeatures
from minicnn.audio.front_end import FrontEnd


def features_of(model, *lengths):
    """Return features that count frames, of recordings as long as this."""
    arrays = [np.ones(model.input_shape[:-1])[..., None] * np.arange(1, n + 1) for n in lengths]
    names = tuple(f"{n} frames" for n in lengths)
    return TrackFeatures(FrontEnd.of(model), names, tuple(arrays), ("",) * len(lengths))


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
    features = TrackFeatures(FrontEnd.of(model), ("a", "b"), tuple(arrays), ("", ""))
    answers = [np.arange(len(features.times(i))) for i in range(2)]
    dataset = features.windows(answers, per_window=True, scale=lambda x: 2 * x)
    indices = np.arange(len(dataset))[::-3]
    windows, found = dataset.batch(indices)
    alone = [dataset[i] for i in indices]
    assert np.array_equal(windows, [window for window, _ in alone])
    assert found.tolist() == [answer for _, answer in alone]
    unscaled = features.windows().batch(indices)
    assert np.array_equal(2 * unscaled[0], windows)
