"""AlexNet, VGG, GoogLeNet and ResNet learn what is in images: digits, or those of a folder."""

import numpy as np
import pytest

import minicnn as mc
from minicnn import experiment, models
from tests.examples.conftest import load

pillow = pytest.importorskip("PIL.Image")
PICTURES = {"curves.png", "filters.png", "confusion.png", "saliency.png"}


def class_folders(path, count=20):
    """Write pictures of trees: oaks are a red spot on the left, elms a green one on the right."""
    rng = np.random.default_rng(0)
    for name, colour, column in (("oak", 0, 4), ("elm", 1, 20)):
        (path / name).mkdir()
        for i in range(count):
            pixels = rng.integers(0, 60, (32, 32, 3)).astype(np.uint8)
            pixels[8:24, column : column + 8, colour] = 250
            pillow.fromarray(pixels).save(path / f"{name}/{i}.png")
    return path


def test_a_few_epochs_are_enough_for_most_digits(quick):
    figures, out = quick("image_networks")
    assert figures["metrics"]["accuracy"] >= 0.7
    assert figures["baselines"]["logistic regression of 16x16 pixels, accuracy"] > 0.9
    assert (figures["test_images"], figures["classes"]) == (360, 10)
    assert {path.name for path in out.glob("*.png")} == PICTURES


@pytest.mark.parametrize("model", ["alexnet", "vgg11", "googlenet", "resnet18"])
def test_every_kind_of_network_takes_a_folder_of_class_folders(model, tmp_path):
    (tmp_path / "trees").mkdir()
    figures = load("image_networks").main(
        model=model,
        data=class_folders(tmp_path / "trees"),
        width=0.125,
        epochs=2,
        out=tmp_path / "run",
    )
    assert (figures["network"], figures["classes"], figures["test_images"]) == (model, 2, 8)
    assert figures["parameters"] > 10_000
    assert {path.name for path in (tmp_path / "run").glob("*.png")} == PICTURES


def test_a_folder_is_learnt_and_a_run_goes_on(tmp_path):
    (tmp_path / "trees").mkdir()
    options = dict(model="resnet18", data=class_folders(tmp_path / "trees", 40), width=0.125)
    load("image_networks").main(epochs=4, out=tmp_path / "run", **options)
    figures = load("image_networks").main(epochs=8, out=tmp_path / "run", resume=True, **options)
    assert figures["metrics"]["accuracy"] > 0.9
    assert len((tmp_path / "run/log.jsonl").read_text().splitlines()) == 8


def test_saliency_is_the_gradient_of_the_winning_logit():
    net = models.resnet18(classes=3, width=0.125, rng=0).eval()
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    found = load("image_networks").saliency(net, images, "cpu")
    assert found.shape == (2, 64, 64)
    assert found.max(axis=(1, 2)).tolist() == [1, 1]

    def slope(row, column):
        """Return how much the winning logit of the last image changes, of three channels most."""
        steps = np.zeros((6, 3, 64, 64), np.float32)
        for channel in range(3):
            steps[channel, channel, row, column] = 1e-2
            steps[channel + 3, channel, row, column] = -1e-2
        logits = mc.predict(net, images[1] + steps).max(axis=1)
        return np.abs(logits[:3] - logits[3:]).max()

    strongest = np.unravel_index(found[1].argmax(), (64, 64))
    for place in ((32, 32), (20, 40)):
        assert slope(*place) / slope(*strongest) == pytest.approx(found[1][place], rel=0.15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--width", "0.3"], "image_networks: resnet: width is 0.3; it takes a multiple of 1/64"),
        (["--size", "8"], "image_networks: ResNet: x is .*; it takes .*H >= 32"),
        (["--data", "none"], "image_networks: ImageFolder: there is no folder 'none'"),
    ],
)
def test_a_bad_option_is_said_in_one_line(arguments, message, tmp_path, monkeypatch):
    pytest.importorskip("tyro")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=f"^{message}[^\n]*$"):
        experiment.command_line(load("image_networks").main, arguments)


@pytest.mark.training
@pytest.mark.parametrize("model", ["alexnet", "vgg16", "googlenet", "resnet34"])
def test_97_percent_of_the_held_out_digits_are_read(model, tmp_path):
    figures = load("image_networks").main(model=model, out=tmp_path)
    assert figures["metrics"]["accuracy"] >= 0.97
    (baseline,) = figures["baselines"].values()
    assert figures["metrics"]["accuracy"] > baseline
    assert figures["seconds"] < 300
