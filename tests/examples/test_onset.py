"""The example on onsets: its bars, its pictures, and recordings of one's own."""

import numpy as np
import pytest
import soundfile

from tests.examples.conftest import load


def clicks(path, times, rate=22_050, seconds=1.5):
    """Write decaying noise that begins at these times [s]."""
    rng = np.random.default_rng(0)
    samples = 1e-4 * rng.standard_normal(round(rate * seconds))
    for time in times:
        first = round(time * rate)
        noise = rng.standard_normal(len(samples) - first)
        samples[first:] += 0.2 * noise * np.exp(-np.arange(len(noise)) / (0.02 * rate))
    soundfile.write(path, samples, rate)


def folder_of_clicks(folder, splits):
    """Write a file of clicks for each split, and the table."""
    rng = np.random.default_rng(1)
    rows = ["file,time,split"]
    for i, split in enumerate(splits):
        times = np.cumsum(rng.uniform(0.1, 0.3, 5))
        clicks(folder / f"{i}.wav", times)
        rows += [f"{i}.wav,{time:.4f},{split}" for time in times]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_a_short_training_finds_most_onsets(quick):
    figures, _ = quick("onset")
    assert figures["metrics"]["f_measure"] > 0.75
    assert figures["data"] == "generated polyphony"
    assert figures["parameters"] == 289_693


def test_pictures_show_filters_curves_and_onsets(quick):
    figures, folder = quick("onset")
    for name in ("onsets.png", "filters.png", "curves.png"):
        assert (folder / name).stat().st_size > 10_000
    assert figures["picture"] == "onsets.png"


def test_recordings_of_ones_own_are_learned(tmp_path):
    data = folder_of_clicks(tmp_path, ["train"] * 6 + ["valid", "test", "test"])
    figures = load("onset").main(data=data, quick=True, out=tmp_path / "run")
    assert figures["data"] == str(tmp_path)
    assert figures["metrics"]["f_measure"] > 0.8  # clicks are the easiest onsets


def test_too_few_recordings_are_named(tmp_path):
    data = folder_of_clicks(tmp_path, ["train"] * 2)
    with pytest.raises(ValueError, match="2 tracks are too few for 3 parts"):
        load("onset").main(data=data, quick=True, out=tmp_path / "run")


@pytest.mark.training
def test_the_whole_training_reaches_its_bar(tmp_path):
    figures = load("onset").main(out=tmp_path)
    assert figures["metrics"]["f_measure"] >= 0.90
    assert figures["metrics"]["f_measure"] > figures["baselines"]["spectral flux, f_measure"]
    assert figures["seconds"] < 300
