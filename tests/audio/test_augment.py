"""Augmentations: each against a slow and obvious version, or what must be true of it."""

import pickle
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from minicnn.audio import augment
from minicnn.audio.augment import interpolation
from minicnn.data import ArrayDataset, DataLoader
from minicnn.workers import WorkerPool

bands = tuple(700 * np.expm1(np.linspace(50, 2840, 40) / 1127))  # even on the mel scale [Hz]
every = [
    augment.GaussianNoise(),
    augment.GaussianNoise((0.1, 0.2)),
    augment.InputDropout(),
    augment.Loudness(),
    augment.RandomFilter(bands),
    augment.RandomCrop(20),
    augment.StretchShift(frames=50),
    augment.StretchShift(frequencies=bands, order=2),
    augment.TimeWarp(10),
    augment.FrequencyMasks(),
    augment.TimeMasks(),
    augment.SpecAugment("SS", reach=10),
    augment.Sometimes(augment.Loudness(), 0.5),
    augment.Compose(augment.StretchShift(), augment.Apply(np.log1p), augment.GaussianNoise()),
]


def rng(seed=0):
    return np.random.default_rng(seed)


def spectrogram(dtype=np.float32, n=60):
    return rng().random((1, 40, n)).astype(dtype)


@pytest.mark.parametrize("change", every, ids=repr)
def test_a_batch_and_its_samples_one_by_one_are_the_same(change):
    x = rng(1).random((3, 1, 40, 60), np.float32)
    labels = np.arange(3)
    together, kept = change.batch(x, labels, rng=[5, 6, 7])
    alone = [change(x[i], labels[i], rng=5 + i)[0] for i in range(3)]
    assert np.array_equal(together, alone)
    assert np.array_equal(kept, labels)


@pytest.mark.parametrize("change", every, ids=repr)
def test_an_input_is_not_touched_and_its_dtype_stays(change):
    for dtype in (np.float32, np.float64):
        x = spectrogram(dtype)
        before = x.copy()
        x.flags.writeable = False
        assert change(x, rng=0).dtype == dtype
        assert np.array_equal(x, before)


@pytest.mark.parametrize("change", every, ids=repr)
def test_numbers_follow_from_the_seed_alone(change):
    x = spectrogram()
    wanted = [change(x, rng=seed) for seed in range(8)]
    copy = pickle.loads(pickle.dumps(change))
    assert all(np.array_equal(copy(x, rng=seed), wanted[seed]) for seed in range(8))
    assert any(not np.array_equal(wanted[0], other) for other in wanted[1:])


def test_numbers_are_the_same_in_another_process():
    x = spectrogram()
    with WorkerPool(1) as pool:
        elsewhere = [pool.submit(change, x, rng=7) for change in every]
        for change, future in zip(every, elsewhere, strict=True):
            assert np.array_equal(future.result(), change(x, rng=7))


def test_a_loader_finds_the_numbers_of_a_batch():
    change = augment.Compose(augment.StretchShift(framewise=(1,)), augment.GaussianNoise())
    x, labels = rng(1).random((4, 1, 40, 60), np.float32), rng(2).random((4, 60))
    loader = DataLoader(ArrayDataset(x, labels), batch_size=4, transform=change, rng=3)
    loaded = next(iter(loader))
    seeds = [rng(np.random.SeedSequence(3, spawn_key=(0, i))) for i in range(4)]
    for one, other in zip(loaded, change.batch(x, labels, rng=seeds), strict=True):
        assert np.array_equal(one, other)


def test_one_seed_serves_a_batch_and_gives_every_sample_its_own():
    x = np.zeros((2, 3), np.float32)
    noise = augment.GaussianNoise()
    assert np.array_equal(noise.batch(x, rng=1), noise.batch(x, rng=1))
    first, second = noise.batch(x, rng=1)
    assert not np.array_equal(first, second)
    with pytest.raises(ValueError, match=r"there are 3 seeds for arrays of lengths \[2\]"):
        noise.batch(x, rng=[1, 2, 3])
    with pytest.raises(ValueError, match=r"there are 2 seeds for arrays of lengths \[2, 1\]"):
        noise.batch(x, x[:1], rng=0)
    with pytest.raises(ValueError, match="the batch is empty"):
        noise.batch(x[:0], rng=0)


