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
