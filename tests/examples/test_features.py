"""Sounds are drawn as networks hear them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from minicnn import experiment
from tests.examples.conftest import folder, load

pytest.importorskip("soxr")
soundfile = pytest.importorskip("soundfile")


@pytest.fixture
def tone(tmp_path):
    """Return a sound file: two seconds of an A with five partials."""
    seconds = np.arange(2 * 44_100) / 44_100
    samples = sum(np.sin(2 * np.pi * 220 * k * seconds) / k**2 for k in range(1, 6)) / 4
    soundfile.write(tmp_path / "tone.wav", samples, 44_100)
    return tmp_path / "tone.wav"


def test_a_piece_is_made_where_there_is_no_file(quick):
    figures, out = quick("features")
    assert figures["sound"] == "a synthesised piece"
    assert figures["metrics"] == {"sound [s]": 2.0}
    assert {path.name for path in out.glob("*.png")} == {"spectra.png", "harmonics.png"}


def test_a_file_is_named_by_its_place_on_the_command_line(tone, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(folder.parent)}
    command = [sys.executable, folder / "features.py", tone, "--out", tmp_path / "run"]
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    figures = json.loads(result.stdout.splitlines()[-1])
    assert figures["example"] == "features"
    assert (figures["sound"], figures["metrics"]["sound [s]"]) == ("tone.wav", 2)
    assert figures["loudest_note"] == "A3"
    assert (tmp_path / "run" / figures["picture"]).exists()


def test_the_part_that_is_asked_for_is_drawn(tone, tmp_path):
    figures = load("features").main(tone, start=0.5, length=0.25, out=tmp_path / "run")
    assert figures["metrics"]["sound [s]"] == 0.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tone}", "--start", "2"], "features: tone.wav ends at 2.0 s, before --start"),
        (["{tone}.txt"], "there is no file '.*tone.wav.txt'"),
        (["--length", "0"], "features: start is 0 s, length 0 s; they take 0 on, and more"),
        (["--start", "-1"], "features: start is -1 s, length 6 s"),
    ],
)
def test_what_cannot_be_drawn_is_explained(tone, arguments, message, tmp_path, monkeypatch):
    pytest.importorskip("tyro")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        experiment.command_line(load("features").main, [a.format(tone=tone) for a in arguments])
    assert not (tmp_path / "runs").exists()