def test_whole_numbers_are_refused():
    with pytest.raises(TypeError, match="Loudness: the input is int16; it takes float32"):
        augment.Loudness()(np.zeros(4, np.int16))


def test_an_augmentation_must_say_what_it_does():
    with pytest.raises(NotImplementedError, match="Augmentation defines no _apply"):
        augment.Augmentation()(np.zeros(3))


def test_steps_follow_one_another_and_take_targets():
    steps = augment.Compose(augment.Apply(np.negative), augment.Apply(np.log2, part=1))
    x, label = steps(np.ones(2), 8.0, rng=0)
    assert x.tolist() == [-1, -1]
    assert label == 3
    assert repr(steps).startswith("Compose(Apply(function=")


def test_sometimes_is_as_often_as_it_says():
    change = augment.Sometimes(augment.Apply(np.negative), 0.3)
    done = [change(np.ones(1), rng=seed)[0] < 0 for seed in range(2000)]
    assert np.mean(done) == pytest.approx(0.3, abs=0.05)
    with pytest.raises(ValueError, match="Sometimes: p is 1.5; it is from 0 to 1"):
        augment.Sometimes(augment.Loudness(), 1.5)


def test_noise_has_its_deviation_and_no_mean():
    x = np.ones((200, 500))
    noise = augment.GaussianNoise(0.2)(x, rng=0) - x
    assert noise.std() == pytest.approx(0.2, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.005)
    drawn = [augment.GaussianNoise((0.1, 0.3))(x[:50], rng=i).std() for i in range(100)]
    assert 0.09 < min(drawn) < 0.12
    assert 0.28 < max(drawn) < 0.31
    assert np.array_equal(augment.GaussianNoise(0)(x), x)
    for bad in (-0.1, (0.3, 0.1), (-1, 1)):
        with pytest.raises(ValueError, match="GaussianNoise: deviation is .*; it is 0 or more"):
            augment.GaussianNoise(bad)


def test_dropout_takes_what_it_says_and_keeps_the_mean():
    x = np.full((300, 300), 2.0)
    y = augment.InputDropout(0.2)(x, rng=0)
    assert np.mean(y == 0) == pytest.approx(0.2, abs=0.01)
    assert np.allclose(y[y != 0], 2.5)
    for bad in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"InputDropout: p is .*; it lies in \[0, 1\)"):
            augment.InputDropout(bad)


def in_decibels(x, scale):
    return {
        "magnitude": lambda: 20 * np.log10(x),
        "power": lambda: 10 * np.log10(x),
        "log": lambda: 20 * x / np.log(10),
        "decibels": lambda: x,
    }[scale]()


@pytest.mark.parametrize("scale", ["magnitude", "power", "log", "decibels"])
def test_a_gain_is_the_same_on_every_scale(scale):
    x = 1 + rng().random((1, 40, 6))
    for make in (augment.Loudness, lambda **how: augment.RandomFilter(bands, **how)):
        change, other = make(scale=scale), make(scale="decibels")
        gains = in_decibels(change(x, rng=1), scale) - in_decibels(x, scale)
        assert np.allclose(gains, other(x, rng=1) - x, atol=1e-9)
        assert np.abs(gains).max() > 0.1
    with pytest.raises(ValueError, match="Loudness: scale is 'loud'; it takes 'magnitude', "):
        augment.Loudness(scale="loud")


def test_gains_reach_10_decibels_up_and_down_and_no_further():
    gains = [augment.Loudness(scale="decibels")(np.zeros(1), rng=i)[0] for i in range(300)]
    assert -10 <= min(gains) < -9.7
    assert 9.7 < max(gains) <= 10
    with pytest.raises(ValueError, match="Loudness: decibels is -1; it is 0 or more"):
        augment.Loudness(-1)


