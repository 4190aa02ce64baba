"""Every model of the lecture in every variant, and how it is trained, for tests that take all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import minicnn as mc
from minicnn import models, nn, ops
from minicnn.models.googlenet import auxiliary_cross_entropy


@dataclass(frozen=True)
class Entry:
    """A model with its options and task, the batch and the learning rate that it is tested with.

    The shape of a sample is the paper's unless a smaller one will do as well.
    """

    name: str
    task: str
    options: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    batch: int = 3
    slow: bool = False
    rate: float = 1e-3

    def __str__(self):
        return "-".join([self.name, *map(str, self.options.values())])

    def build(self, rng: int = 0) -> nn.Network:
        return models.create(self.name, **self.options, rng=rng)

    def state(self) -> dict[str, np.ndarray]:
        """Return a state in which normalisation is no identity, as it would be in a new model."""
        rng = np.random.default_rng(3)
        state = {}
        for name, array in self.build().state_dict().items():
            if name.endswith("running_var"):
                array = rng.uniform(0.5, 2, array.shape)
            elif array.ndim == 1:
                array = array + rng.normal(0, 0.1, array.shape)
            state[name] = np.asarray(array, np.int64 if array.dtype.kind == "i" else np.float32)
        return state

    def x(self, model: nn.Network, seed: int = 0, *, distinct: bool = False) -> np.ndarray:
        """Return a batch of noise; in a distinct one, each sample has a level of its own."""
        shape = (self.batch, *(self.shape or model.input_shape))
        rng = np.random.default_rng(seed)
        noise = rng.standard_normal(shape, np.float32)
        if not distinct:
            return noise
        levels = rng.permuted(np.tile(np.arange(self.batch), (shape[1], 1)), axis=1).T
        return noise + 2 * levels.reshape(*shape[:2], *[1] * (len(shape) - 2)).astype(np.float32)

    def target(self, outputs: tuple[int, ...], whole: bool = False) -> np.ndarray:
        """Return a target for the first output, of this shape; whole tags are 0 or 1."""
        rng = np.random.default_rng(2)
        if self.task == "classes":
            return np.arange(outputs[0]) * 7 % outputs[1]
        if self.task == "tags":
            tags = rng.random(outputs, np.float32)
            return tags.round() if whole else tags
        return rng.standard_normal(outputs, np.float32)

    def loss(self, outputs, target) -> mc.Tensor:
        return LOSSES[self.task](outputs, target)


LOSSES: dict[str, Callable[..., mc.Tensor]] = {
    "classes": auxiliary_cross_entropy,
    "tags": ops.binary_cross_entropy_with_logits,
    "factors": ops.mse_loss,
}

IMAGE = (3, 64, 64)
ENTRIES = [
    Entry("lenet5", "classes"),
    Entry("lenet5", "classes", dict(variant="modern")),
    Entry("alexnet", "classes", batch=2, rate=1e-4, slow=True),
    Entry("alexnet", "classes", dict(variant="torchvision"), (3, 80, 80), rate=3e-4, slow=True),
    *(
        Entry(f"vgg{depth}", "classes", shape=(3, 32, 32), batch=2, rate=1e-4, slow=True)
        for depth in (11, 13, 16, 19)
    ),
    Entry("vgg11", "classes", dict(batch_norm=True), IMAGE, rate=1e-4, slow=True),
    Entry("googlenet", "classes", batch=2, rate=3e-4, slow=True),
    Entry("googlenet", "classes", dict(auxiliary=True), batch=2, rate=3e-4, slow=True),
    Entry("googlenet", "classes", dict(variant="torchvision"), IMAGE),
    Entry("googlenet", "classes", dict(variant="torchvision", auxiliary=True), IMAGE, slow=True),
    Entry("resnet18", "classes", shape=IMAGE),
    Entry("resnet34", "classes", shape=IMAGE, slow=True),
    Entry("resnet50", "classes", shape=IMAGE, slow=True),
    Entry("mel_cnn_1d", "tags"),
    Entry("mel_cnn_2d", "tags", slow=True),
    Entry("mel_cnn_2d", "tags", dict(filters=32)),
    *(Entry(f"fcn{depth}", "tags", batch=2, slow=True) for depth in (3, 4, 5)),
    Entry("fcn4", "tags", dict(variant="lecture"), batch=2, slow=True),
    *(Entry(f"fcn{depth}", "tags", rate=3e-3, slow=True) for depth in (6, 7)),
    Entry("sample_cnn", "tags", batch=6, rate=4e-3, slow=True),
    Entry("sample_cnn", "tags", dict(m=2, n=13), batch=6, rate=4e-3, slow=True),
    Entry("sample_cnn", "tags", dict(m=3, n=5, window=729, hop=243)),
    Entry("recommender", "factors", rate=3e-4),
    Entry("onset_cnn", "tags", batch=16, rate=4e-3),
    Entry("onset_cnn", "tags", dict(variant="madmom"), batch=16, rate=4e-3),
    Entry("voice_cnn", "tags", batch=8, slow=True),
    *(Entry("spiral_cnn", "classes", dict(arch=arch)) for arch in range(1, 9)),
    Entry("crepe", "tags", dict(capacity="tiny"), rate=4e-3),
    *(
        Entry("crepe", "tags", dict(capacity=capacity), rate=4e-3, slow=True)
        for capacity in ("small", "medium", "large", "full")
    ),
    Entry("deep_salience", "tags", shape=(6, 360, 3), batch=2, rate=1e-2, slow=True),
]

every_entry = pytest.mark.parametrize(
    "entry",
    [pytest.param(e, marks=pytest.mark.slow if e.slow else (), id=str(e)) for e in ENTRIES],
)
