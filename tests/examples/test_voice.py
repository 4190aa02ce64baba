"""The example on voices: its bars, its pictures, and recordings of one's own."""

import json

import numpy as np
import pytest
import soundfile

from tests.examples.conftest import load


def songs(folder, splits, rate=22_050, seconds=6):
    """Write recordings in which a tone is the voice, above noise, and the table."""
    rng = np.random.default_rng(0)
    rows = ["file,start,end,split"]
    for i, split in enumerate(splits):
        times = np.arange(rate * seconds) / rate
        start = rng.uniform(0.5, 3)
        voice = np.sin(2 * np.pi * rng.uniform(200, 800) * times)
        samples = 0.02 * rng.standard_normal(len(times))
        samples += 0.3 * voice * ((times >= start) & (times < start + 2))
        soundfile.write(folder / f"{i}.wav", samples, rate)
        rows.append(f"{i}.wav,{start:.4f},{start + 2:.4f},{split}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_trees_and_network_are_judged_on_the_same_songs(quick):
    figures, _ = quick("voice")
    assert figures["data"] == "generated songs"
    assert figures["parameters"] == 1_408_225
    assert figures["baselines"]["boosted trees on MFCC, frame_error"] < 0.3


def test_a_short_training_learns_something_of_voices(quick):
    figures, folder = quick("voice")
    assert figures["metrics"]["frame_error"] < 0.45
    lines = (folder / "pitch, time and filters" / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["valid_loss"] < 0.66  # 0.69 knows nothing


def test_pictures_show_curves_augmentations_and_a_clip(quick):
    figures, folder = quick("voice")
    for name in ("voice.png", "augmentations.png", "curves.png"):
        assert (folder / name).stat().st_size > 10_000
    assert figures["picture"] == "voice.png"


def test_recordings_of_ones_own_are_learned(tmp_path):
    data = songs(tmp_path, ["train"] * 6 + ["valid", "test"])
    figures = load("voice").main(data=data, quick=True, out=tmp_path / "run")
    assert figures["data"] == str(tmp_path)
    assert set(figures["augmentations"]) == {"pitch, time and filters"}


def test_too_few_recordings_are_named(tmp_path):
    data = songs(tmp_path, ["train"] * 2)
    with pytest.raises(ValueError, match="2 tracks are too few for 3 parts"):
        load("voice").main(data=data, quick=True, out=tmp_path / "run")


@pytest.mark.training
def test_the_whole_training_reaches_its_bar(tmp_path):
    figures = load("voice").main(out=tmp_path)
    error = figures["metrics"]["frame_error"]
    assert error <= 0.08
    assert error < figures["baselines"]["boosted trees on MFCC, frame_error"]
    assert figures["seconds"] < 300
