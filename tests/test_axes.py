"""What receptive fields are in milliseconds, hertz and cents."""

from fractions import Fraction

import numpy as np
import pytest

from minicnn.axes import ConstantQ, MelBands, Time

SLANEY = MelBands(80, 30, 8000)
HTK = MelBands(80, 27.5, 8000, htk=True)


def edges(bands):
    """Return the frequencies between which the filters lie, from widths alone."""
    widths = [bands.width(i + 1, 0) for i in range(bands.n_mels)]
    return bands.fmin + np.array(widths)


@pytest.mark.parametrize(
    ("axis", "steps", "milliseconds", "text"),
    [
        (Time(44100), 512, 512 / 44.1, "11.6 ms"),
        (Time(44100, 441), 15, 150, "150 ms"),
        (Time(16000), 1024, 64, "64 ms"),
        (Time(22050), 59049, 59049 / 22.05, "2,678 ms"),
        (Time(22050), 3, 3 / 22.05, "0.136 ms"),
        (Time(12000, 256), Fraction(1, 2), 32 / 3, "10.7 ms"),
        (Time(16000, 256), Fraction(125, 2), 1000, "1,000 ms"),
    ],
)
def test_steps_in_time_are_milliseconds(axis, steps, milliseconds, text):
    assert axis.milliseconds(steps) == pytest.approx(milliseconds)
    assert isinstance(axis.milliseconds(steps), float)
    assert axis.span(steps) == text


@pytest.mark.parametrize(
    ("bins", "cents", "text"),
    [(1, 20, "20 cents"), (5, 100, "100 cents"), (82, 1640, "1,640 cents")],
)
def test_bins_of_a_constant_q_transform_are_cents(bins, cents, text):
    axis = ConstantQ(360, 60, 32.7)
    assert axis.cents(bins) == cents
    assert axis.span(bins) == text


def test_half_a_bin_after_upsampling_is_half_as_many_cents():
    assert ConstantQ(360, 60, 32.7).span(Fraction(1, 2)) == "10 cents"


def test_no_field_spans_more_bins_than_there_are():
    assert ConstantQ(360, 60, 32.7).span(500) == "7,200 cents"


@pytest.mark.parametrize("bands", [SLANEY, HTK, MelBands(96, 0, 6000), MelBands(2, 0, 8000)])
def test_all_bands_and_more_span_the_lowest_to_the_highest_frequency(bands):
    assert bands.width(bands.n_mels, 0) == pytest.approx(bands.fmax - bands.fmin)
    assert bands.span(bands.n_mels) == bands.span(10 * bands.n_mels)
    assert bands.span(bands.n_mels) == f"{bands.width(bands.n_mels, 0):,.0f} Hz"


def test_on_slaneys_scale_bands_below_1_khz_are_equally_wide():
    # 15 mel are 1000 Hz: 14 filters with a peak at each mel between, and their feet one mel away.
    bands = MelBands(14, 0, 1000)
    assert [bands.width(1, first) for first in range(14)] == pytest.approx([2000 / 15] * 14)
    assert bands.span(1) == "133 Hz"


def test_on_slaneys_scale_27_mel_above_1_khz_are_a_factor_of_6_4():
    # Edges at 0, 1, ..., 42 mel, of which the 15th is 1000 Hz and the last one 6400 Hz.
    bands = MelBands(41, 0, 6400)
    assert bands.width(14, 0) == pytest.approx(1000)
    assert bands.width(26, 15) == pytest.approx(5400)
    assert bands.width(1, 40) == pytest.approx(6400 * (1 - 6.4 ** (-2 / 27)))


def test_on_the_htk_scale_a_mel_doubles_1_plus_f_over_700_as_often_as_it_does():
    # 1 + f / 700 is 1, 2, 4, 8 at 0, 700, 2100 and 4900 Hz: three equal steps of 1127 ln 2 mel.
    bands = MelBands(2, 0, 4900, htk=True)
    assert (bands.width(1, 0), bands.width(1, 1)) == pytest.approx((2100, 4200))
    assert bands.span(1) == "2,100 to 4,200 Hz"


def test_bands_widen_towards_the_top():
    # 27.5 and 8000 Hz are 43.4 and 2840.0 mel, an edge every 34.5 mel; the 5th edge is 122.34 Hz.
    assert HTK.width(3, 0) == pytest.approx(122.34 - 27.5, abs=0.01)
    assert HTK.span(3) == "94.8 to 1,003 Hz"


@pytest.mark.parametrize("bands", [SLANEY, HTK])
def test_edges_are_those_of_librosa(bands):
    librosa = pytest.importorskip("librosa")
    expected = librosa.mel_frequencies(
        bands.n_mels + 2, fmin=bands.fmin, fmax=bands.fmax, htk=bands.htk
    )
    assert edges(bands) == pytest.approx(expected[2:], rel=1e-5)