def test_a_filter_is_a_bump_around_a_pitch_in_range():
    hertz = np.arange(1.0, 12_000)
    change = augment.RandomFilter(hertz, scale="decibels")
    peaks, heights = [], []
    for seed in range(600):
        gains = change(np.zeros((len(hertz), 2)), rng=seed)
        assert np.array_equal(gains[:, 0], gains[:, 1])
        curve = np.abs(gains[:, 0])
        top = curve.argmax()
        # A deviation above the centre it has fallen to exp(-1/2), 5 to 7 semitones higher.
        above = top + np.argmax(curve[top:] < curve[top] * np.exp(-0.5))
        if above > top:
            assert 4.9 < 12 * np.log2(hertz[above] / hertz[top]) < 7.1
        # As far below, in hertz, as far above.
        assert curve[2 * top - above] == pytest.approx(curve[above], rel=0.02)
        peaks.append(hertz[top])
        heights.append(gains[top, 0])
    assert 145 < min(peaks) < 160
    assert 7700 < max(peaks) < 8005
    assert np.log(peaks).mean() == pytest.approx(np.log([150, 8000]).mean(), abs=0.2)
    assert -10 <= min(heights) < -9.5
    assert 9.5 < max(heights) <= 10


def test_a_filter_needs_to_know_its_bins():
    with pytest.raises(ValueError, match=r"has shape \(1, 30, 60\); there are 40 frequencies"):
        augment.RandomFilter(bands)(spectrogram()[:, :30])
    with pytest.raises(ValueError, match=r"centres is \(0, 100\); it is 1 or more"):
        augment.RandomFilter(bands, centres=(0, 100))
    with pytest.raises(ValueError, match=r"widths is \(7, 5\)"):
        augment.RandomFilter(bands, widths=(7, 5))


def test_a_crop_begins_everywhere_and_takes_labels_along():
    x = np.arange(10.0)
    crops = [augment.RandomCrop(8, framewise=(1,))(x, np.arange(10), rng=i) for i in range(50)]
    assert {crop[0] for crop, _ in crops} == {0, 1, 2}
    for crop, labels in crops:
        assert np.array_equal(crop, crop[0] + np.arange(8))
        assert np.array_equal(crop, labels)
    assert np.array_equal(augment.RandomCrop(10)(x), x)
    with pytest.raises(ValueError, match="RandomCrop: the input has 10 frames; 11 are to be kept"):
        augment.RandomCrop(11)(x)
    with pytest.raises(ValueError, match=r"part 1 of the sample has shape \(9,\); it is framewise"):
        augment.RandomCrop(5, framewise=(1,))(x, np.zeros(9))
    with pytest.raises(ValueError, match="part 2 of the sample is not there"):
        augment.RandomCrop(5, framewise=(2,))(x, np.zeros(10))
    with pytest.raises(ValueError, match="length is 0; it takes a whole number >= 1"):
        augment.RandomCrop(0)


@pytest.mark.parametrize("order", [1, 2])
def test_values_between_frames_are_those_of_scipy(order):
    x = rng().standard_normal((3, 7, 20))
    for axis in (1, 2):
        n = x.shape[axis]
        positions = rng(1).uniform(0, n - 1, 15)
        found = interpolation.at(x, positions, axis=axis, order=order)
        grid = [np.arange(m, dtype=float) for m in x.shape]
        grid[axis] = positions
        places = np.meshgrid(*grid, indexing="ij")
        wanted = ndimage.map_coordinates(x, places, order=order, mode="mirror")
        assert np.allclose(found, wanted, atol=1e-10)


def test_a_pitch_shift_fills_the_bands_at_the_ends_or_lets_them_go_on():
    x = np.full((len(bands), 9), -3.0)
    filled = augment.StretchShift(0, 0.5, frequencies=bands)(x, rng=0)
    assert (filled == 0).any()
    going_on = augment.StretchShift(0, 0.5, frequencies=bands, fill=None)(x, rng=0)
    assert np.array_equal(going_on, x)


@pytest.mark.parametrize("order", [1, 2])
def test_beyond_the_ends_values_go_on_or_are_filled(order):
    x = np.array([3.0, 1.0, 2.0])
    assert np.allclose(interpolation.at(x, [-1.0, 0, 2, 5], order=order), [3, 3, 2, 2])
    filled = interpolation.at(x, [-1.0, 0, 2, 5], order=order, fill=-7)
    assert np.allclose(filled, [-7, 3, 2, -7])
    assert np.allclose(interpolation.at(x[:1], [-1.0, 0, 4], order=order), 3)
    with pytest.raises(ValueError, match="at: order is 3; it takes 1 or 2"):
        interpolation.at(x, [0], order=3)


