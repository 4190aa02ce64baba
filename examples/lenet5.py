"""LeNet-5 learns handwritten digits.

By default it trains on the 1,797 digits of 8x8 pixels that come with scikit-learn, enlarged to
28x28 and padded to the 32x32 of the paper; a fifth of them, with every class in its share, is held
out for the test. `--data DIR` reads the four files of MNIST instead, plain or compressed.

    python examples/lenet5.py
    python examples/lenet5.py --variant modern --data ~/mnist

The paper trains on distorted copies too (section III.C); here every image is turned, stretched,
sheared and moved a little each time it is seen.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from scipy.ndimage import affine_transform, zoom

import minicnn as mc
from minicnn import data, models, ops, optim
from minicnn.models.lenet5 import LeNet5, map_loss

mpl.use("Agg")
import matplotlib.pyplot as plt  # after the choice of a backend that needs no screen

MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def main(arguments: list[str] | None = None) -> dict:
    """Train, test, draw; return the figures that are printed at the end."""
    options = parse(arguments)
    mc.manual_seed(options.seed)
    mc.set_num_threads(options.threads)
    train, test = mnist(options.data) if options.data else scikit_learn_digits()
    folder = options.output or Path("runs", "lenet5", time.strftime("%Y-%m-%d_%H-%M-%S"))

    model = models.lenet5(options.variant)
    print(mc.summary(model, LeNet5.input_shape))
    loss = map_loss if options.variant == "paper" else ops.cross_entropy
    started = time.perf_counter()
    history = mc.fit(
        model,
        data.DataLoader(data.ArrayDataset(*train), 32, shuffle=True, transform=distort),
        loss,
        optim.Adam(model.parameters(), lr=3e-3),
        epochs=options.epochs,
        valid=data.DataLoader(data.ArrayDataset(*test), 256),
        metrics={"accuracy": accuracy},
        # The test set chooses nothing: the best epoch is the one with the least training loss.
        monitor="train_loss",
        schedule=optim.cosine_decay(options.epochs, minimum=0.01),
        checkpoint=folder,
        resume=options.resume,
    )
    seconds = time.perf_counter() - started

    logits = predict(model, test[0])
    draw_curves(history, folder / "curves.png")
    draw_filters_and_maps(model, test[0][0], folder / "filters_and_feature_maps.png")
    draw_confusion(logits, *test, folder / "confusion.png")
    figures = {
        "example": "lenet5",
        "variant": options.variant,
        "test_accuracy": round(accuracy(logits, test[1]), 4),
        "test_images": len(test[1]),
        "parameters": sum(parameter.size for parameter in model.parameters()),
        "epochs": len(history),
        "seconds": round(seconds, 1),
    }
    print(f"pictures, log and checkpoint: {folder}")
    print(json.dumps(figures))
    return figures


def parse(arguments):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variant", choices=("paper", "modern"), default="paper")
    parser.add_argument("--data", type=Path, help="folder with the four IDX files of MNIST")
    parser.add_argument(
        "--epochs", type=int, default=50, metavar="N", help="1 or more (default: 50)"
    )
    # The matrices are small: a second thread gains little, and loses much on a busy machine.
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="folder for pictures, log and checkpoint")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output")
    options = parser.parse_args(arguments)
    if options.resume and (options.output is None or not options.output.is_dir()):
        parser.error("--resume needs the --output of the run to go on with")
    if options.epochs < 1 or options.threads < 1:
        parser.error("--epochs and --threads take whole numbers from 1")
    return options


def scikit_learn_digits():
    """Return the (images, labels) of scikit-learn's digits to train on, and those held out."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    enlarged = zoom(digits.images / 16, (1, 3.5, 3.5), order=1, mode="nearest", grid_mode=True)
    images, held_out, labels, held_out_labels = train_test_split(
        prepare(enlarged), digits.target, test_size=0.2, stratify=digits.target, random_state=0
    )
    return (images, labels), (held_out, held_out_labels)


def mnist(folder):
    """Return the (images, labels) of MNIST's training and test sets."""
    parts = []
    for image_file, label_file in MNIST_FILES.values():
        images, labels = idx(folder, image_file), idx(folder, label_file)
        if images.shape != (len(labels), 28, 28) or labels.shape != (len(images),):
            raise SystemExit(
                f"{folder}: {image_file} holds {images.shape} and {label_file} {labels.shape}; "
                "they take (N, 28, 28) and (N,)"
            )
        parts.append((prepare(images.astype(np.float32) / 255), labels.astype(int)))
    return parts


def idx(folder, name):
    """Read one IDX file of this name, compressed where there is no plain one."""
    plain, compressed = folder / name, folder / f"{name}.gz"
    return data.read_idx(compressed if compressed.exists() and not plain.exists() else plain)


