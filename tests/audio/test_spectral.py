"""Spectra against librosa where it has the same, and against their definitions, written as sums."""

import numpy as np
import pytest

from minicnn.audio import spectral
from minicnn.audio.compression import Decibels, Log1p, LogFloor
from minicnn.axes import MelBands

librosa = pytest.importorskip("librosa")

RATE = 22_050


def sound(n=RATE, dtype=np.float32):
    """Return four tones in noise."""
    time = np.arange(n) / RATE
    tones = sum(np.sin(2 * np.pi * f * time) for f in (110, 440, 1234, 5000)) / 5
    noise = np.random.default_rng(0).standard_normal(n)
    return (tones + 0.05 * noise).astype(dtype)


def distance(ours, theirs):
    """Return the largest difference as a part of the largest value."""
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-6), (np.float64, 1e-12)])
@pytest.mark.parametrize(("n_fft", "hop_length"), [(512, 256), (1024, 315), (2048, 441)])
@pytest.mark.parametrize("n", [RATE, 2560, 30])
@pytest.mark.filterwarnings("ignore:n_fft=:UserWarning")  # librosa finds 30 samples few
def test_the_fourier_transform_is_that_of_librosa(n, n_fft, hop_length, dtype, tolerance):
    samples = sound(n, dtype)
    ours = spectral.stft(samples, n_fft, hop_length)
    assert ours.dtype == np.result_type(dtype, np.complex64)
    assert distance(ours, librosa.stft(samples, n_fft=n_fft, hop_length=hop_length)) < tolerance


@pytest.mark.parametrize("periodic", [True, False])
def test_the_fourier_transform_is_its_sum(periodic):
    samples, n_fft, hop_length, frame, k = sound(3000, np.float64), 64, 20, 37, 5
    window = np.hanning(n_fft + periodic)[:n_fft]
    total = 0
    for i in range(n_fft):
        at = frame * hop_length - n_fft // 2 + i
        total += window[i] * samples[at] * np.exp(-2j * np.pi * k * i / n_fft)
    found = spectral.stft(samples, n_fft, hop_length, periodic=periodic)
    assert found[k, frame] == pytest.approx(total, rel=1e-10)


@pytest.mark.parametrize("htk", [False, True])
@pytest.mark.parametrize(
    ("sample_rate", "n_fft", "n_mels", "fmin", "fmax"),
    [
        (16_000, 512, 96, 0.0, 8000.0),
        (22_050, 1024, 128, 0.0, 11_025.0),
        (44_100, 4096, 80, 27.5, 16_000.0),
    ],
)
def test_mel_filters_are_those_of_librosa(sample_rate, n_fft, n_mels, fmin, fmax, htk):
    ours = spectral.mel_filters(MelBands(n_mels, fmin, fmax, htk), sample_rate, n_fft)
    theirs = librosa.filters.mel(
        sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, htk=htk
    )
    # librosa writes HTK's scale with 2595 log10 where this is 1127 ln: 4e-6 apart.
    assert distance(ours, theirs) < (1e-4 if htk else 1e-6)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_mel_spectrograms_are_those_of_librosa(power):
    bands = MelBands(96, 0.0, 8000.0)
    ours = spectral.mel_spectrogram(sound(), RATE, 512, 256, bands, power=power)
    theirs = librosa.feature.melspectrogram(
        y=sound(), sr=RATE, n_fft=512, hop_length=256, n_mels=96, fmax=8000, power=power
    )
    assert ours.dtype == np.float32
    assert distance(ours, theirs) < 2e-6


def test_long_music_is_transformed_in_parts_that_fit_together():
    samples = sound(spectral._BLOCK * 32 * 2 + 77)
    bands = MelBands(10, 0.0, 8000.0)
    whole = spectral.mel_spectrogram(samples, RATE, 64, 32, bands)
    assert whole.shape == (10, 2 * spectral._BLOCK + 3)
    at = spectral._BLOCK - 5
    part = spectral.mel_spectrogram(samples[at * 32 :], RATE, 64, 32, bands)
    assert np.allclose(whole[:, at + 1 :], part[:, 1:], rtol=1e-5)