def slow_labels(labels, positions):
    """Return labels by going through all old frames for each new one."""
    positions = np.clip(positions, 0, len(labels) - 1)
    moved = []
    for j, here in enumerate(positions):
        low = (positions[j - 1] + here) / 2 if j else here
        high = (here + positions[j + 1]) / 2 if j + 1 < len(positions) else here
        near = [label for i, label in enumerate(labels) if low <= i < high]
        moved.append(max([*near, labels[int(np.floor(here + 0.5))]]))
    return moved


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 10**6))
def test_labels_are_those_of_a_loop(n, m, seed):
    positions = np.sort(rng(seed).uniform(-1, n + 1, m))
    labels = rng(seed).integers(0, 5, n)
    found = interpolation.labels_at(labels, positions)
    assert found.tolist() == slow_labels(labels, positions)


@settings(deadline=None)
@given(st.integers(20, 80), st.integers(0, 10**6))
def test_no_onset_is_lost_in_time_that_is_compressed(onset, seed):
    labels = np.zeros(101)
    labels[onset] = 1
    x = np.broadcast_to(np.arange(101.0), (4, 101))
    moved, onsets = augment.StretchShift(0.3, 0, framewise=(1,))(x, labels, rng=seed)
    # The frames that are called onsets are those whose values are nearest to the old one's.
    if moved[0, 0] <= onset <= moved[0, -1]:
        assert onsets.any()
    assert np.abs(moved[0][onsets > 0] - onset).max(initial=0) <= 1


def factors(change, seed):
    """Return the stretch and the shift that a seed draws, read off ramps."""
    n, bins = 101, 64
    times = change(np.broadcast_to(np.arange(float(n)), (bins, n)).copy(), rng=seed)
    places = change(np.broadcast_to(np.arange(float(bins))[:, None], (bins, n)).copy(), rng=seed)
    return 1 / (times[0, 51] - times[0, 50]), 1 / (places[2, 50] - places[1, 50])


def test_stretch_and_shift_are_within_30_per_cent_and_reach_it():
    drawn = np.array([factors(augment.StretchShift(), seed) for seed in range(300)])
    assert (drawn >= 0.7).all()
    assert (drawn <= 1.3).all()
    assert (drawn.min(axis=0) < 0.71).all()
    assert (drawn.max(axis=0) > 1.29).all()
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.15


@pytest.mark.parametrize("seed", range(5))
def test_a_line_and_a_moment_move_to_where_they_belong(seed):
    change = augment.StretchShift(frames=115)
    stretch, shift = factors(augment.StretchShift(), seed)
    x = np.zeros((1, 372, 164))
    x[:, 200], x[:, :, 100] = 1, 2
    y = change(x, rng=seed)
    assert y.shape == (1, 372, 115)
    row, column = y[0, :, 10], y[0, 20]
    assert abs(row.argmax() - 200 * shift) <= 0.5
    assert abs(column.argmax() - (57 + (100 - 82) * stretch)) <= 0.5
    top = int(371 * shift) + 1
    assert not y[0, top + 1 :].any()  # nothing is known from above


