"""Sliding over longer inputs: the numbers of the windows one by one, for less work."""

import numpy as np
import pytest

import minicnn as mc
from minicnn import kernels, models
from minicnn.autograd import observe
from minicnn.models.fcn import FCN, LAYERS, LECTURE


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


@pytest.mark.parametrize("frames", [115, 123, 124, 140])
def test_the_voice_network_slides_by_nine_frames_for_the_same_numbers(frames):
    model = models.voice_cnn(rng=0).to(np.float64).eval()
    x = spectrogram(model, frames)
    with mc.no_grad():
        every = model.slide(x, hop=9).data
        assert every.shape == (2, 1, (frames - 106) // 9)
        assert np.allclose(every, model.slide(x).data[..., ::9], rtol=1e-11, atol=1e-13)


def test_the_voice_network_slides_by_one_or_nine():
    with pytest.raises(ValueError, match="slide: hop is 3; it takes 1 or 9"):
        models.voice_cnn().slide(np.zeros((1, 1, 80, 115), np.float32), hop=3)


def narrow(layers):
    """Return an FCN with these layers, but few filters."""
    return FCN([(4, pooling) for _, pooling in layers], classes=3, rng=0)


@pytest.mark.parametrize("layers", [LAYERS["fcn4"], LAYERS["fcn7"], LECTURE])
def test_every_point_of_fcn_sees_what_a_window_with_its_neighbours_sees(layers):
    model = narrow(layers).to(np.float64).eval()
    hop = model.slide_hop
    x = spectrogram(model, 4 * hop + 100)
    with mc.no_grad():
        slid = model.slide(x).data
        assert slid.shape == (2, 3, 4)
        for point in range(4):
            begin, end = max(0, point - 1) * hop, (point + 2) * hop
            features = model.layers(mc.Tensor(x[..., begin:end]))[:, :, 0, point - begin // hop]
            alone = model.fc(features).data
            assert np.allclose(slid[..., point], alone, rtol=1e-11, atol=1e-13), point


def test_a_lone_window_of_fcn_sees_zeros_where_sliding_sees_the_neighbours():
    model = narrow(LAYERS["fcn4"]).to(np.float64).eval()
    hop = model.slide_hop
    x = spectrogram(model, 3 * hop)
    with mc.no_grad():
        slid, alone = model.slide(x).data[..., 1], model(x[..., hop : 2 * hop]).data
    assert not np.allclose(slid, alone, rtol=1e-3)


def test_fcn_on_the_papers_clip_is_a_single_point_and_averages_several():
    model = narrow(LAYERS["fcn4"]).eval()
    x = spectrogram(model, 2 * 1366).astype(np.float32)
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


def multiply_adds(call):
    """Return how many products the convolutions and dense layers of a call add up."""
    counted = []

    def count(name, arguments, options, result, function):
        if name in ("conv2d", "linear"):
            counted.append(result.size * np.prod(arguments[1].shape[1:]))

    with mc.no_grad(), kernels.use(kernels.outline), observe(count):
        call()
    return sum(counted)


# Products per output where each layer computes a new column of its maps and no more.
SHARES = {
    "onset_cnn": 10 * 78 * 63 + 20 * 24 * 90 + 1120 * 256 + 256,
    "voice_cnn": 64 * 78 * 9
    + 32 * 76 * 576
    + 128 * 23 * 288
    + 64 * 21 * 1152
    + 4928 * 256
    + 256 * 64
    + 64,
}


@pytest.mark.parametrize("name", SHARES)
def test_sliding_does_not_compute_overlaps_again(name):
    model = models.create(name).eval()
    outputs = 10_000
    x = np.zeros((1, *model.input_shape[:-1], model.n_frames + outputs - 1), np.float32)
    count = multiply_adds(lambda: model.slide(x))
    assert outputs * SHARES[name] <= count < 1.01 * outputs * SHARES[name]
    window = multiply_adds(lambda: model(x[..., : model.n_frames]))
    assert outputs * window > 2.5 * count


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
