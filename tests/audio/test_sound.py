"""Sound files of every kind: what is read, and what is said of those that cannot be."""

import sys

import numpy as np
import pytest

from minicnn.audio import sound

soundfile = pytest.importorskip("soundfile")
soxr = pytest.importorskip("soxr")


def tone(sample_rate=16_000, seconds=0.25, frequency=440.0):
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (0.5 * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def strongest(samples, sample_rate):
    """Return the frequency of the largest peak [Hz]."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * sample_rate / len(samples)


@pytest.mark.parametrize(
    ("suffix", "subtype", "tolerance"),
    [
        ("wav", "PCM_U8", 1 / 100),
        ("wav", "PCM_16", 1 / 30_000),
        ("wav", "PCM_24", 1e-6),
        ("wav", "PCM_32", 1e-6),
        ("wav", "FLOAT", 0),
        ("wav", "DOUBLE", 0),
        ("flac", "PCM_24", 1e-6),
        ("aiff", "PCM_16", 1 / 30_000),
        ("ogg", "VORBIS", 0.05),
        ("mp3", "MPEG_LAYER_III", 0.05),
    ],
)
def test_every_format_becomes_floats_of_full_scale_one(tmp_path, suffix, subtype, tolerance):
    written = tone(44_100)
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, written, 44_100, subtype=subtype)
    samples, sample_rate = sound.load(path)
    assert (samples.dtype, sample_rate) == (np.float32, 44_100)
    assert samples.shape == written.shape
    assert np.abs(samples - written).max() <= tolerance


def test_all_eight_channels_are_mixed(tmp_path):
    channels = np.stack([np.full(100, 0.1 * i, np.float32) for i in range(8)], axis=1)
    soundfile.write(tmp_path / "7.1.wav", channels, 48_000, subtype="FLOAT")
    samples, _ = sound.load(tmp_path / "7.1.wav")
    assert np.allclose(samples, 0.35)


def test_192_khz_come_down_without_aliases(tmp_path):
    written = tone(192_000, 0.5, 440) + tone(192_000, 0.5, 30_000)
    soundfile.write(tmp_path / "high.wav", written, 192_000, subtype="FLOAT")
    samples, sample_rate = sound.load(tmp_path / "high.wav", 16_000)
    assert (len(samples), sample_rate) == (8000, 16_000)
    assert strongest(samples, 16_000) == 440
    inner = slice(500, -500)
    assert np.abs(samples[inner] - tone(16_000, 0.5)[inner]).max() < 1e-3


@pytest.mark.parametrize(
    ("rates", "n"), [((44_100, 16_000), 44_101), ((8000, 22_050), 1), ((22_050, 12_000), 7)]
)
def test_resampling_is_that_of_librosa(rates, n):
    librosa = pytest.importorskip("librosa")
    samples = np.random.default_rng(0).standard_normal(n).astype(np.float32)
    ours = sound.resample(samples, *rates)
    theirs = librosa.resample(samples, orig_sr=rates[0], target_sr=rates[1])
    assert ours.dtype == np.float32
    assert np.array_equal(ours, theirs)


def test_the_own_rate_leaves_samples_as_they_are():
    samples = tone()
    assert sound.resample(samples, 16_000, 16_000) is samples


@pytest.mark.parametrize("rates", [(0, 16_000), (44_100, -1), (44_100, np.inf), (np.nan, 16_000)])
def test_a_rate_is_above_0(rates):
    with pytest.raises(ValueError, match="Hz; both rates must be finite and above 0"):
        sound.resample(tone(), *rates)


@pytest.mark.parametrize("rates", [(44_100, 16_000), (16_000, 16_000)])
def test_what_is_resampled_is_one_channel_of_floats(rates):
    with pytest.raises(ValueError, match=r"resample: samples have shape \(100, 2\); it takes \(n"):
        sound.resample(np.zeros((100, 2)), *rates)
    for kind in (np.int16, np.float16):
        with pytest.raises(TypeError, match=rf"resample: samples are {np.dtype(kind)}; float32"):
            sound.resample(np.zeros(100, kind), *rates)


def test_one_sample_silence_and_clipping_are_read_as_they_are(tmp_path):
    loud = np.clip(9 * tone(), -1, 1)
    for name, written in (("one", tone()[100:101]), ("silent", 0 * tone()), ("clipped", loud)):
        soundfile.write(tmp_path / f"{name}.wav", written, 16_000, subtype="FLOAT")
        assert np.array_equal(sound.load(tmp_path / f"{name}.wav")[0], written)


def test_floats_beyond_full_scale_are_kept(tmp_path):
    soundfile.write(tmp_path / "hot.wav", 5 * tone(), 16_000, subtype="FLOAT")
    assert np.array_equal(sound.load(tmp_path / "hot.wav")[0], 5 * tone())


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"load: there is no file '.*gone.wav'"):
        sound.load(tmp_path / "gone.wav")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        sound.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no sound at all, but some text\n" * 20])
def test_what_is_no_sound_is_named(tmp_path, content):
    (tmp_path / "text.wav").write_bytes(content)
    with pytest.raises(ValueError, match=r"load: '.*text.wav' is no whole sound file"):
        sound.load(tmp_path / "text.wav")


def test_raw_samples_do_not_say_what_they_are(tmp_path):
    (tmp_path / "tone.RAW").write_bytes(bytes(100))
    with pytest.raises(ValueError, match=r"load: '.*tone.RAW' is no whole sound file: raw samples"):
        sound.load(tmp_path / "tone.RAW")


def test_a_file_without_samples_is_named(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), 16_000)
    with pytest.raises(ValueError, match=r"load: '.*empty.wav': there are no samples"):
        sound.load(tmp_path / "empty.wav")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_counted(tmp_path, bad):
    written = tone()
    written[[123, 400]] = bad
    soundfile.write(tmp_path / "bad.wav", written, 16_000, subtype="FLOAT")
    message = r"load: '.*bad.wav': sample 123 is -?(nan|inf); 2 of 4,000 are not finite"
    with pytest.raises(ValueError, match=message):
        sound.load(tmp_path / "bad.wav", 8000)


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        ("wav", r"is cut off: .* of 640,000 bytes are there"),
        ("aiff", r"is cut off: .* bytes are there"),
        ("flac", "is no whole sound file"),
        ("mp3", r"is cut off: .* of 320,000 samples are there"),
        ("ogg", "(is cut off: its last page is missing|is no whole sound file)"),
        ("opus", "(is cut off: its last page is missing|is no whole sound file)"),
        ("au", r"is cut off: .* bytes are there"),
        ("w64", r"is cut off: .* bytes are there"),
        ("rf64", r"is cut off: .* bytes are there"),
        ("caf", r"(is no whole sound file|is cut off: .* bytes are there)"),
    ],
)
def test_a_file_that_was_cut_off_is_no_shorter_sound(tmp_path, suffix, message):
    path = tmp_path / f"tone.{suffix}"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 20 * 16_000)
    options = dict(opus=dict(format="OGG", subtype="OPUS")).get(suffix, {})
    soundfile.write(path, noise, 16_000, **options)
    assert len(sound.load(path)[0]) == len(noise)
    content = path.read_bytes()
    for part in (0.3, 0.5, 0.9, 0.999):
        path.write_bytes(content[: int(part * len(content))])
        with pytest.raises(ValueError, match=rf"load: '.*tone.{suffix}'.*{message}"):
            sound.load(path)


@pytest.mark.parametrize("declared", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_wav_from_a_pipe_does_not_know_its_length(tmp_path, declared):
    path = tmp_path / "piped.wav"
    soundfile.write(path, tone(), 16_000)
    content = bytearray(path.read_bytes())
    content[40:44] = declared.to_bytes(4, "little")
    path.write_bytes(content)
    assert len(sound.load(path)[0]) == 4000


@pytest.mark.parametrize(
    ("samples", "kind", "message"),
    [
        (np.zeros(10, np.int16), TypeError, "samples are int16; floats are taken"),
        (np.zeros(10, np.float16), TypeError, "samples are float16; float32 or float64 is taken"),
        (np.zeros((2, 10)), ValueError, r"samples have shape \(2, 10\); one channel is taken"),
        (np.zeros(0), ValueError, "there are no samples"),
        (np.array([0, 1, np.nan]), ValueError, "sample 2 is nan; 1 of 3 are not finite"),
    ],
)
def test_samples_are_one_channel_of_finite_floats(samples, kind, message):
    with pytest.raises(kind, match=message):
        sound.checked(samples)


def test_what_is_not_installed_is_named(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "tone.wav", tone(), 16_000)
    monkeypatch.setitem(sys.modules, "soxr", None)
    with pytest.raises(
        ModuleNotFoundError, match=r'resample: needs soxr.*pip install "minicnn\[audio\]"'
    ):
        sound.load(tmp_path / "tone.wav", 8000)