def test_the_middle_frame_stays_in_the_middle():
    for n, kept in ((164, 115), (115, 115), (50, 20)):
        x = np.zeros((4, n))
        x[:, n // 2] = 1
        for seed in range(10):
            y = augment.StretchShift(0.5, 0, frames=kept)(x, rng=seed)
            assert np.array_equal(y[:, kept // 2], np.ones(4))
            assert y[0].argmax() == kept // 2


def test_a_line_moves_on_a_mel_axis_to_the_band_of_its_new_frequency():
    for seed in range(20):
        x = np.zeros((40, 9))
        x[25] = 1
        y, pitch = augment.StretchShift(frequencies=bands, hertz=(1,))(x, bands[25], rng=seed)
        assert abs(y[:, 4].argmax() - np.interp(pitch, bands, np.arange(40))) < 0.8
        assert 0.7 <= pitch / bands[25] <= 1.3


def test_on_a_constant_q_axis_all_moves_by_the_same_number_of_bins():
    axis = 32.7 * 2 ** (np.arange(120) / 60)
    change = augment.StretchShift(0, 0.05, frequencies=axis, hertz=(1,), binwise=(2,))
    x = np.zeros((6, 120, 9))
    x[:, 40], x[:, 90] = 1, 1
    for seed in range(10):
        y, factor, salience = change(x, 1.0, x[0], rng=seed)
        bins = 60 * np.log2(factor)
        for channel in y:
            peaks = np.flatnonzero(channel[:, 4] >= 0.5)
            assert set(np.round([40 + bins, 90 + bins])) <= set(peaks)
        assert np.allclose(salience, y[0])


def test_as_the_published_code_does_it_in_one_affine_transform():
    x = rng().random((100, 164))
    change = augment.StretchShift(frames=115, bins=70, order=2)
    for seed in range(5):
        stretch, shift = factors(augment.StretchShift(), seed)
        offset = (0, 82 - 57 / stretch)
        wanted = ndimage.affine_transform(
            x, np.diag((1 / shift, 1 / stretch)), offset, (70, 115), order=2, mode="mirror"
        )
        known = int(99 * shift)
        found = change(x, rng=seed)
        assert found.shape == (70, 115)
        assert np.allclose(found[:known], wanted[:known], atol=1e-9)
        assert not found[known + 1 :].any()


def test_stretching_says_what_does_not_fit():
    with pytest.raises(ValueError, match="StretchShift: stretch is 1.2; it is from 0 to 0.99"):
        augment.StretchShift(1.2)
    with pytest.raises(ValueError, match="StretchShift: shift is -1; it is from 0 to 0.99"):
        augment.StretchShift(0, -1)
    with pytest.raises(ValueError, match="frequencies do not rise"):
        augment.StretchShift(frequencies=(2, 1))
    with pytest.raises(ValueError, match=r"the input has shape \(9,\); it takes"):
        augment.StretchShift()(np.zeros(9))
    with pytest.raises(ValueError, match=r"has shape \(30, 9\); there are 40 frequencies"):
        augment.StretchShift(frequencies=bands)(np.zeros((30, 9)))
    with pytest.raises(ValueError, match=r"part 1 of the sample has shape \(\); it is framewise"):
        augment.StretchShift(framewise=(1,))(np.zeros((3, 9)), 0.5)
    with pytest.raises(ValueError, match="StretchShift: order is 3; it takes 1 or 2"):
        augment.StretchShift(order=3)
    for name in ("frames", "bins"):
        with pytest.raises(ValueError, match=f"{name} is -1; it takes a whole number >= 1"):
            augment.StretchShift(**{name: -1})
    with pytest.raises(ValueError, match="at: order is 0"):
        interpolation.at(np.zeros(9), [1], order=0)


@pytest.mark.parametrize("kind", [np.int64, np.uint8, bool])
def test_a_map_of_whole_numbers_has_nothing_between_its_bins(kind):
    change, x = augment.StretchShift(binwise=(1,)), np.ones((30, 9))
    with pytest.raises(TypeError, match=rf"part 1 of the sample is {np.dtype(kind)}; .* float32"):
        change(x, x.astype(kind))
    with pytest.raises(ValueError, match=r"part 1 .* shape \(8, 9\); .* the input has 30 bins"):
        change(x, x[:8])
    with pytest.raises(ValueError, match=r"part 1 .* shape \(9,\); .* the input has 30 bins"):
        change(x, x[0])


def test_numbers_are_numbers_and_ranges_have_two_ends():
    for change, options, message in (
        (augment.Loudness, dict(decibels=(1, 2)), r"decibels is \(1, 2\); it takes a number"),
        (augment.StretchShift, dict(stretch=(0.1, 0.2)), "it takes a number"),
        (augment.FrequencyMasks, dict(width=(1, 2)), "it takes a number"),
        (augment.RandomFilter, dict(frequencies=bands, centres=500.0), "it takes two numbers"),
        (augment.RandomFilter, dict(frequencies=bands, widths=(1, 2, 3)), "takes two numbers"),
        (augment.GaussianNoise, dict(deviation=(1, 2, 3)), "it takes a number or two numbers"),
        (augment.RandomCrop, dict(length=1.5), "length is 1.5; it takes a whole number >= 1"),
        (augment.WaveformStretch, dict(length=0), "length is 0; it takes a whole number >= 1"),
        (augment.WaveformShift, dict(sample_rate=1, n_fft=0), "n_fft is 0; it takes a whole"),
    ):
        with pytest.raises(ValueError, match=f"{change.__name__}: .*{message}"):
            change(**options)


def slow_warp(row, point, to):
    last, warped = len(row) - 1, []
    for j in range(len(row)):
        part = (j - to) / (last - to)
        place = j * point / to if j < to else point + part * (last - point)
        low = min(int(place), last - 1)
        warped.append(row[low] + (place - low) * (row[low + 1] - row[low]))
    return warped


def test_a_warp_is_that_of_a_loop_and_leaves_the_ends():
    x = rng().random((3, 60))
    labels = np.arange(60)
    for seed in range(20):
        y, moved = augment.TimeWarp(20, framewise=(1,))(x, labels, rng=seed)
        draw = rng(seed)
        point = draw.uniform(20, 39)
        to = point + draw.uniform(-20, 20)
        assert np.allclose(y, [slow_warp(row, point, to) for row in x])
        assert np.array_equal(y[:, [0, -1]], x[:, [0, -1]])
        assert moved[0] == 0
        assert moved[-1] == 59
        assert (np.diff(moved) >= 0).all()


def test_a_warp_moves_a_frame_by_at_most_its_reach():
    ramp = np.arange(300.0)[None]
    moved = [np.abs(augment.TimeWarp(80)(ramp, rng=i)[0] - ramp[0]).max() for i in range(200)]
    assert max(moved) <= 80
    assert max(moved) > 60
    assert np.array_equal(augment.TimeWarp(0)(ramp), ramp)
    with pytest.raises(ValueError, match="none of 115 frames is 80 from both ends; .* at most 57"):
        augment.TimeWarp(80)(np.zeros((80, 115)))
    assert augment.TimeWarp(57)(np.zeros((80, 115))).shape == (80, 115)


def runs(masked):
    """Return the lengths of runs of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], masked.astype(int), [0]])))
    return edges[1::2] - edges[::2]


def test_one_mask_is_one_run_of_every_length_up_to_its_width():
    x = np.ones((2, 40, 100))
    for change, axis in ((augment.FrequencyMasks(6), 1), (augment.TimeMasks(6), 2)):
        lengths, places = set(), set()
        for seed in range(400):
            masked = change(x, rng=seed) == 0
            others = tuple({0, 1, 2} - {axis})
            along = masked.any(axis=others)
            assert np.array_equal(along, masked.all(axis=others))  # in all of the other axes
            found = runs(along)
            assert len(found) <= 1
            lengths.add(int(found.sum()))
            places.update(np.flatnonzero(along).tolist())
        assert lengths == set(range(7))
        assert places == set(range(x.shape[axis]))


def test_there_are_as_many_masks_as_asked_for():
    x = np.ones((2000, 3))
    masked = [augment.FrequencyMasks(5, 4)(x, rng=i)[:, 0] == 0 for i in range(100)]
    counts = [len(runs(each)) for each in masked]
    assert max(counts) == 4
    assert np.mean([each.sum() for each in masked]) == pytest.approx(4 * 2.5, rel=0.1)
    assert np.array_equal(augment.FrequencyMasks(5, 0)(x, rng=0), x)


def test_a_mask_is_no_longer_than_its_part_of_the_input_and_may_be_all_of_it():
    x = np.ones((40, 100))
    longest = max(int((augment.TimeMasks(70, 1, 0.2)(x, rng=i)[0] == 0).sum()) for i in range(300))
    assert longest == 20
    whole = [augment.FrequencyMasks(99, value=-3)(x[:4], rng=i) for i in range(50)]
    assert max((y[:, 0] == -3).sum() for y in whole) == 4
    with pytest.raises(ValueError, match="TimeMasks: fraction is 2; it is from 0 to 1"):
        augment.TimeMasks(fraction=2)
    with pytest.raises(ValueError, match="FrequencyMasks: width is -1; it is 0 or more"):
        augment.FrequencyMasks(-1)
    with pytest.raises(ValueError, match="TimeMasks: count is -1; it is 0 or more"):
        augment.TimeMasks(count=-1)


def test_policies_are_those_of_the_paper():
    table = {  # W, F, masks, T, p, masks
        "LB": (80, 27, 1, 100, 1.0, 1),
        "LD": (80, 27, 2, 100, 1.0, 2),
        "SM": (40, 15, 2, 70, 0.2, 2),
        "SS": (40, 27, 2, 70, 0.2, 2),
    }
    assert table == augment.POLICIES
    for name, (w, f, frequency_masks, t, p, time_masks) in table.items():
        warp, bins, frames = augment.SpecAugment(name, value=9, framewise=(1,)).steps
        assert warp == augment.TimeWarp(w, (1,))
        assert bins == augment.FrequencyMasks(f, frequency_masks, 9)
        assert frames == augment.TimeMasks(t, time_masks, p, 9)
    with pytest.raises(ValueError, match="SpecAugment: policy is 'XL'; it takes 'LB', "):
        augment.SpecAugment("XL")


def sine(hertz, n=22_050):
    return np.sin(2 * np.pi * hertz * np.arange(n) / 22_050)


def pitch_of(x):
    """Return the frequency of a sine, from the peak of its spectrum."""
    middle = x[len(x) // 4 : -len(x) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 18))
    return spectrum.argmax() * 22_050 / (1 << 18)


def test_a_waveform_is_shifted_in_pitch_by_at_most_two_semitones():
    pytest.importorskip("librosa")
    drawn = []
    for seed in range(6):
        x = sine(440).astype(np.float32)
        y, pitch = augment.WaveformShift(22_050, hertz=(1,))(x, 440.0, rng=seed)
        assert y.shape == x.shape
        assert y.dtype == np.float32
        assert pitch_of(y) == pytest.approx(pitch, rel=0.005)
        drawn.append(12 * np.log2(pitch / 440))
    assert max(np.abs(drawn)) <= 2
    assert max(drawn) - min(drawn) > 0.5


def test_a_waveform_is_stretched_around_its_middle_at_the_same_pitch():
    pytest.importorskip("librosa")
    x = sine(440)
    x[: 11_025 - 4000] = 0
    x[11_025 + 4000 :] = 0
    lengths = []
    for seed in range(6):
        y = augment.WaveformStretch(0.3)(x, rng=seed)
        assert y.shape == x.shape
        stretch = 1 + rng(seed).uniform(-1, 1) * 0.3
        loud = np.flatnonzero(np.abs(y) > 0.3)
        assert loud[-1] - loud[0] == pytest.approx(8000 * stretch, abs=700)
        assert loud[[0, -1]].mean() == pytest.approx(11_025, abs=500)
        assert pitch_of(y) == pytest.approx(440, rel=0.005)
        lengths.append(stretch)
    assert max(lengths) - min(lengths) > 0.1
    assert augment.WaveformStretch(0.3, length=5000)(x, rng=0).shape == (5000,)
    both = augment.WaveformStretch(0.3)(np.stack([x, sine(300)]), rng=0)
    assert np.allclose(both[0], augment.WaveformStretch(0.3)(x, rng=0), atol=1e-6)


def test_waveforms_must_be_as_long_as_a_window_and_librosa_must_be_there(monkeypatch):
    for change in (augment.WaveformShift(16_000), augment.WaveformStretch()):
        with pytest.raises(ValueError, match="has 1024 samples; a window has n_fft = 2048"):
            change(np.zeros(1024))
    monkeypatch.setitem(sys.modules, "librosa", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "minicnn\[audio\]"'):
        augment.WaveformStretch()(np.zeros(4096))
    with pytest.raises(ValueError, match="semitones is 50; it is from 0 to 48"):
        augment.WaveformShift(16_000, 50)
    with pytest.raises(ValueError, match="WaveformStretch: stretch is 1; it is from 0 to 0.99"):
        augment.WaveformStretch(1)
