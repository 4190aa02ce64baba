"""LeNet-5 reads handwritten digits, as on the lecture's slide with LeCun's network of 1998.

LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 1998. By default it learns the 1,797 digits of 8x8 pixels that come
with scikit-learn, enlarged to 28x28 and padded to the paper's 32x32; a fifth is the test. With
`--data` it reads the four files of MNIST. As in the paper's section III.C, it is trained on
distorted copies and compared with a linear classifier of the pixels.

    python examples/lenet5.py
    python examples/lenet5.py --variant modern --data ~/mnist --epochs 10
"""

from pathlib import Path
from typing import Annotated, Literal

import minicnn as mc
from minicnn import experiment, models, ops, optim, plot
from minicnn.data import ArrayDataset, DataLoader, read_idx
from minicnn.images import RandomAffine
from minicnn.models.lenet5 import LeNet5, map_loss

import numpy as np
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split


def main(
    *,
    variant: Annotated[Literal["paper", "modern"], "of 1998, or as it is built today"] = "paper",
    epochs: experiment.Epochs = 50,
    seed: experiment.Seed = 0,
    device: experiment.Device = "cpu",
    threads: experiment.Threads = None,
    data: Annotated[Path | None, "a folder with MNIST's files; none: scikit-learn's digits"] = None,
    out: experiment.Out = None,
    resume: experiment.Resume = False,
    quick: experiment.Quick = False,
) -> dict:
    """Train, test, draw; return the figures that are printed at the end."""
    run = experiment.begin("lenet5", out, seed=seed, threads=threads, resume=resume)
    epochs = min(epochs, 5) if quick else epochs
    (x, y), (x_test, y_test) = mnist(data) if data else scikit_learn_digits(seed)
    x, x_valid, y, y_valid = train_test_split(x, y, test_size=0.1, stratify=y, random_state=seed)

    model = models.lenet5(variant, rng=seed).to(device)
    print(mc.summary(model))
    history = mc.fit(
        model,
        DataLoader(ArrayDataset(x, y), 32, shuffle=True, transform=RandomAffine(), rng=seed),
        map_loss if variant == "paper" else ops.cross_entropy,
        optim.Adam(model.parameters(), lr=3e-3),
        epochs=epochs,
        valid=DataLoader(ArrayDataset(x_valid, y_valid), 256),
        metrics={"accuracy": accuracy},
        schedule=optim.cosine_decay(epochs, minimum=0.01),
        checkpoint=run.folder,
        resume=resume,
    )

    logits = mc.predict(model, x_test)
    found = logits.argmax(axis=1)
    curves = plot.curves(history, valid_accuracy="validation accuracy")
    plot.save(curves, run.folder / "curves.png")
    maps = draw_filters_and_maps(model, mc.Tensor(x_test[:1]).to(device))
    plot.save(maps, run.folder / "filters_and_feature_maps.png")
    title = f"{(found != y_test).sum()} of {len(y_test)} test images are misread"
    drawn = plot.confusion(confusion_matrix(y_test, found), "0123456789", title)
    plot.save(drawn, run.folder / "confusion.png")
    others = np.where(np.eye(10)[y_test], -np.inf, logits).max(axis=1)
    hardest = np.argsort(logits[np.arange(len(y_test)), y_test] - others)[:16]
    titles, title = [f"{y_test[i]} as {found[i]}" for i in hardest], f"{title}; the hardest 16"
    drawn = plot.grid(x_test[hardest, 0].clip(0), titles, signed=False, title=title)
    plot.save(drawn, run.folder / "misread.png")
    baseline = linear(1e-3 if quick else 1e-4, (x, y), (x_valid, y_valid), (x_test, y_test))
    return run.finish(
        model,
        {"accuracy": (found == y_test).mean()},
        {"logistic regression of the pixels, accuracy": baseline},
        picture="filters_and_feature_maps.png",
        variant=variant,
        test_images=len(y_test),
    )


def scikit_learn_digits(seed):
    """Return (images, labels) of scikit-learn's digits: to learn from, and of each a fifth."""
    digits = load_digits()
    enlarged = zoom(digits.images / 16, (1, 3.5, 3.5), order=1, mode="nearest", grid_mode=True)
    x, x_test, y, y_test = train_test_split(
        prepare(enlarged), digits.target, test_size=0.2, stratify=digits.target, random_state=seed
    )
    return (x, y), (x_test, y_test)


def mnist(folder):
    """Return the (images, labels) of MNIST's training and test sets."""
    parts = []
    for part in ("train", "t10k"):
        files = [folder / f"{part}-{name}-ubyte" for name in ("images-idx3", "labels-idx1")]
        images, labels = (read_idx(f if f.exists() else f"{f}.gz") for f in files)
        if images.shape != (len(labels), 28, 28) or labels.shape != (len(images),):
            raise ValueError(
                f"{folder}: {files[0].name} holds {images.shape} and {files[1].name} "
                f"{labels.shape}; they take (N, 28, 28) and (N,)"
            )
        parts.append((prepare(images.astype(np.float32) / 255), labels.astype(int)))
    return parts


def prepare(images):
    """Return images (N, 28, 28) in [0, 1] as (N, 1, 32, 32) in the paper's range."""
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    scaled = LeNet5.background + (LeNet5.ink - LeNet5.background) * padded
    return scaled[:, None].astype(np.float32)


def accuracy(logits, labels):
    """Return the share of images whose largest logit is that of the label."""
    return (logits.argmax(axis=1) == labels).mean()


def linear(tol, *parts):
    """Return the test accuracy of logistic regression, with the C that is best for valid."""
    train, valid, test = ((x.reshape(len(x), -1), y) for x, y in parts)
    fits = [LogisticRegression(C=c, tol=tol, max_iter=1000).fit(*train) for c in (0.01, 0.1, 1)]
    return max(fits, key=lambda each: each.score(*valid)).score(*test)


@mc.no_grad()
def draw_filters_and_maps(model, x):
    """Draw the filters of C1, and what C1 and C3 make of one image."""
    first = model.activation(model.C1(x))
    second = model.activation(model.S2(first))  # once more after the ReLU changes nothing
    third = model.activation(model.C3(second)).numpy()[0]
    rows = {
        "image": np.maximum(x.numpy()[0], 0),
        "filters of C1, 5x5": model.C1.weight.numpy()[:, 0],
        "feature maps of C1, 28x28": first.numpy()[0],
        "feature maps of C3, 10x10": third[:8],
        " ": third[8:],
    }
    return plot.rows(rows)


if __name__ == "__main__":
    experiment.command_line(main)
