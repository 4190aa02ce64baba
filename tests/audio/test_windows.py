"""Long sounds in windows: the same as in one piece, or as in a loop that says what is meant."""

import functools
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from minicnn import Tensor, audio, models, nn, no_grad, ops
from minicnn.audio import stream, windows
from minicnn.audio.feature_set import TrackFeatures

soundfile = pytest.importorskip("soundfile")
soxr = pytest.importorskip("soxr")


def rng(seed=0):
    return np.random.default_rng(seed)


def noise(n, seed=0):
    return (0.1 * rng(seed).standard_normal(n)).astype(np.float32)


def together(*arguments, **options):
    return np.concatenate(list(stream.blocks(*arguments, **options)))


@pytest.mark.parametrize("n", [1, 2, 1000, stream.BLOCK, 3 * stream.BLOCK + 7])
@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 96_000])
def test_a_stream_is_what_reading_and_resampling_at_once_gives(n, rate, tmp_path):
    path, stereo = tmp_path / "a.wav", noise((n, 2))
    soundfile.write(path, stereo, 44_100, subtype="FLOAT")
    mono = stereo.mean(axis=1)
    wanted = soxr.resample(mono, 44_100, rate, quality="HQ")
    streamed = together(path, rate=rate)
    assert streamed.dtype == np.float32
    assert len(streamed) == -(-n * rate // 44_100)
    shared = min(len(streamed), len(wanted))  # soxr itself rounds where librosa rounds up
    assert shared >= len(streamed) - 1
    assert np.allclose(streamed[:shared], wanted[:shared], atol=1e-6)
    assert np.allclose(together(mono, 44_100, rate), streamed, atol=1e-6)
    assert np.allclose(together(str(path)), mono, atol=1e-7)


def test_no_block_is_long_however_long_the_sound():
    blocks = list(stream.blocks(noise(10 * stream.BLOCK), 16_000, 8000))
    assert max(map(len, blocks)) <= stream.BLOCK
    assert len(together(noise(10))) == 10


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*nothing.wav"):
        together(tmp_path / "nothing.wav")
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(ValueError, match="text.wav' is no whole sound file: Format not recognised"):
        together(tmp_path / "text.wav")
    soundfile.write(tmp_path / "empty.wav", noise(0), 8000)
    with pytest.raises(ValueError, match="empty.wav' holds no samples"):
        together(tmp_path / "empty.wav")
    bad = noise(2 * stream.BLOCK)
    bad[stream.BLOCK + 5] = np.nan
    soundfile.write(tmp_path / "nan.wav", bad, 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match="nan.wav': sample 65,541 is nan"):
        together(tmp_path / "nan.wav")
    soundfile.write(tmp_path / "whole.flac", noise(200_000), 8000)
    whole = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cut.flac' is no whole sound file"):
        together(tmp_path / "cut.flac")
    with pytest.raises(ValueError, match=r"nan.wav' has 8000 Hz; sample_rate is 9000"):
        together(tmp_path / "nan.wav", 9000)


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
def test_a_file_that_ends_before_it_should_is_named(part, tmp_path):
    soundfile.write(tmp_path / "whole.mp3", noise(10 * 44_100), 44_100)
    whole = (tmp_path / "whole.mp3").read_bytes()
    (tmp_path / "cut.mp3").write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ValueError, match=r"cut.mp3' is cut off: [\d,]+ of [\d,]+ samples are"):
        together(tmp_path / "cut.mp3")
    assert len(together(tmp_path / "whole.mp3")) == 441_000


def test_samples_that_are_none_are_refused():
    with pytest.raises(TypeError, match="samples are int16; floats are taken"):
        together(np.zeros(9, np.int16))
    with pytest.raises(ValueError, match=r"samples have shape \(9, 2\); one channel"):
        together(np.zeros((9, 2)))
    with pytest.raises(ValueError, match="the samples holds no samples"):
        together(np.zeros(0))
    with pytest.raises(ValueError, match="from 0 to 8000 Hz; rates are finite and above 0"):
        together(np.zeros(9), 0, 8000)


