"""Every example runs from start to end, prints one JSON object last, and draws its pictures."""

import gzip
import importlib.util
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

root = Path(__file__).parents[1]
scripts = sorted((root / "examples").glob("*.py"))
trainings = [script for script in scripts if "--epochs" in script.read_text()]


def load(name):
    specification = importlib.util.spec_from_file_location(name, root / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize("script", trainings, ids=lambda path: path.stem)
def test_an_example_prints_its_figures_as_the_last_line(script, tmp_path):
    command = [sys.executable, script, "--epochs", "2", "--output", tmp_path / "run"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    figures = json.loads(result.stdout.splitlines()[-1])
    assert figures["example"] == script.stem
    assert figures["seconds"] > 0
    assert "epoch 2/2" in result.stderr


def mnist_files(folder, compress):
    """Write images of digits as MNIST has them: two shades by label, so that they can be learnt."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 64), ("t10k", 32)):
        labels = rng.integers(10, size=count).astype(np.uint8)
        images = rng.integers(0, 50, (count, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 6] += 200
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            name = f"{part}-{name}-ubyte"
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            content = header + values.tobytes()
            if compress:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)


@pytest.mark.parametrize(("variant", "compress"), [("paper", False), ("modern", True)])
def test_lenet5_reads_mnist_files_draws_and_resumes(tmp_path, variant, compress):
    lenet5 = load("lenet5")
    mnist_files(tmp_path, compress)
    arguments = ["--data", str(tmp_path), "--variant", variant, "--output", str(tmp_path / "run")]
    figures = lenet5.main([*arguments, "--epochs", "1"])
    assert figures["test_images"] == 32
    assert figures["parameters"] == {"paper": 60_000, "modern": 61_706}[variant]
    figures = lenet5.main([*arguments, "--epochs", "2", "--resume"])
    assert figures["epochs"] == 2
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert written == {
        "best.safetensors", "last.safetensors", "log.jsonl", "curves.png",
        "filters_and_feature_maps.png", "confusion.png",
    }  # fmt: skip
    assert all((tmp_path / "run" / name).stat().st_size > 1000 for name in written - {"log.jsonl"})


def test_lenet5_names_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        load("lenet5").main(["--data", str(tmp_path)])


def test_lenet5_names_files_of_another_shape(tmp_path):
    mnist_files(tmp_path, compress=False)
    images = tmp_path / "train-images-idx3-ubyte"
    images.write_bytes((tmp_path / "t10k-images-idx3-ubyte").read_bytes())
    with pytest.raises(SystemExit, match=r"holds \(32, 28, 28\) and .* \(64,\); they take \(N, 28"):
        load("lenet5").main(["--data", str(tmp_path)])


def test_lenet5_takes_an_epoch_at_least(capsys):
    with pytest.raises(SystemExit):
        load("lenet5").main(["--epochs", "0"])
    assert "--epochs and --threads take whole numbers from 1" in capsys.readouterr().err


def test_lenet5_needs_to_know_what_to_resume(capsys):
    with pytest.raises(SystemExit):
        load("lenet5").main(["--resume"])
    assert "--resume needs the --output of the run" in capsys.readouterr().err


@pytest.mark.slow
def test_lenet5_reads_98_percent_of_the_held_out_digits_in_under_a_minute(tmp_path):
    figures = load("lenet5").main(["--output", str(tmp_path / "run")])
    assert figures["test_accuracy"] >= 0.98
    assert figures["seconds"] < 60


@pytest.fixture
def tone(tmp_path):
    """Return a sound file: two seconds of an A with five partials."""
    soundfile = pytest.importorskip("soundfile")
    seconds = np.arange(2 * 44_100) / 44_100
    samples = sum(np.sin(2 * np.pi * 220 * k * seconds) / k**2 for k in range(1, 6)) / 4
    soundfile.write(tmp_path / "tone.wav", samples, 44_100)
    return tmp_path / "tone.wav"


def test_features_draws_a_file_and_prints_its_figures_as_the_last_line(tone, tmp_path):
    pytest.importorskip("soxr")
    command = [sys.executable, root / "examples/features.py", tone, "--output", tmp_path / "run"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    figures = json.loads(result.stdout.splitlines()[-1])
    assert figures["example"] == "features"
    assert (figures["sound"], figures["sound_seconds"]) == ("tone.wav", 2)
    assert figures["loudest_note"] == "A3"
    assert 0 < figures["seconds"] < 60
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "run").iterdir()}
    assert sizes.keys() == {"spectra.png", "harmonics.png"}
    assert min(sizes.values()) > 10_000


def test_features_draws_the_part_that_is_asked_for(tone, tmp_path):
    pytest.importorskip("soxr")
    arguments = [str(tone), "--start", "0.5", "--length", "0.25", "--output", str(tmp_path / "run")]
    assert load("features").main(arguments)["sound_seconds"] == 0.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tone}", "--start", "2"], "tone.wav ends at 2.0 s, before --start"),
        (["{tone}.txt"], "there is no file '.*tone.wav.txt'"),
    ],
)
def test_features_explains_what_it_cannot_draw(tone, arguments, message):
    pytest.importorskip("soxr")
    with pytest.raises(SystemExit, match=message):
        load("features").main([argument.format(tone=tone) for argument in arguments])


def test_features_takes_a_length_above_0(capsys):
    with pytest.raises(SystemExit):
        load("features").main(["--length", "0"])
    assert "--start takes seconds from 0, --length more than 0" in capsys.readouterr().err
