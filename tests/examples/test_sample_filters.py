"""What the filters of SampleCNN listen for: sounds that excite them, and spectra of these."""

import numpy as np
import pytest

import minicnn as mc
from minicnn import models

from .conftest import load


@pytest.fixture(scope="module")
def network():
    return models.sample_cnn(classes=3, rng=0)


def test_the_sounds_excite_their_own_filters_more_than_others_and_more_than_noise(network):
    script = load("sample_filters")
    sounds = script.sounds(network, 2, seed=0, steps=6)
    assert sounds.shape == (128, 729)
    assert sounds.dtype == np.float32
    noise = np.random.default_rng(1).standard_normal((128, 1, 729)).astype(np.float32)
    with mc.no_grad():
        found = script.excited(network, 2, sounds[:, None]).mean(axis=-1).numpy()
        of_noise = script.excited(network, 2, noise).mean(axis=-1).numpy()
    own = np.diag(found)
    assert (own > np.diag(of_noise)).mean() > 0.9
    assert (own > np.median(found, axis=0)).mean() > 0.9


def test_spectra_are_sorted_by_where_they_are_loudest():
    script = load("sample_filters")
    times = np.arange(729) / script.RATE
    pitches = script.HERTZ[[200, 10, 90]]
    levels = script.spectra(5 + np.sin(2 * np.pi * pitches[:, None] * times))
    assert levels.shape == (3, 365)
    assert levels.argmax(axis=1).tolist() == [10, 90, 200]
    assert np.allclose(levels.max(axis=1), 0)
