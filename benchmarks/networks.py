"""The lecture's networks, and a training step and an inference of minicnn: nothing of PyTorch here.

So a process that is to tell what minicnn alone costs can use this file, see `benchmarks.startup`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minicnn as mc
from minicnn import kernels, models, nn, ops, optim

# So small that all repeats compute with nearly the same numbers.
LEARNING_RATE = 1e-6

LOSSES: dict[str, Callable[..., mc.Tensor]] = {
    "classes": ops.cross_entropy,
    "tags": ops.binary_cross_entropy_with_logits,
    "factors": ops.mse_loss,
}


@dataclass(frozen=True)
class Batch:
    """So many samples, of this shape instead of the paper's."""

    size: int
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Network:
    """A model of `minicnn.models` and how it is trained.

    Parameters
    ----------
    model : str
    task : str
        Of `LOSSES`.
    full, toy : Batch
    verified : int
        Of how many samples of the full batch the gradients are compared in float64.
    options : dict
    light : bool
        Whether the toy takes a moment only; the others have many weights, or sounds of one size.
    """

    model: str
    task: str
    full: Batch
    toy: Batch
    verified: int
    options: dict[str, str] = field(default_factory=dict)
    light: bool = True

    @property
    def name(self) -> str:
        """The model with its options, as the report calls it."""
        return " ".join([self.model, *self.options.values()])

    def __str__(self):
        return self.name

    def build(self) -> Any:
        """Return the model, with the same weights every time."""
        return models.create(self.model, **self.options, rng=0)


IMAGE = (3, 64, 64)
NETWORKS = (
    Network("lenet5", "classes", Batch(64), Batch(4), 64, dict(variant="modern")),
    Network(
        "alexnet",
        "classes",
        Batch(8),
        Batch(2, (3, 80, 80)),
        2,
        dict(variant="torchvision"),
        light=False,
    ),
    Network("vgg16", "classes", Batch(2), Batch(2, (3, 32, 32)), 1, light=False),
    Network(
        "googlenet",
        "classes",
        Batch(4),
        Batch(2, IMAGE),
        2,
        dict(variant="torchvision"),
        light=False,
    ),
    Network("resnet34", "classes", Batch(4), Batch(2, IMAGE), 2, light=False),
    Network("mel_cnn_1d", "tags", Batch(64), Batch(2), 16),
    Network("mel_cnn_2d", "tags", Batch(8), Batch(1), 2),
    Network("fcn4", "tags", Batch(1), Batch(1, (1, 96, 1280)), 1, light=False),
    # Fewer than six clips leave too few numbers to the last batch normalisations.
    Network("sample_cnn", "tags", Batch(8), Batch(6), 6, light=False),
    Network("recommender", "factors", Batch(16), Batch(2, (1, 128, 103)), 4, light=False),
    Network("onset_cnn", "tags", Batch(256), Batch(4), 32),
    Network("voice_cnn", "tags", Batch(32), Batch(2), 4),
    Network("spiral_cnn", "classes", Batch(32), Batch(2), 8),
    Network("crepe", "tags", Batch(32), Batch(2), 4, dict(capacity="full"), light=False),
    Network("crepe", "tags", Batch(32), Batch(2), 8, dict(capacity="tiny")),
    Network("deep_salience", "tags", Batch(4, (6, 360, 50)), Batch(1, (6, 360, 3)), 1),
)


def drawn(
    network: Network, model: nn.Network, size: str, samples: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch of noise and a target for it; of so many samples only, where that is given."""
    batch = getattr(network, size)
    rng = np.random.default_rng(0)
    shape = (min(batch.size, samples or batch.size), *(batch.shape or model.input_shape))
    x = rng.standard_normal(shape, np.float32)
    with mc.no_grad(), kernels.use(kernels.outline):
        outputs = model.eval()(mc.Tensor(x)).shape
    model.train()
    if network.task == "classes":
        return x, rng.integers(outputs[1], size=outputs[0])
    return x, rng.random(outputs, np.float32)


def training(
    network: Network, model: nn.Module, x: np.ndarray, target: np.ndarray
) -> Callable[[], tuple[np.ndarray]]:
    """Return a training step, which returns the loss."""
    taken = step(network, model)
    return lambda: (taken(x, target),)


def step(network: Network, model: nn.Module) -> Callable[[Any, Any], Any]:
    """Return a training step of a batch and its target, which returns the loss as an array."""
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)

    def taken(x, target):
        optimizer.zero_grad()
        loss = LOSSES[network.task](model(mc.Tensor(x)), target)
        loss.backward()
        optimizer.step()
        return loss.data

    return taken


def inference(model: nn.Module, x: np.ndarray) -> Callable[[], tuple[np.ndarray]]:
    """Return an inference, which returns the logits; the model is in evaluation mode from now."""
    infer = inferred(model)
    return lambda: (infer(x),)


def inferred(model: nn.Module) -> Callable[[Any], Any]:
    """Return an inference of any batch; the model is in evaluation mode from now."""
    fused = nn.fuse(model.eval())
    return lambda x: fused(x).data


@contextlib.contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Let our model's dropout let all through in this block."""
    rates = {module: module.p for module in model.modules() if isinstance(module, nn.Dropout)}
    for module in rates:
        module.p = 0.0
    try:
        yield
    finally:
        for module, rate in rates.items():
            module.p = rate
