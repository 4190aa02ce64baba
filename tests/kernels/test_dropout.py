"""The counter-based generator, and what dropout and noise make of it."""

import numpy as np
import pytest
from minicnn.kernels.reference.philox import normal, philox, uniform

from minicnn import kernels

implementations = pytest.mark.parametrize(
    "k", [kernels.reference, kernels.cpu], ids=["reference", "cpu"]
)


def test_philox_gives_the_known_answer_for_zero():
    # The first known-answer vector of philox4x32-10 that comes with Random123.
    words = philox(np.zeros(1, np.uint64), 0)[:, 0]
    assert [f"{word:08x}" for word in words] == ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]


def philox_by_the_book(counter, key):
    """Return the words of one counter of four words and a key of two, in Python's own numbers."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        first, second = a * 0xD2511F53, c * 0xCD9E8D57
        a, b = (second >> 32) ^ b ^ k0, second & 0xFFFFFFFF
        c, d = (first >> 32) ^ d ^ k1, first & 0xFFFFFFFF
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return a, b, c, d


def test_philox_agrees_with_all_known_answers_of_random123():
    ones = 0xFFFFFFFF
    assert philox_by_the_book((ones,) * 4, (ones,) * 2) == (
        0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD,
    )  # fmt: skip
    digits = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
    assert philox_by_the_book(*digits) == (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)
    for counter in (0, 1, 2**32 + 5, 2**63 - 1):
        for key in (0, 7, 2**40 + 3, 2**63 - 1):
            words = philox(np.array([counter], np.uint64), key)[:, 0].tolist()
            low, high = counter & ones, counter >> 32
            book = philox_by_the_book((low, high, 0, 0), (key & ones, key >> 32))
            assert tuple(words) == book


def test_philox_words_are_distinct_and_their_bits_balanced():
    many = philox(np.arange(2**14, dtype=np.uint64), 12345)
    assert len(np.unique(many[0] << np.uint64(32) | many[1])) == 2**14
    bits = np.unpackbits(many.astype("<u4").view(np.uint8)).mean()
    assert abs(bits - 0.5) < 0.002


def test_each_element_of_a_stream_depends_on_its_position_alone():
    like = np.zeros(0)
    long = uniform(like, (1000,), 3)
    assert np.array_equal(uniform(like, (10, 7), 3).ravel(), long[:70])


def test_uniform_numbers_fill_the_unit_interval_evenly():
    values = uniform(np.zeros(0, np.float32), (100_000,), 5)
    counts, _ = np.histogram(values, bins=10, range=(0, 1))
    assert values.min() >= 0
    assert values.max() < 1
    assert abs(counts / 10_000 - 1).max() < 0.04


def test_normal_numbers_have_the_moments_of_the_normal_distribution():
    values = normal(np.zeros(0), (100_000,), 5)
    moments = [float((values**power).mean()) for power in (1, 2, 3, 4)]
    assert moments == pytest.approx([0, 1, 0, 3], abs=0.08)
    below = [float((values < border).mean()) for border in (-2, -1, 0, 1, 2)]
    assert below == pytest.approx([0.0228, 0.1587, 0.5, 0.8413, 0.9772], abs=0.005)


@implementations
def test_noise_has_the_deviation_that_was_asked_for(k):
    x = np.full(100_000, 3.0)
    noise = k.gaussian_noise(x, 0.25, 1) - x
    assert noise.std() == pytest.approx(0.25, rel=0.01)
    assert noise.mean() == pytest.approx(0, abs=0.005)


@implementations
def test_dropout_zeroes_a_share_p_and_keeps_the_mean(k):
    x = np.ones((100, 1000), np.float32)
    y = k.dropout(x, 0.3, 1)
    assert (y == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert np.unique(y).tolist() == pytest.approx([0, 1 / 0.7])
    assert np.array_equal(k.dropout_grad(x, 0.3, 1), y)


@implementations
def test_spatial_dropout_zeroes_whole_channels(k):
    y = k.spatial_dropout(np.ones((50, 40, 3, 3), np.float32), 0.3, 1)
    assert ((y == 0).all(axis=(2, 3)) | (y != 0).all(axis=(2, 3))).all()
    assert (y[:, :, 0, 0] == 0).mean() == pytest.approx(0.3, abs=0.03)


@implementations
def test_another_seed_gives_another_mask(k):
    x = np.ones(1000)
    assert not np.array_equal(k.dropout(x, 0.5, 1), k.dropout(x, 0.5, 2))