@pytest.mark.parametrize("missing", ["soundfile", "soxr"])
def test_what_is_not_installed_is_named(missing, tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", noise(9), 8000)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ModuleNotFoundError, match=rf'{missing}.*pip install "minicnn\[audio\]"'):
        together(tmp_path / "a.wav", rate=9000)


def mean_and_first(x):
    """A network of two outputs, (N, 2)."""
    x = x.numpy()
    return np.stack([x.mean(axis=(1, 2)), x[:, 0, 0]], axis=1)


def slow_clips(samples, window, hop):
    """Return the windows that `pieces` says there are, and their middles."""
    n, starts = len(samples), []
    while not starts or starts[-1] + hop + window <= n:
        starts.append(starts[-1] + hop if starts else 0)
    if starts == [0] and n <= window:
        return [window / 2], [np.pad(samples, (0, window - n))]
    if starts[-1] + window < n and starts[-1] + hop < n:
        starts.append(n - window)
    return [s + window / 2 for s in starts], [samples[s : s + window] for s in starts]


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 300), st.integers(1, 60), st.integers(1, 90), st.integers(1, 5))
def test_every_window_has_an_answer(n, window, hop, batch_size):
    samples = noise(n)
    found = windows.predict(
        mean_and_first, samples, window=window, hop=hop, batch_size=batch_size, rate=10
    )
    middles, heard = slow_clips(samples, window, hop)
    assert np.allclose(found.times, np.array(middles) / 10)
    assert np.allclose(found.values, [[x.mean(), x[0]] for x in heard], atol=1e-6)


def test_windows_of_a_stream_of_many_blocks_are_those_of_the_samples():
    samples = noise(5 * stream.BLOCK + 99)
    for window, hop in ((100_000, 70_000), (100, 150_000), (stream.BLOCK, stream.BLOCK)):
        found = windows.predict(mean_and_first, samples, window=window, hop=hop, rate=1)
        middles, heard = slow_clips(samples, window, hop)
        assert np.array_equal(found.times, middles)
        assert np.allclose(found.values, [[x.mean(), x[0]] for x in heard], atol=1e-6)


def test_answers_are_pooled():
    found = windows.Prediction(np.arange(3.0), np.array([[1.0, 5], [2, 0], [6, 1]]))
    assert found.pool().tolist() == [3, 2]
    assert found.pool("max").tolist() == [6, 5]
    with pytest.raises(ValueError, match="pool: how is 'median'; it takes 'mean' or 'max'"):
        found.pool("median")


FRAME = 10


