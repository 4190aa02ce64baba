"""LeNet-5 reads digits: scikit-learn's, and MNIST's files."""

import gzip
import json
import os
import shlex
import signal
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

import minicnn as mc
from minicnn import experiment
from tests.examples.conftest import folder, load

PICTURES = {"curves.png", "filters_and_feature_maps.png", "confusion.png", "misread.png"}


def mnist_files(path, compress=False, count=200):
    """Write images of digits as MNIST has them: two shades by label, so that they can be learnt."""
    rng = np.random.default_rng(0)
    for part, number in (("train", count), ("t10k", 40)):
        labels = rng.permutation(np.arange(number) % 10).astype(np.uint8)
        images = rng.integers(0, 50, (number, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label : 2 * label + 6] += 200
        for name, values in (("images-idx3", images), ("labels-idx1", labels)):
            name = f"{part}-{name}-ubyte"
            header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
            content = header + values.tobytes()
            if compress:
                (path / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (path / name).write_bytes(content)
    return path


def test_a_few_epochs_are_enough_for_most_digits(quick):
    figures, out = quick("lenet5")
    assert figures["metrics"]["accuracy"] >= 0.8
    assert figures["baselines"]["logistic regression of the pixels, accuracy"] > 0.9
    assert figures["test_images"] == 360
    assert figures["parameters"] == 60_000
    assert {path.name for path in out.glob("*.png")} == PICTURES


@pytest.mark.parametrize(("variant", "compress"), [("paper", False), ("modern", True)])
def test_mnist_files_are_read_and_a_run_goes_on(tmp_path, variant, compress):
    options = dict(data=mnist_files(tmp_path, compress), variant=variant, out=tmp_path / "run")
    figures = load("lenet5").main(epochs=1, **options)
    assert figures["test_images"] == 40
    assert figures["variant"] == variant
    assert figures["parameters"] == {"paper": 60_000, "modern": 61_706}[variant]
    load("lenet5").main(epochs=2, resume=True, **options)
    log = (tmp_path / "run/log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in log] == [1, 2]


def test_an_interrupted_run_ends_with_the_same_weights_by_the_command_that_it_prints(tmp_path):
    pytest.importorskip("tyro")
    given = ["--data", str(mnist_files(tmp_path)), "--epochs", "200", "--threads", "1"]
    environment = {**os.environ, "PYTHONPATH": str(folder.parent)}
    command = [sys.executable, str(folder / "lenet5.py"), *given, "--out", "interrupted"]
    pipes = dict(stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes)
    log = tmp_path / "interrupted/log.jsonl"
    while process.poll() is None and not (log.exists() and log.read_text()):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    last = process.communicate()[1].splitlines()[-1]
    assert process.returncode == 1
    assert 0 < len(log.read_text().splitlines()) < 200
    python, *going_on = shlex.split(last.removeprefix("lenet5: interrupted; go on with: "))
    assert python == "python"
    for arguments in (going_on, [str(folder / "lenet5.py"), *given, "--out", "whole"]):
        command = [sys.executable, *arguments]
        subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=True)
    one, other = (
        mc.load(tmp_path / name / "best.safetensors") for name in ("interrupted", "whole")
    )
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[key], other[key]) for key in one)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte"):
        load("lenet5").main(data=tmp_path, out=tmp_path / "run")


def test_files_of_another_shape_are_named(tmp_path):
    mnist_files(tmp_path)
    images = tmp_path / "train-images-idx3-ubyte"
    images.write_bytes((tmp_path / "t10k-images-idx3-ubyte").read_bytes())
    with pytest.raises(ValueError, match=r"holds \(40, 28, 28\) and .* \(200,\); they take \(N, 2"):
        load("lenet5").main(data=tmp_path, out=tmp_path / "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "lenet5: fit: epochs is 0"),
        (["--threads", "0"], "lenet5: set_num_threads: count is 0"),
        (["--resume"], "lenet5: resume takes the folder of a run as out, and there is none"),
    ],
)
def test_a_bad_option_is_said_in_one_line(arguments, message, tmp_path, monkeypatch):
    pytest.importorskip("tyro")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"^{message}[^\n]*$"):
        experiment.command_line(load("lenet5").main, arguments)


@pytest.mark.training
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_98_percent_of_the_held_out_digits_are_read(tmp_path, seed):
    figures = load("lenet5").main(seed=seed, out=tmp_path)
    assert figures["metrics"]["accuracy"] >= 0.98
    (baseline,) = figures["baselines"].values()
    assert figures["metrics"]["accuracy"] > baseline
    assert figures["seconds"] < 300
