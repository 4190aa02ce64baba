"""What is in an image? Answers on the lecture's slides "CNN Architecture for Image Classification".

AlexNet (Krizhevsky et al., NIPS 2012), VGG (Simonyan & Zisserman, ICLR 2015), GoogLeNet (Szegedy et
al., CVPR 2015) and ResNet (He et al., CVPR 2016), with a share of their papers' channels; AlexNet
and GoogLeNet as torchvision builds them, which takes small images, and VGG with batch
normalisation. By default they learn the digits that come with scikit-learn, enlarged; with `--data`
the images of a folder that has a folder for each class. Of each class a fifth is the test.

    python examples/image_networks.py --model vgg16
    python examples/image_networks.py --data my/flowers --size 96 --width 0.5 --epochs 40
"""

from pathlib import Path
from typing import Annotated, Literal

import minicnn as mc
from minicnn import experiment, models, nn, ops, optim, plot
from minicnn.data import ArrayDataset, DataLoader
from minicnn.images import ImageFolder, RandomAffine

import numpy as np
from scipy.ndimage import zoom
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import train_test_split

Name = Literal[
    "alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "googlenet", "resnet18", "resnet34", "resnet50"
]
OPTIONS = {"alexnet": dict(variant="torchvision"), "googlenet": dict(variant="torchvision")}


def main(
    *,
    model: Annotated[Name, "the network"] = "resnet34",
    width: Annotated[float, "which share of the paper's channels it has"] = 0.25,
    size: Annotated[int, "height and width of the images [pixels], 64 or more"] = 64,
    epochs: experiment.Epochs = 15,
    seed: experiment.Seed = 0,
    device: experiment.Device = "cpu",
    threads: experiment.Threads = None,
    data: Annotated[Path | None, "a folder with a folder for each class; none: digits"] = None,
    out: experiment.Out = None,
    resume: experiment.Resume = False,
    quick: experiment.Quick = False,
) -> dict:
    """Train, test, draw; return the figures that are printed at the end."""
    run = experiment.begin("image_networks", out, seed=seed, threads=threads, resume=resume)
    epochs, most = (min(epochs, 4), 400) if quick else (epochs, None)
    x, y, names = load(data, size)
    x, x_test, y, y_test = train_test_split(x, y, test_size=0.2, stratify=y, random_state=seed)
    x, x_valid, y, y_valid = train_test_split(x, y, test_size=0.1, stratify=y, random_state=seed)
    x, y = x[:most], y[:most]
    mean, deviation = x.mean((0, 2, 3), keepdims=True), x.std((0, 2, 3), keepdims=True)
    x, x_valid, x_test = ((each - mean) / deviation for each in (x, x_valid, x_test))

    options = dict(batch_norm=True) if model.startswith("vgg") else OPTIONS.get(model, {})
    net = models.create(model, **options, classes=len(names), width=width, rng=seed).to(device)
    history = mc.fit(
        net,
        DataLoader(ArrayDataset(x, y), 32, shuffle=True, transform=RandomAffine(), rng=seed),
        ops.cross_entropy,
        optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01),
        epochs=epochs,
        valid=DataLoader(ArrayDataset(x_valid, y_valid), 64),
        metrics={"accuracy": accuracy},
        schedule=optim.warm_up(1, optim.cosine_decay(epochs, minimum=0.01)),
        checkpoint=run.folder,
        resume=resume,
    )

    found = mc.predict(net, x_test, batch_size=64).argmax(axis=1)
    curves = plot.curves(history, valid_accuracy="validation accuracy")
    plot.save(curves, run.folder / "curves.png")
    plot.save(draw_filters(net, grey=data is None), run.folder / "filters.png")
    title = f"{model}: {(found != y_test).sum()} of {len(y_test)} test images are mistaken"
    drawn = plot.confusion(confusion_matrix(y_test, found, labels=range(len(names))), names, title)
    plot.save(drawn, run.folder / "confusion.png")
    shown = {
        "images of the test": (x_test[:10] * deviation + mean).transpose(0, 2, 3, 1).clip(0, 1),
        "darker: where a pixel changes the answer more": saliency(net, x_test[:10], device),
    }
    titles = [f"{names[a]} as {names[b]}" for a, b in zip(y_test[:10], found, strict=False)]
    plot.save(plot.rows(shown, titles), run.folder / "saliency.png")
    baseline = linear((x, y), (x_valid, y_valid), (x_test, y_test))
    return run.finish(
        net,
        {"accuracy": (found == y_test).mean()},
        {"logistic regression of 16x16 pixels, accuracy": baseline},
        picture="saliency.png",
        network=model,
        width=width,
        classes=len(names),
        test_images=len(y_test),
    )


def load(path, size):
    """Return images of three channels, from 0 to 1, their classes, and the names of these."""
    if path is not None:
        found = ImageFolder(path, size)
        return *found.batch(np.arange(len(found))), found.names
    found = load_digits()
    scale = (1, size / 8, size / 8)
    enlarged = zoom(1 - found.images / 16, scale, order=1, mode="nearest", grid_mode=True)
    return np.repeat(enlarged[:, None].astype(np.float32), 3, axis=1), found.target, "0123456789"


def accuracy(logits, labels):
    """Return the share of images whose largest logit is that of the label."""
    return (logits.argmax(axis=1) == labels).mean()


def linear(*parts):
    """Return the test accuracy of logistic regression on 16x16 pixels, its C the best for valid."""
    train, valid, test = ((ops.adaptive_avg_pool2d(x, 16).numpy(), y) for x, y in parts)
    train, valid, test = ((x.reshape(len(x), -1), y) for x, y in (train, valid, test))
    fits = [LogisticRegression(C=c, tol=1e-3).fit(*train) for c in (1e-4, 1e-3, 1e-2, 0.1)]
    return max(fits, key=lambda each: each.score(*valid)).score(*test)


def draw_filters(net, *, grey):
    """Draw the first layer's filters; those of grey images, whose channels are alike, added up."""
    weight = next(each for each in net.modules() if isinstance(each, nn.Conv2d)).weight.numpy()
    title = "filters of the first layer, {2}x{3}".format(*weight.shape)
    if grey:
        return plot.grid(weight.sum(axis=1), title=title)
    least, most = (f(weight, axis=(1, 2, 3), keepdims=True) for f in (np.min, np.max))
    return plot.grid(((weight - least) / (most - least)).transpose(0, 2, 3, 1), title=title)


def saliency(net, images, device):
    """Return each pixel's share in the largest gradient of the winning logit, over channels."""
    # Simonyan, Vedaldi & Zisserman, "Deep inside convolutional networks", 2014, section 3.
    x = mc.Tensor(images).to(device)
    x.requires_grad = True
    net(x).max(axis=1).sum().backward()
    gradient = np.abs(mc.Tensor(x.grad).numpy()).max(axis=1)
    return gradient / gradient.max(axis=(1, 2), keepdims=True)


if __name__ == "__main__":
    experiment.command_line(main)