def position(x):
    """Return the number of each frame in what is heard, one row per frame."""
    return np.arange(1 + x.shape[-1] // FRAME, dtype=np.float64)[:, None]


def slow_average(n, window, hop):
    """Return what `position` says of overlapping windows, averaged."""
    total, weights = np.zeros(1 + n // FRAME), np.zeros(1 + n // FRAME)
    start = 0
    while True:
        last = start + window >= n
        rows = 1 + (n - start) // FRAME if last else window // FRAME
        for row in range(rows):
            weight = min(row + 1, rows - row)
            total[start // FRAME + row] += weight * row
            weights[start // FRAME + row] += weight
        if last:
            return total / weights
        start += hop


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 400), st.integers(1, 9), st.data())
def test_windows_that_overlap_are_averaged(n, length, data):
    window = FRAME * length
    hop = FRAME * data.draw(st.integers(1, length))
    found = windows.predict(position, noise(n), window=window, hop=hop, frame=FRAME, rate=100)
    assert np.allclose(found.times, np.arange(1 + n // FRAME) / 10)
    if hop == window:
        wanted = np.arange(1 + n // FRAME) % length
        if n % window == 0:
            wanted[-1] = length  # the frame at the very end belongs to the last window
    else:
        wanted = slow_average(n, window, hop)
    assert np.allclose(found.values[:, 0], wanted)


def test_a_window_that_ends_with_a_block_is_not_the_last():
    window = stream.BLOCK // 2
    found = windows.predict(
        lambda x: np.arange(1 + x.shape[-1] // 8)[:, None],
        noise(3 * stream.BLOCK),
        window=window,
        frame=8,
        rate=1,
    )
    assert np.array_equal(found.times, 8 * np.arange(1 + 3 * stream.BLOCK // 8))
    assert np.array_equal(found.values[:-1, 0], np.arange(3 * stream.BLOCK // 8) % (window // 8))


def centred(samples, size, hop):
    """Return centred frames (1 + m // hop, size) of samples, with silence around."""
    padded = np.pad(samples, (size // 2, size - size // 2))
    return sliding_window_view(padded, size)[::hop][: 1 + len(samples) // hop]


def spectra(samples, channels, bins, hop, size=256):
    """Return a cheap spectrogram (1, channels, bins, 1 + m // hop)."""
    filters = rng(1).standard_normal((size, channels * bins)).astype(np.float32)
    frames = np.log1p(np.abs(centred(samples, size, hop) @ filters))
    return frames.T.reshape(1, channels, bins, -1)


def padded_spectra(samples, channels, bins, hop, around):
    """Return the same, with the first and the last frame repeated."""
    x = spectra(samples, channels, bins, hop)
    return np.pad(x, ((0, 0), (0, 0), (0, 0), (around, around)), mode="edge")


@pytest.mark.parametrize("build", [models.onset_cnn, models.voice_cnn])
def test_a_network_that_slides_answers_in_blocks_as_in_one_piece(build):
    model = build(rng=0)
    channels, bands, n_frames = model.input_shape
    around, hop = n_frames // 2, model.hop_length
    front_end = functools.partial(
        padded_spectra, channels=channels, bins=bands, hop=hop, around=around
    )
    options = dict(frame=hop, front_end=front_end, call=model.slide, time_axis=-1)
    samples = noise(130 * hop + 11)
    whole = windows.predict(model, samples, window=1000 * hop, **options)
    assert whole.values.shape == (131, 1)
    assert np.allclose(whole.times, np.arange(131) * hop / model.sample_rate)
    spread = whole.values.std()
    context = (around + 1) * hop
    blocks = windows.predict(model, samples, window=64 * hop, context=context, **options)
    assert np.abs(blocks.values - whole.values).max() < 1e-3 * spread
    assert np.array_equal(blocks.times, whole.times)
    without = windows.predict(model, samples, window=64 * hop, **options)
    assert np.abs(without.values - whole.values).max() > 0.1 * spread


def test_deep_salience_answers_in_blocks_as_in_one_piece():
    model = models.deep_salience(rng=0)
    hop = model.hop_length
    front_end = functools.partial(spectra, channels=6, bins=360, hop=hop)
    options = dict(frame=hop, front_end=front_end, time_axis=-1)
    samples = noise(40 * hop)
    whole = windows.predict(model, samples, window=100 * hop, **options).values
    assert whole.shape == (41, 360)
    for window, overlap in ((16, 16), (16, 8)):
        blocks = windows.predict(
            model, samples, window=window * hop, hop=overlap * hop, context=9 * hop, **options
        ).values
        assert np.abs(blocks - whole).max() < 1e-5 * np.abs(whole).max()
    # Without context the borders of blocks show; where they overlap, they show less.
    hard, soft = (
        np.abs(windows.predict(model, samples, window=16 * hop, hop=step, **options).values - whole)
        for step in (16 * hop, 8 * hop)
    )
    assert hard.max() > 1e-3 * np.abs(whole).max()
    assert soft.max() < hard.max()


@pytest.mark.parametrize("build", [models.onset_cnn, models.voice_cnn, models.crepe])
def test_a_network_of_the_lecture_says_itself_how_sounds_are_cut(build):
    """In blocks, sliding where it can, as its front end and it itself say in one piece."""
    model = build(rng=0) if build is not models.crepe else build("tiny", rng=0)
    rate = model.sample_rate
    samples = noise(int(2.3 * rate) + 11)
    cut = windows.cut_for(model, seconds=1)
    blocks = windows.predict(model, samples, **cut).values
    x = audio.features(model.eval(), samples, rate)
    with no_grad():
        whole = model(Tensor(x)).numpy()
    assert cut["window"] / rate == pytest.approx(1, abs=0.01)
    assert blocks.shape == whole.shape
    assert np.abs(blocks - whole).max() < 1e-3 * whole.std()
    default = windows.predict(model, samples)
    assert np.allclose(default.times, np.arange(len(whole)) * cut["frame"] / rate)
    assert np.abs(default.values - whole).max() < 1e-3 * whole.std()


def test_a_network_for_clips_says_itself_how_long_they_are():
    model = models.sample_cnn(rng=0)
    samples = noise(3 * 59_049)
    found = windows.predict(model, samples, activation=ops.sigmoid)
    assert found.values.shape == (3, 50)
    assert np.allclose(found.times, (np.arange(3) + 0.5) * 59_049 / 22_050)
    assert windows.predict(model, samples, hop=29_525).values.shape[0] == 5
    with pytest.raises(ValueError, match="without a window, the network's class says how to cut"):
        windows.predict(model, samples, frame=160)


def test_features_that_are_there_are_heard_as_sounds_are():
    model = models.mel_cnn_1d(rng=0)
    window = model.n_frames * model.hop_length
    sounds = [noise(n * window, seed=n) for n in (1, 3)]
    front_end = audio.FrontEnd.of(model)
    features = TrackFeatures(front_end, ("a", "b"), tuple(map(front_end.transform, sounds)), ())
    options = dict(scale=lambda x: x / 2, activation=ops.sigmoid)
    found = windows.predict_features(model, features, **options, batch_size=2)
    assert [each.values.shape for each in found] == [(1, 50), (3, 50)]
    for i, sound in enumerate(sounds):
        # Its last frame also hears what follows the window.
        wanted = windows.predict(model, sound[: window - model.hop_length], **options)
        assert np.allclose(found[i].times, features.times(i))
        assert np.allclose(found[i].values[0], wanted.values[0], atol=0.02)
    assert model.training


@pytest.mark.parametrize("name", ["fcn3", "recommender"])
def test_a_tagger_of_any_length_gets_windows_of_the_papers_length(name, undrawn):
    model = getattr(models, name)(rng=0)
    heard = []

    def call(x):
        heard.append(x.numpy())
        return np.zeros((len(x), 7))

    window = (model.n_frames - 1) * model.hop_length
    samples = noise(2 * window + 5)
    cut = windows.cut_for(model)
    found = windows.predict(model, samples, call=call, **cut)
    assert cut["window"] == window
    assert found.values.shape == (3, 7)
    wanted = audio.features(model, samples[:window], model.sample_rate)
    assert heard[0].shape[1:] == model.input_shape
    assert np.array_equal(heard[0][:1], wanted)


def test_deep_salience_hears_blocks_against_the_loudest_of_the_whole_sound(tmp_path):
    model = models.deep_salience(rng=0).eval()
    rate = model.sample_rate
    samples = noise(6 * rate + 11) * np.float32(1e-4)
    samples[5 * rate :] *= 1e4  # far more than 80 dB below what comes at the end
    with no_grad():
        whole = model(Tensor(audio.features(model, samples, rate))).numpy()[0].T
    cut = windows.cut_for(model, seconds=2)
    found = windows.predict(model, samples, **cut)
    assert found.values.shape == whole.shape
    assert np.allclose(found.times, np.arange(len(whole)) * 256 / rate)
    assert np.abs(found.values - whole).max() < 1e-3 * whole.std()
    soundfile.write(tmp_path / "a.wav", samples, rate, subtype="FLOAT")
    from_file = windows.predict(model, tmp_path / "a.wav", window=256 * 200)
    assert np.abs(from_file.values - whole).max() < 1e-3 * whole.std()


def test_a_window_alone_leaves_the_rest_to_the_networks_class():
    model = models.mel_cnn_1d(rng=0)
    window = 186 * 256
    samples = noise(2 * window)
    found = windows.predict(model, samples, window=window)
    assert np.array_equal(found.values, windows.predict(model, samples).values)
    with pytest.raises(ValueError, match="makes 2 inputs of a window"):
        windows.predict(model, samples, window=2 * window + 256)


def test_inputs_are_scaled_as_those_of_the_training_set_were():
    model = models.onset_cnn(rng=0).eval()
    samples = noise(44_100)
    mean = rng(1).standard_normal((3, 80, 1)).astype(np.float32)
    found = windows.predict(model, samples, scale=lambda x: (x - mean) / 2)
    with no_grad():
        wanted = model((audio.features(model, samples, 44_100) - mean) / 2).numpy()
    assert np.abs(found.values - wanted).max() < 1e-3 * wanted.std()


def pitch_frames(samples):
    """Return CREPE's input: normalised frames of 1024 samples every 10 ms."""
    frames = centred(samples, 1024, 160)
    deviation = frames.std(axis=1, keepdims=True).clip(1e-8)
    return ((frames - frames.mean(axis=1, keepdims=True)) / deviation)[:, None]


def test_crepe_answers_every_10_ms_and_in_blocks_as_in_one_piece(tmp_path):
    model = models.crepe("tiny", rng=0)
    soundfile.write(tmp_path / "a.wav", noise(33_000), 44_100, subtype="FLOAT")
    options = dict(frame=160, front_end=pitch_frames, activation=ops.sigmoid)
    path = tmp_path / "a.wav"
    found = windows.predict(model, path, window=3200, context=640, batch_size=7, **options)
    whole = windows.predict(model, path, window=160_000, **options)
    assert np.allclose(found.times, np.arange(75) / 100)
    assert found.values.shape == (75, 360)
    assert np.allclose(found.values, whole.values, atol=1e-5)
    assert found.values.min() > 0  # probabilities
    best = windows.predict(model, path, window=3200, decode=lambda v: v.argmax(axis=1), **options)
    assert best.values.shape == (75,)


def test_a_clip_has_one_answer_that_is_pooled_from_windows():
    model = models.mel_cnn_1d(rng=0)
    hop, frames = model.hop_length, model.n_frames
    length = (frames - 1) * hop
    front_end = functools.partial(spectra, channels=1, bins=model.n_mels, hop=hop)
    samples = noise(3 * length)
    found = windows.predict(
        model, samples, window=length, hop=length // 2, front_end=front_end, activation=ops.sigmoid
    )
    assert found.values.shape == (5, 50)
    model.eval()
    alone = [
        ops.sigmoid(model(front_end(samples[s : s + length]))).numpy()[0]
        for s in range(0, 2 * length + 1, length // 2)
    ]
    assert np.allclose(found.values, alone, atol=1e-5)
    assert np.allclose(found.pool(), np.mean(alone, axis=0), atol=1e-5)


class Dropping(nn.Module):
    """Outputs change in training, and sizes of batches are noted."""

    sample_rate = 100

    def __init__(self):
        self.dropout = nn.Dropout(0.5, rng=0)
        self.weight = nn.Parameter(np.ones((1, 1, 1), np.float32))
        self.frozen = nn.BatchNorm1d(1).eval()
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        y = self.dropout(x) * self.weight
        assert not y.requires_grad
        return y.sum(axis=(1, 2))


def test_a_model_is_evaluated_and_then_as_it_was():
    model = Dropping()
    samples = np.ones(70, np.float32)
    for piece in windows.pieces(model, samples, window=10, batch_size=3):
        assert model.training  # between pieces too
        assert model.dropout.training
        assert not model.frozen.training
        assert (piece.values == 10).all()
        assert (Tensor(np.ones(1)) * model.weight).requires_grad
    assert model.batches == [3, 3, 1]
    with pytest.raises(ZeroDivisionError):
        windows.predict(model, samples, window=10, call=lambda x: 1 / 0)
    assert model.training


def test_a_front_end_may_change_what_it_gets():
    def doubled(samples):
        samples *= 2
        return samples[None, None]

    samples = noise(100)
    before = samples.copy()
    found = windows.predict(mean_and_first, samples, window=50, hop=10, rate=1, front_end=doubled)
    assert np.allclose(found.values[:, 1], 2 * before[:51:10])
    assert np.array_equal(samples, before)


def test_what_a_window_becomes_must_fit():
    samples = noise(100)
    with pytest.raises(ValueError, match="makes 2 inputs of a window of 50 samples"):
        windows.predict(
            mean_and_first, samples, window=50, rate=1, front_end=lambda s: s.reshape(2, 1, -1)
        )
    with pytest.raises(ValueError, match="60 samples became 1 frames; every 10 .* make 7"):
        windows.predict(mean_and_first, samples, window=50, frame=10, context=10, rate=1)
    with pytest.raises(ValueError, match="there are 6 outputs; with time_axis -1 it is one"):
        windows.predict(position, samples, window=50, frame=10, rate=1, time_axis=-1)


def test_lengths_must_fit():
    for wrong, message in (
        (dict(window=0), "window is 0; it is a whole number >= 1"),
        (dict(window=9, hop=0.5), "hop is 0.5"),
        (dict(window=9, frame=0), "frame is 0"),
        (dict(window=9, batch_size=0), "batch_size is 0"),
        (dict(window=9, context=-1, frame=1), "context is -1; it is a whole number >= 0"),
        (dict(window=9, context=3), "context is 3, which takes a frame as well"),
        (dict(window=9, frame=2), "window 9, hop 9 and context 0 must be multiples of frame 2"),
        (dict(window=8, hop=12, frame=2), "and hop at most window"),
    ):
        with pytest.raises(ValueError, match=f"windows: .*{message}"):
            windows.predict(mean_and_first, noise(20), rate=1, **wrong)
    with pytest.raises(ValueError, match="rate is None; it takes the network's sample rate"):
        windows.predict(mean_and_first, noise(20), window=9)


def test_a_bar_shows_seconds(capfd):
    windows.predict(mean_and_first, noise(3000), 300, window=100, rate=100, progress=True)
    shown = capfd.readouterr().err
    assert "10.0/10.0" in shown
    windows.predict(mean_and_first, noise(3000), window=100, rate=100)
    assert not capfd.readouterr().err


LONG = """
    import sys
    from pathlib import Path
    import numpy as np
    from minicnn import models, ops
    from minicnn.audio import windows

    model = models.mel_cnn_1d(rng=0)
    hop, n = model.hop_length, model.n_frames
    filters = np.random.default_rng(0).standard_normal((hop, model.n_mels)).astype(np.float32)

    def front_end(samples):
        return np.abs(samples.reshape(n, hop) @ filters).T[None, None]

    found = windows.predict(
        model, sys.argv[1], window=n * hop, front_end=front_end, activation=ops.sigmoid
    )
    # Not `getrusage`: a process that is started has the peak of the one that starts it.
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(found.times[-1], len(found.values), peak)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells memory")
def test_three_hours_take_less_than_500_megabytes(tmp_path):
    path, block = tmp_path / "long.wav", noise(44_100)
    with soundfile.SoundFile(path, "w", 44_100, 1) as file:
        for _ in range(3 * 3600):
            file.write(block)
    command = [sys.executable, "-c", textwrap.dedent(LONG), path]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    last, count, kibibytes = map(float, output.split())
    window = 187 * 256 / 16_000
    assert count == np.ceil(3 * 3600 / window)
    assert last == pytest.approx(3 * 3600 - window / 2, abs=1e-3)
    assert kibibytes < 500_000


@pytest.mark.parametrize("build", [models.onset_cnn, models.voice_cnn, models.deep_salience])
def test_a_spectrogram_that_is_there_is_answered_as_its_sound(build):
    model = build(rng=0)
    samples = noise(130 * model.hop_length)
    transformed = audio.FrontEnd.of(model).transform(samples)
    options = dict(scale=lambda x: (x + 5) / 3, activation=ops.sigmoid)
    wanted = windows.predict(model, samples, **options).values
    found = windows.predict_frames(model, transformed, window=50, **options)
    assert found.shape == wanted.shape
    assert len(found) == 131
    assert np.allclose(found, wanted, atol=1e-3 * wanted.std())


@pytest.mark.parametrize("build", [lambda: models.crepe("tiny"), models.fcn4])
def test_only_networks_that_slide_frame_by_frame_answer_for_spectrograms(build):
    with pytest.raises(TypeError, match="predict_frames: .* does not slide frame by frame"):
        windows.predict_frames(build(), np.zeros((1, 80, 200), np.float32))
