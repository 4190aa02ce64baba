"""What each network hears: its shape, its constants, its edges, and when it hears it."""

import dataclasses
import functools
import sys

import numpy as np
import pytest

import minicnn as mc
from minicnn import models
from minicnn.audio import front_end, spectral
from minicnn.audio.front_end import FrontEnd, features

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")

SMALL = {"crepe": dict(capacity="tiny")}
OPTIONS = [
    *[(name, SMALL.get(name, {})) for name in models.available()],
    *[("spiral_cnn", dict(arch=arch)) for arch in range(1, 9)],
    ("crepe", dict(capacity="small")),
    ("fcn4", dict(variant="lecture")),
    ("onset_cnn", dict(variant="madmom")),
    ("mel_cnn_2d", dict(filters=32)),
    ("sample_cnn", dict(m=2, n=13)),
    ("sample_cnn", dict(window=729, hop=243, n=5)),
]


HEARING = [
    "crepe", "deep_salience", "fcn3", "fcn4", "fcn5", "fcn6", "fcn7", "mel_cnn_1d", "mel_cnn_2d",
    "onset_cnn", "recommender", "sample_cnn", "spiral_cnn", "voice_cnn",
]  # fmt: skip


@pytest.fixture(scope="module")
def of():
    """Return the front end of a model by its name."""
    return functools.cache(lambda name: FrontEnd.of(models.create(name, **SMALL.get(name, {}))))


def tone(sample_rate, seconds=3.0, frequency=440.0):
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_every_network_for_sound_takes_its_features(name, options, undrawn):
    model = models.create(name, **options)
    if name not in HEARING:
        with pytest.raises(TypeError, match=rf"FrontEnd.of: {type(model).__name__} takes no sound"):
            features(model, tone(44_100), 44_100)
        return
    x = features(model, tone(44_100), 44_100)
    assert x.dtype == np.float32
    assert np.isfinite(x).all()
    assert x.std() > 0
    model.checked(x)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_what_a_network_says_of_its_features_is_finite(name, options):
    if name in HEARING:
        model = models.create(name, **options, rng=0).eval()
        with mc.no_grad():
            assert np.isfinite(model(features(model, tone(44_100), 44_100)[:1]).numpy()).all()


@pytest.mark.parametrize("name", ["crepe", "mel_cnn_1d", "spiral_cnn", "onset_cnn"])
def test_what_a_small_network_says_of_its_features_is_finite(name):
    model = models.create(name, **SMALL.get(name, {}), rng=0).eval()
    with mc.no_grad():
        assert np.isfinite(model(features(model, tone(44_100), 44_100)[:2]).numpy()).all()


@pytest.mark.parametrize(
    ("name", "samples", "shape"),
    [
        ("mel_cnn_1d", 1, (1, 1, 96, 187)),
        ("mel_cnn_1d", 186 * 256, (1, 1, 96, 187)),
        ("mel_cnn_2d", 374 * 256, (2, 1, 96, 187)),
        ("fcn4", 1, (1, 1, 96, 1280)),
        ("fcn4", 40 * 12_000, (1, 1, 96, 1876)),
        ("sample_cnn", 59_048, (1, 1, 59_049)),
        ("sample_cnn", 2 * 59_049 + 1, (2, 1, 59_049)),
        ("recommender", 1, (1, 1, 128, 103)),
        ("recommender", 10 * 22_050, (1, 1, 128, 431)),
        ("onset_cnn", 1, (1, 3, 80, 15)),
        ("onset_cnn", 44_100, (101, 3, 80, 15)),
        ("voice_cnn", 1, (1, 1, 80, 115)),
        ("voice_cnn", 22_050, (71, 1, 80, 115)),
        ("spiral_cnn", 131_072, (1, 1, 96, 128)),
        ("crepe", 1, (1, 1, 1024)),
        ("crepe", 16_000, (101, 1, 1024)),
        ("deep_salience", 1, (1, 6, 360, 1)),
        ("deep_salience", 22_050, (1, 6, 360, 87)),
    ],
)
def test_music_of_any_length_is_taken(of, name, samples, shape, undrawn):
    assert of(name)(np.full(samples, 0.1, np.float32)).shape == shape


@pytest.mark.parametrize("name", ["mel_cnn_1d", "sample_cnn"])
def test_music_that_is_short_is_followed_by_silence(of, name, undrawn):
    front_end = of(name)
    short = tone(front_end.sample_rate, 0.5)
    long = np.pad(short, (0, 80_000 - len(short)))
    assert np.array_equal(front_end(short)[0], front_end(long)[0])


