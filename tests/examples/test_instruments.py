"""Instruments are told apart, chunk by chunk and recording by recording, and networks compared."""

import numpy as np
import pytest

from minicnn import experiment
from tests.examples.conftest import load

soundfile = pytest.importorskip("soundfile")

PICTURES = {"curves.png", "confusion.png", "filters.png"}


def test_the_quick_run_is_far_above_chance(quick):
    figures, _ = quick("instruments")
    assert figures["metrics"]["class_average"] > 0.35  # chance is 0.125
    assert figures["parameters"] == 147_080
    assert figures["data"] == "generated instruments"


def test_the_baseline_is_far_above_chance(quick):
    figures, _ = quick("instruments")
    assert figures["baselines"]["logistic regression of cepstra, class_average"] > 0.6


def test_clips_of_one_chunk_are_not_scored_twice(quick):
    assert quick("instruments")[0]["metrics"].keys() == {"class_average", "accuracy"}


def test_confusion_curves_and_filters_are_drawn(quick):
    figures, folder = quick("instruments")
    assert {path.name for path in folder.glob("*.png")} == PICTURES
    assert figures["picture"] in PICTURES


@pytest.fixture
def solos(tmp_path):
    """Return a folder of recordings of 7 s: a low buzz and a high tone, of any loudness."""
    rng, seconds = np.random.default_rng(0), np.arange(7 * 22050) / 22050
    rows = ["file,label,split"]
    for i in range(24):
        pitch = (110 if i % 2 else 1760) * rng.uniform(0.9, 1.1)
        partials = range(1, 9) if i % 2 else range(1, 2)
        samples = sum(np.sin(2 * np.pi * k * pitch * seconds) / k for k in partials)
        name = f"{i}.wav"
        soundfile.write(tmp_path / name, rng.uniform(0.1, 0.4) * samples, 22050)
        split = "train" if i < 16 else "valid" if i < 20 else "test"
        rows.append(f"{name},{'buzz' if i % 2 else 'tone'},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path


def test_recordings_of_several_chunks_are_scored_as_a_whole_too(solos, tmp_path):
    options = dict(quick=True, arch=2, epochs=3, data=str(solos), out=tmp_path / "run")
    figures = load("instruments").main(**options)
    assert figures["metrics"] == {
        "class_average": 1, "accuracy": 1, "class_average of recordings": 1,
    }  # fmt: skip
    assert figures["parameters"] < 20_000  # two classes


@pytest.mark.training
def test_the_table_has_all_eight_networks_and_the_baseline(solos, tmp_path):
    options = dict(quick=True, table=True, epochs=1, data=str(solos), out=tmp_path / "run")
    figures = load("instruments").main(**options)
    assert list(figures["networks"]) == [
        "logistic regression",
        "1: spiral, 32 filters",
        "2: 1-D, 32 filters",
        "3: 1-D + spiral, 32 filters",
        "4: 2-D, 32 filters",
        "5: 2-D + spiral, 32 filters",
        "6: 2-D + 1-D, 32 filters",
        "7: 2-D + 1-D + spiral, 32 filters",
        "8: 2-D, 48 filters",
    ]
    seventh = figures["networks"]["7: 2-D + 1-D + spiral, 32 filters"]["error"]
    assert seventh == pytest.approx(1 - figures["metrics"]["class_average"])
    assert figures["picture"] == "networks.png"
    assert (tmp_path / "run/networks.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "{folder}"], "instruments: .*labels.csv"),
        (
            ["--resume"],
            "instruments: resume takes the folder of a run as out, and there is none at",
        ),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(arguments, message, tmp_path):
    arguments = [each.format(folder=tmp_path) for each in arguments]
    with pytest.raises(SystemExit, match=message) as error:
        experiment.command_line(
            load("instruments").main, [*arguments, "--out", str(tmp_path / "a")]
        )
    assert "\n" not in str(error.value)


def test_there_are_eight_networks(capsys):
    with pytest.raises(SystemExit):
        experiment.command_line(load("instruments").main, ["--arch", "9"])
    assert "arch" in capsys.readouterr().err


@pytest.mark.training
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_new_instruments_are_recognised(seed, tmp_path):
    figures = load("instruments").main(seed=seed, out=tmp_path)
    average = figures["metrics"]["class_average"]
    assert average >= 0.93
    assert average >= figures["baselines"]["logistic regression of cepstra, class_average"] - 0.02
    assert figures["seconds"] < 300