def slow_yaafe(sample_rate, n_fft, n_mels, fmin, fmax):
    """Return Schlüter & Grill's filters, bin by bin."""
    mels = np.linspace(1127 * np.log1p(fmin / 700), 1127 * np.log1p(fmax / 700), n_mels + 2)
    corners = 700 * np.expm1(mels / 1127)
    filters = np.zeros((n_mels, n_fft // 2 + 1))
    for i, (low, top, high) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        hertz = [k * sample_rate / n_fft for k in range(n_fft // 2 + 1)]
        rising = [k for k, f in enumerate(hertz) if low <= f < top]
        falling = [k for k, f in enumerate(hertz) if top <= f < high]
        for k in rising:
            filters[i, k] = (hertz[k] - low) / len(rising)
        for k in falling:
            filters[i, k] = (high - hertz[k]) / len(falling)
        filters[i] /= filters[i].sum()
    return filters


def test_the_filters_of_the_voice_network_are_those_of_its_authors():
    ours = spectral.mel_filters(MelBands(80, 27.5, 8000.0, htk=True), RATE, 1024, "yaafe")
    assert np.allclose(ours, slow_yaafe(RATE, 1024, 80, 27.5, 8000.0), atol=1e-12)
    assert np.allclose(ours.sum(axis=1), 1)
    assert not ours[:, 372:].any()  # as their program says, which leaves these bins out


def slow_madmom(sample_rate, n_fft, n_mels, fmin, fmax):
    """Return madmom's filters, bin by bin."""
    mels = np.linspace(1127 * np.log1p(fmin / 700), 1127 * np.log1p(fmax / 700), n_mels + 2)
    corners = [round(700 * np.expm1(mel / 1127) * n_fft / sample_rate) for mel in mels]
    filters = np.zeros((n_mels, n_fft // 2 + 1))
    for i, (low, top, high) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        if high - low < 2:
            filters[i, low] = 1
            continue
        for k in range(low, high):
            filters[i, k] = (k - low) / (top - low) if k < top else (high - k) / (high - top)
        filters[i] /= filters[i].sum()
    return filters


@pytest.mark.parametrize("n_fft", [1024, 2048, 4096])
def test_the_filters_of_the_onset_network_are_those_of_madmom(n_fft):
    ours = spectral.mel_filters(MelBands(80, 27.5, 16_000.0, htk=True), 44_100, n_fft, "madmom")
    assert np.allclose(ours, slow_madmom(44_100, n_fft, 80, 27.5, 16_000.0), atol=1e-12)
    assert np.allclose(ours.sum(axis=1), 1)


def test_filters_are_kept_and_cannot_be_written_to():
    filters = spectral.mel_filters(MelBands(20, 0.0, 8000.0), RATE, 512)
    assert filters is spectral.mel_filters(MelBands(20, 0.0, 8000.0), RATE, 512)
    with pytest.raises(ValueError, match="read-only"):
        filters[0, 0] = 1


def test_there_are_three_kinds_of_filters():
    with pytest.raises(ValueError, match="mel_filters: kind is 'bark'; it takes 'slaney', 'yaafe'"):
        spectral.mel_filters(MelBands(20, 0.0, 8000.0), RATE, 512, "bark")


def slow_constant_q(samples, sample_rate, hop_length, frequency, bins_per_octave, frame):
    """Return one magnitude, as a sum over the samples that its window covers."""
    ratio = 2 ** (2 / bins_per_octave)
    length = (ratio + 1) / (ratio - 1) * sample_rate / frequency
    total = weights = 0
    for step in range(-int(length / 2), int(length / 2) + 1):
        weight = 0.5 + 0.5 * np.cos(2 * np.pi * step / length)
        weights += weight
        at = frame * hop_length + step
        if 0 <= at < len(samples):
            turn = np.exp(-2j * np.pi * frequency * step / sample_rate)
            total += weight * turn * samples[at]
    return np.sqrt(length) * np.abs(total) / weights


SALIENCE = dict(fmin=32.7, n_bins=360, bins_per_octave=60)
SPIRAL = dict(fmin=55.0, n_bins=96, bins_per_octave=12)


@pytest.mark.parametrize(
    ("options", "sample_rate", "hop_length"), [(SALIENCE, RATE, 256), (SPIRAL, 44_100, 1024)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_constant_q_transform_is_its_sum(options, sample_rate, hop_length, dtype):
    samples = sound(RATE, dtype)
    ours = spectral.constant_q(samples, sample_rate, hop_length, **options)
    assert ours.dtype == dtype
    assert ours.shape == (options["n_bins"], 1 + RATE // hop_length)
    for k in range(0, options["n_bins"], 19):
        frequency = options["fmin"] * 2 ** (k / options["bins_per_octave"])
        for frame in (0, 7, ours.shape[1] - 1):
            slow = slow_constant_q(
                samples, sample_rate, hop_length, frequency, options["bins_per_octave"], frame
            )
            # Long windows do not hear what is further than _REACH away.
            assert abs(ours[k, frame] - slow) < 1e-5 * ours.max()


@pytest.mark.parametrize(
    ("options", "sample_rate", "hop_length", "tolerance"),
    [(SALIENCE, RATE, 256, 0.01), (SPIRAL, 44_100, 1024, 0.05)],
)
@pytest.mark.filterwarnings("ignore:n_fft=:UserWarning")  # librosa finds 2 s few
def test_the_constant_q_transform_is_near_that_of_librosa(
    options, sample_rate, hop_length, tolerance
):
    samples = sound(2 * RATE)
    ours = spectral.constant_q(samples, sample_rate, hop_length, **options)
    theirs = np.abs(librosa.cqt(samples, sr=sample_rate, hop_length=hop_length, **options))
    # librosa leaves out the smallest 1 % of each filter, and what its resampling takes away.
    assert distance(ours, theirs[:, : ours.shape[1]]) < tolerance


@pytest.mark.parametrize("hop_length", [256, 300])
def test_a_tone_is_as_loud_as_half_the_root_of_the_window(hop_length):
    time = np.arange(2 * RATE) / RATE
    k = 12 * 3
    tone = np.cos(2 * np.pi * 55 * 2 ** (k / 12) * time)
    found = spectral.constant_q(tone, RATE, hop_length, fmin=55.0, n_bins=60, bins_per_octave=12)
    middle = found[:, found.shape[1] // 2]
    ratio = 2 ** (2 / 12)
    length = (ratio + 1) / (ratio - 1) * RATE / 440
    assert middle.argmax() == k
    assert middle[k] == pytest.approx(np.sqrt(length) / 2, rel=1e-3)


def test_partials_of_a_tone_lie_in_one_bin_of_all_harmonics():
    time = np.arange(2 * RATE) / RATE
    k = 150
    frequency = 32.7 * 2 ** (k / 60)
    tone = sum(np.sin(2 * np.pi * frequency * h * time) for h in (1, 2, 3, 4, 5))
    found = spectral.harmonic_constant_q(tone.astype(np.float32), RATE, 256, **SALIENCE)
    assert found.shape == (6, 360, 1 + 2 * RATE // 256)
    middle = found[1:, :, 80]
    assert (middle[:, k - 10 : k + 11].argmax(axis=1) == 10).all()
    # Windows are h times shorter there, and magnitudes go with their roots.
    assert np.allclose(middle[:, k] * np.sqrt([1, 2, 3, 4, 5]), middle[0, k], rtol=1e-3)


def test_each_harmonic_is_a_transform_that_begins_there():
    samples = sound()
    found = spectral.harmonic_constant_q(samples, RATE, 256, **SALIENCE)
    for channel, h in enumerate((0.5, 1, 2, 3, 4, 5)):
        alone = spectral.constant_q(samples, RATE, 256, **{**SALIENCE, "fmin": 32.7 * h})
        assert np.allclose(found[channel], alone, atol=1e-4 * alone.max())


BINS = dict(fmin=110.0, n_bins=24, bins_per_octave=12)


def transforms(samples, hop_length=256):
    """Yield each transform, to be called on samples."""
    bands = MelBands(40, 0.0, 8000.0)
    yield lambda: spectral.stft(samples, 512, hop_length)
    yield lambda: spectral.mel_spectrogram(samples, RATE, 1024, hop_length, bands)
    yield lambda: spectral.constant_q(samples, RATE, hop_length, **BINS)
    yield lambda: spectral.harmonic_constant_q(samples, RATE, hop_length, **BINS)


@pytest.mark.parametrize("kind", [np.int16, np.int64, np.float16, np.complex64, bool])
def test_samples_are_floats(kind):
    for transform in transforms(np.ones(1000, kind)):
        with pytest.raises(TypeError, match=f": samples are {np.dtype(kind)}; float32 or float64"):
            transform()


def test_samples_have_one_axis_and_lengths_are_above_0():
    for transform in transforms(np.ones((2, 1000))):
        with pytest.raises(ValueError, match=r": samples have shape \(2, 1000\); it takes \(n,\)"):
            transform()
    for hop_length in (0, -1, 2.5):
        for transform in transforms(sound(), hop_length):
            with pytest.raises(ValueError, match=f": hop_length is {hop_length}; it takes a whole"):
                transform()
    with pytest.raises(ValueError, match="stft: n_fft is 0; it takes a whole number >= 1"):
        spectral.stft(sound(), 0, 256)
    for name in ("n_bins", "bins_per_octave"):
        with pytest.raises(ValueError, match=f"constant_q: {name} is 0; it takes a whole number"):
            spectral.constant_q(sound(), RATE, 256, **{**BINS, name: 0})
    with pytest.raises(ValueError, match="constant_q: fmin is 0 Hz; it must be finite and above"):
        spectral.constant_q(sound(), RATE, 256, **{**BINS, "fmin": 0})
    with pytest.raises(ValueError, match="sample_rate is -1; it must be finite and above 0"):
        spectral.constant_q(sound(), -1, 256, **BINS)


@pytest.mark.filterwarnings("ignore:Empty filters:UserWarning")  # librosa's, which goes on
def test_a_band_without_a_bin_is_refused():
    theirs = librosa.filters.mel(sr=RATE, n_fft=256, n_mels=128)
    empty = np.count_nonzero(theirs.max(axis=1) == 0)
    assert empty
    with pytest.raises(ValueError, match=f"{empty} of 128 bands hold none of the bins of n_fft 25"):
        spectral.mel_filters(MelBands(128, 0.0, 11_025.0), RATE, 256)


def test_a_band_whose_weights_cannot_add_up_to_1_is_refused():
    bands = MelBands(80, 27.5, 8000.0, htk=True)
    with np.errstate(invalid="ignore"):
        empty = np.isnan(slow_yaafe(RATE, 256, 80, 27.5, 8000.0)).any(axis=1).sum()
    assert empty
    with pytest.raises(ValueError, match=f"mel_filters: {empty} of 80 bands hold none"):
        spectral.mel_filters(bands, RATE, 256, "yaafe")


def test_a_band_above_half_the_sample_rate_is_refused():
    with pytest.raises(ValueError, match="bands reach up to 8,000 Hz; 8,000 Hz hold less than 4,0"):
        spectral.mel_filters(MelBands(20, 0.0, 8000.0), 8000, 1024)


def test_a_bin_above_half_the_sample_rate_cannot_listen():
    with pytest.raises(
        ValueError, match=r"listens at 13,290 Hz and up to 13,865 Hz; .* less than 11,025"
    ):
        spectral.constant_q(sound(), RATE, 256, **SPIRAL)


def test_the_ear_is_weighted_as_librosa_does():
    frequencies = 55 * 2 ** (np.arange(96) / 12)
    theirs = 10 ** (librosa.A_weighting(frequencies) / 10)
    assert np.allclose(spectral.a_weighting(frequencies), theirs, rtol=1e-6)
    assert spectral.a_weighting([0.0, 1000.0]) == pytest.approx([1e-8, 1], rel=2e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("compression", "expected"),
    [
        (Log1p(10_000, base=10), lambda x: np.log10(1 + 10_000 * x)),
        (Log1p(1000), lambda x: np.log(1 + 1000 * x)),
        (LogFloor(1e-7), lambda x: np.log(np.maximum(x, 1e-7))),
        (Decibels(), lambda x: librosa.power_to_db(x, ref=1.0, top_db=80)),
        (Decibels(reference=None), lambda x: librosa.power_to_db(x, ref=x.max(), top_db=80)),
        (Decibels(power=False, reference=0.5), lambda x: librosa.amplitude_to_db(x, ref=0.5)),
        (Decibels(dynamic_range=None), lambda x: librosa.power_to_db(x, ref=1.0, top_db=None)),
    ],
)
def test_loudness_is_that_of_the_formula(compression, expected, dtype):
    x = np.random.default_rng(0).random((40, 50)).astype(dtype) ** 20
    x[0] = 0
    y = compression(x)
    assert y.dtype == dtype
    assert np.allclose(y, expected(x.astype(np.float64)), rtol=1e-5, atol=1e-4)


def test_the_reference_is_the_loudest_of_all_channels():
    x = np.array([[1.0, 0.1, 0.0], [0.5, 1e-9, 0.01]], np.float32)
    y = Decibels(power=False, reference=None, unit=True)(x)
    assert np.allclose(y[0], [1, 0.75, 0], atol=1e-6)
    assert np.allclose(y[1], [1 - 20 * np.log10(2) / 80, 0, 0.5], atol=1e-6)


@pytest.mark.parametrize("level", [0, 1e-12])
def test_silence_is_not_its_own_loudest(level):
    silence = np.full((2, 3), level, np.float32)
    assert (Decibels(power=False, reference=None, unit=True)(silence) == 0).all()
    assert (Decibels(reference=None)(silence) == -80).all()
    assert np.allclose(Decibels()(silence), -100)
    assert not Log1p(1000)(np.zeros(3, np.float32)).any()


def test_nothing_at_all_has_no_loudness():
    for compression in (Decibels(), Decibels(reference=None), Log1p(1), LogFloor(1)):
        assert compression(np.zeros((3, 0), np.float32)).shape == (3, 0)


def test_a_unit_needs_a_range():
    with pytest.raises(ValueError, match="Decibels: unit takes a dynamic_range"):
        Decibels(dynamic_range=None, unit=True)