@pytest.mark.parametrize("name", HEARING)
def test_windows_can_be_had_one_by_one(of, name, undrawn):
    front_end = of(name)
    transformed = front_end.transform(front_end.lengthened(tone(front_end.sample_rate)))
    windows = front_end.windows(transformed)
    times = front_end.window_times(transformed.shape[-1])
    assert len(windows) == len(times)
    for i in {0, 1, len(windows) // 2, len(windows) - 1} & set(range(len(windows))):
        assert np.array_equal(front_end.window(transformed, i), windows[i])
    assert np.array_equal(front_end.window(transformed, -1), windows[-1])
    assert np.array_equal(front_end.window(transformed, -len(windows)), windows[0])
    for i in (len(windows), -len(windows) - 1):
        with pytest.raises(IndexError, match=f"index is {i}; there are {len(windows)} windows"):
            front_end.window(transformed, i)


@pytest.mark.parametrize(("name", "reach"), [("spiral_cnn", 6948), ("deep_salience", 58_372)])
def test_a_constant_q_front_end_hears_as_far_as_its_longest_window(of, name, reach, undrawn):
    plain = dataclasses.replace(of(name), compression=lambda x: x, weighting=None)
    assert plain.reach == reach
    frame = reach // plain.hop_length + 2
    heard = []
    for distance in (0, round(0.95 * reach), reach + 1):
        click = np.zeros(2 * frame * plain.hop_length)
        click[frame * plain.hop_length - distance] = 1
        heard.append(plain.transform(click)[0, 0, frame])
    assert heard[1] > 1e-3 * heard[0]
    assert heard[2] < 1e-5 * heard[0]


@pytest.mark.parametrize("name", ["onset_cnn", "voice_cnn", "mel_cnn_1d", "crepe", "sample_cnn"])
def test_a_click_is_in_the_middle_of_the_window_of_its_time(of, name, undrawn):
    front_end = of(name)
    rate = front_end.sample_rate
    at = 1.6
    click = np.zeros(4 * round(rate), np.float32)
    click[round(at * rate)] = 1
    transformed = front_end.transform(click)
    windows = front_end.windows(transformed)
    times = front_end.window_times(transformed.shape[-1])
    chosen = np.abs(times - at).argmin()
    loudness = windows[chosen].reshape(-1, windows.shape[-1]).sum(axis=0)
    offset = (loudness.argmax() - front_end.length // 2) / front_end.frame_rate
    assert times[chosen] + offset == pytest.approx(at, abs=0.6 / front_end.frame_rate)
    frame = transformed.reshape(-1, transformed.shape[-1]).sum(axis=0).argmax()
    assert front_end.frame_times(frame + 1)[-1] == pytest.approx(at, abs=0.6 / front_end.frame_rate)


@pytest.mark.parametrize(
    ("name", "rate"),
    [("onset_cnn", 100), ("voice_cnn", 70), ("deep_salience", 22_050 / 256), ("crepe", 16_000)],
)
def test_frames_come_at_the_rate_of_the_paper(of, name, rate, undrawn):
    assert of(name).frame_rate == pytest.approx(rate)


def test_the_onset_network_sees_its_first_and_last_frames_again(of, undrawn):
    spectrogram = of("onset_cnn").transform(tone(44_100, 0.5))
    windows = of("onset_cnn").windows(spectrogram)
    assert (windows[0, :, :, :8] == spectrogram[:, :, :1]).all()
    assert np.array_equal(windows[0, :, :, 7:], spectrogram[:, :, :8])
    assert (windows[-1, :, :, 7:] == spectrogram[:, :, -1:]).all()


def test_the_voice_network_sees_57_frames_of_silence(of, undrawn):
    windows = of("voice_cnn")(tone(22_050, 2.0))
    assert np.allclose(windows[0, :, :, :57], np.log(1e-7))
    assert (windows[0, :, :, 57] > np.log(1e-7)).any()
    assert np.allclose(windows[-1, :, :, -57:], np.log(1e-7))


def test_windows_of_the_pitch_network_are_normalised(of, undrawn):
    windows = of("crepe")(tone(16_000) + 0.25)
    assert np.allclose(windows.mean(axis=-1), 0, atol=1e-5)
    assert np.allclose(windows.std(axis=-1), 1, atol=1e-5)
    expected = np.pad(tone(16_000) + 0.25, 512)[160 * 7 : 160 * 7 + 1024].astype(np.float64)
    expected = (expected - expected.mean()) / expected.std()
    assert np.allclose(windows[7, 0], expected, atol=1e-5)


@pytest.mark.parametrize("name", HEARING)
def test_silence_is_finite_and_as_quiet_as_can_be(of, name, undrawn):
    front_end = of(name)
    silent = front_end(np.zeros(2 * round(front_end.sample_rate), np.float32))
    assert (silent == np.float32(front_end.silence)).all()
    if front_end.hop_length > 1:
        assert (front_end(tone(front_end.sample_rate)) >= silent.min()).all()


def test_the_taggers_hear_what_librosa_hears(of, undrawn):
    librosa = pytest.importorskip("librosa")
    samples = tone(16_000) + 0.1 * tone(16_000, frequency=3000)
    mel = librosa.feature.melspectrogram(y=samples, sr=16_000, n_fft=512, hop_length=256, n_mels=96)
    assert np.allclose(
        of("mel_cnn_1d").transform(samples)[0], np.log10(10_000 * mel + 1), atol=1e-4
    )
    mel = librosa.feature.melspectrogram(y=samples, sr=12_000, n_fft=512, hop_length=256, n_mels=96)
    assert np.allclose(of("fcn4").transform(samples)[0], librosa.power_to_db(mel), atol=1e-2)


def test_the_onset_network_hears_three_windows(of, undrawn):
    samples = tone(44_100, 1.0)
    for channel, n_fft in enumerate((2048, 1024, 4096)):
        magnitude = np.abs(spectral.stft(samples, n_fft, 441, periodic=False))
        filters = spectral.mel_filters(of("onset_cnn").bands, 44_100, n_fft, "madmom")
        expected = np.log(filters @ magnitude + np.spacing(1))
        assert np.allclose(of("onset_cnn").transform(samples)[channel], expected, atol=1e-3)


def test_the_spiral_network_hears_weighted_magnitudes(of, undrawn):
    samples = tone(44_100, 1.0)
    bins = spectral.constant_q(samples, 44_100, 1024, fmin=55.0, n_bins=96, bins_per_octave=12)
    weight = spectral.a_weighting(55 * 2 ** (np.arange(96) / 12))[:, None]
    expected = np.log1p(1000 * bins * weight)
    assert np.allclose(of("spiral_cnn").transform(samples)[0], expected, atol=1e-4)


def test_deep_salience_hears_0_to_1(of, undrawn):
    x = of("deep_salience").transform(tone(22_050, 1.0))
    assert (x.min(), x.max()) == (0, 1)
    assert x[1, :, 40].argmax() == round(60 * np.log2(440 / 32.7))


def test_a_file_is_heard_as_its_samples_are(tmp_path, undrawn):
    model = models.voice_cnn()
    soundfile.write(tmp_path / "tone.wav", tone(44_100), 44_100, subtype="FLOAT")
    heard = features(model, tone(44_100), 44_100)
    assert np.array_equal(features(model, tmp_path / "tone.wav"), heard)
    assert np.array_equal(features(model, str(tmp_path / "tone.wav")), heard)


def test_a_front_end_may_take_the_place_of_its_network(of, undrawn):
    assert FrontEnd.of(of("crepe")) is of("crepe")
    denser = dataclasses.replace(of("mel_cnn_1d"), step=20)
    assert denser(tone(16_000, 6.0)).shape == (10, 1, 96, 187)
    assert np.diff(denser.window_times(376)) == pytest.approx(20 * 256 / 16_000)


def test_a_rate_goes_with_samples_and_not_with_files(tmp_path, of, undrawn):
    with pytest.raises(ValueError, match="features: samples need a sample_rate"):
        features(of("crepe"), tone(16_000))
    with pytest.raises(ValueError, match="features: a file has a sample_rate of its own"):
        features(of("crepe"), tmp_path / "tone.wav", 16_000)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        features(of("crepe"), tmp_path / "tone.wav")


@pytest.mark.parametrize("name", HEARING)
def test_bad_samples_are_refused_by_all(of, name, undrawn):
    for bad, message in (
        (np.zeros(0, np.float32), "there are no samples"),
        (np.array([0, np.nan], np.float32), "sample 1 is nan"),
        (np.zeros((2, 9), np.float32), "one channel is taken"),
    ):
        with pytest.raises(ValueError, match=message):
            of(name)(bad)
        with pytest.raises(ValueError, match=message):
            of(name).transform(bad)


def test_what_is_shorter_than_a_window_cannot_be_cut(of, undrawn):
    with pytest.raises(ValueError, match="windows: 100 frames are shorter than a window of 187"):
        of("mel_cnn_1d").windows(np.zeros((1, 96, 100), np.float32))


def test_a_front_end_needs_no_library_of_the_extra_for_samples_at_its_rate(
    of, monkeypatch, undrawn
):
    for name in ("librosa", "soundfile", "soxr", "sklearn"):
        monkeypatch.setitem(sys.modules, name, None)
    assert features(models.deep_salience(), tone(22_050, 0.1), 22_050).shape == (1, 6, 360, 9)


def test_every_front_end_differs_and_says_what_it_is(of, undrawn):
    texts = {repr(of(name)) for name in HEARING}
    # The two mel taggers hear the same, and so do all FCNs but the one with other poolings.
    assert len(texts) == len(HEARING) - 1 - 3
    assert all(text.startswith(("Mel(", "ConstantQ(", "Waveform(")) for text in texts)
    assert front_end.VERSION >= 1
