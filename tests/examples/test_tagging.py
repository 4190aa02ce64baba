"""Tags of music: they are learned from little, drawn over time, and read from anybody's folder."""

import numpy as np
import pytest

from minicnn import experiment

from .conftest import load

soundfile = pytest.importorskip("soundfile")
RATE = 16_000


@pytest.fixture
def folder(tmp_path):
    """Write a folder of six hums and six hisses, some of them loud."""
    rng, rows = np.random.default_rng(0), ["file,tags,split"]
    for i in range(12):
        length = int((3.1 + 0.2 * i) * RATE)
        kind = "hum" if i % 2 else "hiss"
        tone = np.sin(2 * np.pi * (150 + 10 * i) * np.arange(length) / RATE)
        loud = i % 3 == 0
        samples = (0.3 if loud else 0.02) * (tone if i % 2 else rng.standard_normal(length))
        soundfile.write(tmp_path / f"{i}.wav", samples.clip(-1, 1), RATE)
        split = "train" if i < 6 else "valid" if i < 8 else "test"
        rows.append(f"{i}.wav,{kind}{';loud' * loud},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path


def test_a_short_training_ranks_the_tags_of_new_clips_far_better_than_chance(quick):
    figures, _ = quick("tagging")
    assert figures["metrics"]["roc_auc"] > 0.65
    assert figures["metrics"]["pr_auc"] > 0.3


def test_it_draws_curves_tags_and_a_timeline(quick):
    figures, out = quick("tagging")
    assert {"curves.png", "tags.png", "timeline.png"} <= {path.name for path in out.iterdir()}
    assert figures["picture"] == "timeline.png"


def test_it_learns_the_tags_of_a_folder_and_draws_a_file_of_ones_own(folder, tmp_path):
    figures = load("tagging").main(
        data=str(folder), model="mel_cnn_1d", file=folder / "9.wav", epochs=15, out=tmp_path / "run"
    )
    assert figures["data"] == str(folder)
    assert figures["metrics"]["roc_auc"] > 0.8
    assert (tmp_path / "run" / "timeline.png").exists()


@pytest.mark.parametrize(("model", "parameters"), [("fcn4", 1_083_000), ("sample_cnn", 1_648_000)])
def test_the_other_networks_learn_from_the_same_folder(folder, tmp_path, model, parameters):
    figures = load("tagging").main(data=str(folder), model=model, epochs=1, out=tmp_path / "run")
    assert figures["tagger"] == model
    assert figures["parameters"] == pytest.approx(parameters, rel=0.01)
    assert 0 <= figures["metrics"]["roc_auc"] <= 1


def test_a_song_that_is_not_there_is_named_before_anything_is_trained(tmp_path):
    options = ["--file", str(tmp_path / "song.wav"), "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit, match=r"^tagging: .*song\.wav"):
        experiment.command_line(load("tagging").main, options)


@pytest.mark.training
def test_the_default_ranks_tags_better_than_mfcc_do(tmp_path):
    figures = load("tagging").main(out=tmp_path)
    assert figures["metrics"]["roc_auc"] >= 0.9
    (baseline, _) = figures["baselines"].values()
    assert figures["metrics"]["roc_auc"] > baseline + 0.02
    assert figures["seconds"] < 300