def prepare(images):
    """Return images (N, 28, 28) in [0, 1] as (N, 1, 32, 32) in the paper's range."""
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    scaled = LeNet5.background + (LeNet5.ink - LeNet5.background) * padded
    return scaled[:, None].astype(np.float32)


def distort(image, label, *, rng):
    """Turn, stretch and shear an image by up to an eighth, and move it by up to two pixels."""
    matrix = np.eye(2) + rng.uniform(-0.125, 0.125, (2, 2))
    centre = np.array([15.5, 15.5])
    offset = centre - matrix @ (centre + rng.uniform(-2, 2, 2))
    return affine_transform(image[0], matrix, offset, order=1, mode="nearest")[None], label


def accuracy(logits, labels):
    """Return the share of images whose largest logit is that of the label."""
    return float((logits.argmax(axis=1) == labels).mean())


@mc.no_grad()
def predict(model, images):
    """Return the logits of images, in batches."""
    parts = np.array_split(images, -(-len(images) // 256))
    return np.concatenate([model(mc.Tensor(part)).numpy() for part in parts])


def draw_curves(history, path):
    """Draw loss and test error over the epochs."""
    epochs = [record["epoch"] for record in history]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name, label in (("train_loss", "training (distorted)"), ("valid_loss", "test")):
        left.plot(epochs, [record[name] for record in history], ".-", markersize=4, label=label)
    left.set(xlabel="epoch", ylabel="loss", yscale="log", title="loss")
    left.legend(frameon=False)
    errors = [100 * (1 - record["valid_accuracy"]) for record in history]
    right.plot(epochs, errors, ".-", markersize=4, color="C1")
    kept = min(range(len(history)), key=lambda i: history[i]["train_loss"])
    right.plot(epochs[kept], errors[kept], "o", color="C3")
    right.set(xlabel="epoch", ylabel="test error [%]", yscale="symlog", ylim=(0, 100))
    right.set_yticks([0, 1, 2, 5, 10, 20, 50, 90], labels=[0, 1, 2, 5, 10, 20, 50, 90])
    right.set_title(f"test error: {errors[kept]:.2f} %, weights of epoch {epochs[kept]}")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    finish(figure, path)


@mc.no_grad()
def draw_filters_and_maps(model, image, path):
    """Draw the filters of C1, and what C1 and C3 make of one image."""
    first = model.activation(model.C1(mc.Tensor(image[None])))
    second = model.activation(model.S2(first))  # once more after the ReLU changes nothing
    third = model.activation(model.C3(second))
    rows = {
        "image": image,
        "filters of C1": model.C1.weight.numpy()[:, 0],
        "feature maps of C1": first.numpy()[0],
        "feature maps of C3": third.numpy()[0, :8],
        " ": third.numpy()[0, 8:],
    }
    figure, grid = plt.subplots(len(rows), 8, figsize=(8.4, 5.6), layout="constrained")
    for axes, (title, maps) in zip(grid, rows.items(), strict=True):
        symmetric = dict(cmap="RdBu_r", vmin=-abs(maps).max(), vmax=abs(maps).max())
        style = dict(cmap="gray_r") if title == "image" else symmetric
        for axis, values in zip(axes, maps, strict=False):
            axis.imshow(values, **style)
        axes[0].set_title(title, loc="left", fontsize=9)
        for axis in axes:
            axis.axis("off")
    finish(figure, path)


def draw_confusion(logits, images, labels, path):
    """Draw how often each digit was taken for which, and the images that were misread."""
    predicted = logits.argmax(axis=1)
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (labels, predicted), 1)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8.4, 5), width_ratios=(5, 2), layout="constrained"
    )
    left.imshow(np.log1p(counts), cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        if count:
            shade = "white" if 2 * np.log1p(count) > np.log1p(counts.max()) else "black"
            left.text(column, row, count, ha="center", va="center", color=shade, fontsize=8)
    left.set(xlabel="predicted", ylabel="digit", xticks=range(10), yticks=range(10))
    left.set_title(f"{len(labels)} test images")
    wrong = np.flatnonzero(predicted != labels)
    right.set_title(f"{len(wrong)} misread: digit as predicted", fontsize=10)
    right.axis("off")
    for place, index in enumerate(wrong[:15]):
        inset = right.inset_axes((place % 3 / 3, 0.8 - place // 3 / 5, 0.28, 0.14))
        inset.imshow(images[index, 0], cmap="gray_r")
        inset.set_title(f"{labels[index]} as {predicted[index]}", fontsize=8, pad=2)
        inset.axis("off")
    finish(figure, path)


def finish(figure, path):
    """Save a figure and let it go."""
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
