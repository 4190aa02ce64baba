"""Several pitches at once by deep salience."""

import numpy as np
import pytest

from minicnn import experiment
from tests.examples.conftest import load

salience = load("salience")


def test_the_quick_run_finds_pitches(quick):
    figures, out = quick("salience")
    assert figures["metrics"]["accuracy"] > 0.2
    assert figures["parameters"] == 406_253
    assert {"salience.png", "curves.png"} <= {path.name for path in out.iterdir()}


@pytest.mark.training
def test_the_default_is_right_about_60_percent_and_more_than_peaks_of_harmonics(tmp_path):
    figures = salience.main(out=tmp_path)
    assert figures["metrics"]["accuracy"] >= 0.6
    assert figures["metrics"]["accuracy"] > max(figures["baselines"].values())
    assert figures["seconds"] < 300


def test_a_folder_of_recordings_takes_the_place_of_generated_ones(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    rows = ["file,time,frequency"]
    for i, pitches in enumerate(((110, 165), (220,), (262, 330, 392), (440, 550))):
        t = np.arange(22_050) / 22_050
        tones = [np.sin(2 * np.pi * pitch * k * t) / k for pitch in pitches for k in range(1, 5)]
        soundfile.write(tmp_path / f"{i}.wav", sum(tones) / 8, 22_050)
        times = np.arange(0, 1, 0.01)
        rows += [f"{i}.wav,{time:.2f},{pitch}" for time in times for pitch in pitches]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    figures = salience.main(data=str(tmp_path), quick=True, out=tmp_path / "run")
    assert figures["data"] == str(tmp_path)
    assert 0 <= figures["metrics"]["accuracy"] <= 1
    assert (tmp_path / "run" / "salience.png").is_file()


def test_a_folder_that_is_not_there_ends_with_one_line(tmp_path):
    arguments = ["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit, match="salience: .*nowhere") as error:
        experiment.command_line(salience.main, arguments)
    assert "\n" not in str(error.value)
