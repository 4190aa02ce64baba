"""Sliding over longer inputs: the same numbers as window by window, and less work."""

import time

import numpy as np
import pytest

import minicnn as mc
from minicnn import models


def spectrogram(model, frames):
    shape = (2, *model.input_shape[:-1], frames)
    return np.random.default_rng(0).standard_normal(shape).astype(np.float64)


@pytest.mark.parametrize(
    ("name", "options"),
    [("onset_cnn", {}), ("onset_cnn", dict(variant="madmom")), ("voice_cnn", {})],
)
def test_every_window_gives_the_same_alone(name, options):
    model = models.create(name, **options, rng=0).to(np.float64).eval()
    frames = model.n_frames
    x = spectrogram(model, frames + 20)
    with mc.no_grad():
        slid = model.slide(x)
        assert slid.shape == (2, 1, 21)
        for i in range(21):
            alone = model(x[..., i : i + frames])
            assert np.allclose(slid.data[:, :, i], alone.data, rtol=1e-11, atol=1e-13), i


@pytest.mark.parametrize("name", ["onset_cnn", "voice_cnn"])
def test_one_window_slides_to_one_output(name):
    model = models.create(name, rng=0).eval()
    x = spectrogram(model, model.n_frames).astype(np.float32)
    assert np.allclose(model.slide(x).data[:, :, 0], model(x).data, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [("fcn4", {}), ("fcn4", dict(variant="lecture")), ("fcn5", {})],
)
def test_every_point_of_fcn_sees_what_a_window_with_its_neighbours_sees(name, options):
    model = models.create(name, **options, classes=3, rng=0)
    model.to(np.float64).eval()
    hop = model.frames_per_point
    x = spectrogram(model, 4 * hop + 100)[:1]
    with mc.no_grad():
        slid = model.slide(x).data
        assert slid.shape == (1, 3, 4)
        for point in range(4):
            begin, end = max(0, point - 1) * hop, (point + 2) * hop
            alone = model.slide(x[..., begin:end]).data[..., point - begin // hop]
            assert np.allclose(slid[..., point], alone, rtol=1e-11, atol=1e-13), point


def test_fcn_on_the_papers_clip_is_a_single_point_and_averages_several():
    model = models.fcn4(classes=3, rng=0).eval()
    x = spectrogram(model, 2 * 1366).astype(np.float32)[:1]
    with mc.no_grad():
        clip = x[..., :1366]
        assert np.allclose(model.slide(clip).data[..., 0], model(clip).data, atol=1e-5)
        # The dense layer is linear: the mean of the features gives the mean of the logits.
        assert np.allclose(model.slide(x).data.mean(axis=2), model(x).data, atol=1e-5)


def test_a_frame_of_deep_salience_is_that_of_the_15_frames_around_it():
    model = models.deep_salience(rng=0).to(np.float64).eval()
    x = spectrogram(model, 24)[:1]
    with mc.no_grad():
        slid = model.slide(x).data
        assert slid.shape == (1, 360, 24)
        for frame in (0, 3, 12, 23):
            begin, end = max(0, frame - 7), frame + 8
            alone = model(x[..., begin:end]).data[..., frame - begin]
            assert np.allclose(slid[..., frame], alone, rtol=1e-11, atol=1e-13), frame


def test_sliding_does_not_compute_overlaps_again():
    model = models.voice_cnn(rng=0).eval()
    x = spectrogram(model, 115 + 63)[:1].astype(np.float32)
    windows = np.stack([x[0, ..., i : i + 115] for i in range(64)])

    def seconds(call):
        best = np.inf
        for _ in range(3):
            start = time.perf_counter()
            with mc.no_grad():
                call()
            best = min(best, time.perf_counter() - start)
        return best

    assert seconds(lambda: model.slide(x)) < seconds(lambda: model(windows)) / 4


def test_sliding_learns():
    model = models.onset_cnn(rng=0)
    model.slide(spectrogram(model, 30).astype(np.float32)).sum().backward()
    assert all(parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("name", ["onset_cnn", "voice_cnn"])
def test_less_than_a_window_is_refused(name):
    model = models.create(name)
    x = spectrogram(model, model.n_frames - 1).astype(np.float32)
    with pytest.raises(ValueError, match=rf"x is \(2, .* or W >= {model.n_frames}"):
        model.slide(x)
