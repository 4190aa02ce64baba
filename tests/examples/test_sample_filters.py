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
    sounds = script.sounds(network, 2, seed=0, steps=6, most=40)
    assert sounds.shape == (40, 729)
    assert sounds.dtype == np.float32
    noise = np.random.default_rng(1).standard_normal((40, 1, 729)).astype(np.float32)
    with mc.no_grad():
        found = script.excited(network, 2, sounds[:, None]).mean(axis=-1).numpy()
        of_noise = script.excited(network, 2, noise).mean(axis=-1).numpy()
    own = np.diag(found)
    assert (own > np.diag(of_noise)).mean() > 0.9
    assert (own > np.median(found[:, :40], axis=0)).mean() > 0.9


def test_spectra_are_sorted_by_where_they_are_loudest():
    script = load("sample_filters")
    times = np.arange(729) / script.RATE
    pitches = script.HERTZ[[200, 10, 90]]
    levels = script.spectra(5 + np.sin(2 * np.pi * pitches[:, None] * times))
    assert levels.shape == (3, 365)
    assert levels.argmax(axis=1).tolist() == [10, 90, 200]
    assert np.allclose(levels.max(axis=1), 0)


def test_it_says_what_each_layer_listens_for_before_and_after_training(quick):
    figures, out = quick("sample_filters")
    trained, before = figures["median_peaks"].values()
    assert len(trained) == len(before) == 6
    assert trained != before
    assert all(0 < median < 11_025 for median in trained)
    assert (out / "spectra.png").exists()


def test_given_weights_are_looked_at_and_nothing_is_trained(network, tmp_path):
    mc.save(tmp_path / "weights.safetensors", network.state_dict())
    out = tmp_path / "run"
    figures = load("sample_filters").main(
        weights=tmp_path / "weights.safetensors", quick=True, out=out
    )
    (given,), (before,) = (figures[each].values() for each in ("metrics", "baselines"))
    assert given == before  # the weights are those that seed 0 begins with
    assert not (out / "last.safetensors").exists()


def test_weights_of_another_network_are_refused(tmp_path):
    mc.save(tmp_path / "other.safetensors", models.lenet5(rng=0).state_dict())
    with pytest.raises(ValueError, match="missing"):
        load("sample_filters").main(weights=tmp_path / "other.safetensors", out=tmp_path / "run")


@pytest.mark.training
def test_the_filters_of_upper_layers_come_to_listen_to_low_frequencies(tmp_path):
    figures = load("sample_filters").main(out=tmp_path)
    (trained,), (before,) = (figures[each].values() for each in ("metrics", "baselines"))
    assert trained > before + 0.1
    assert figures["seconds"] < 300
