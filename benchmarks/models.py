"""Whole networks: a training step (forward, loss, backward, Adam), and inference.

A network takes part once its PyTorch twin is here, with the same names of parameters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

import minicnn as mc
from benchmarks import harness
from benchmarks.twins.lenet5 import ModernLeNet5 as LeNet5
from minicnn import models, ops, optim

# So small that all repeats compute with nearly the same numbers.
LEARNING_RATE = 1e-6
LAYOUTS = {"default": torch.contiguous_format, "channels_last": torch.channels_last}


@dataclass(frozen=True)
class Network:
    """A model by its name in `minicnn.models`, its twin, its classes, and the size of a batch."""

    model: str
    options: dict[str, str]
    twin: Callable[[], torch.nn.Module]
    classes: int
    full: int
    toy: int


NETWORKS = (Network("lenet5", dict(variant="modern"), LeNet5, classes=10, full=64, toy=4),)


def cases(size: str) -> Iterator[harness.Case]:
    """Yield the cases of this topic, at "full" or "toy" size."""
    for network in NETWORKS:
        name = " ".join([network.model, *network.options.values()])
        for work, build in (("training step", _training), ("inference", _inference)):
            yield harness.Case("models", name, work, functools.partial(build, network, size))


def _training(network, size):
    model, x, labels = _start(network, size)
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)

    def step():
        optimizer.zero_grad()
        loss = ops.cross_entropy(model(mc.Tensor(x)), labels)
        loss.backward()
        optimizer.step()
        return (loss.data,)

    def their_step(layout):
        twin = _twin(network, model).to(memory_format=layout)
        images, classes = torch.from_numpy(x).to(memory_format=layout), torch.from_numpy(labels)
        optimizer = torch.optim.Adam(twin.parameters(), lr=LEARNING_RATE)

        def step():
            optimizer.zero_grad()
            loss = functional.cross_entropy(twin(images), classes)
            loss.backward()
            optimizer.step()
            return (loss,)

        return step

    check = functools.partial(_check_gradients, network, size)
    # Both passes read every parameter and one writes its gradient; Adam makes 7 accesses.
    return _problem(model, x, step, their_step, "loss", accesses=10, check=check)


def _inference(network, size):
    model, x, _ = _start(network, size)
    model.eval()

    def infer():
        with mc.no_grad():
            return (model(mc.Tensor(x)).data,)

    def their_infer(layout):
        twin = _twin(network, model).to(memory_format=layout).eval()
        images = torch.from_numpy(x).to(memory_format=layout)

        def infer():
            with torch.inference_mode():
                return (twin(images),)

        return infer

    return _problem(model, x, infer, their_infer, "logits", accesses=1)


def _start(network, size):
    """Return the model, and images and labels of one batch."""
    model = models.create(network.model, **network.options, rng=0)
    batch = getattr(network, size)
    labels = np.random.default_rng(0).integers(network.classes, size=batch)
    return model, harness.drawn(x=(batch, *model.input_shape))["x"], labels


def _twin(network, model):
    """Return the twin with a copy of the model's weights, in their dtype."""
    twin = network.twin()
    state = {name: torch.from_numpy(array.copy()) for name, array in model.state_dict().items()}
    twin.load_state_dict(state, assign=True)
    return twin.requires_grad_()


def _problem(model, x, ours, theirs, result, *, accesses, check=None):
    """Return the problem of these calls, where `theirs` makes PyTorch's for a layout."""
    counted = theirs(torch.contiguous_format)  # a twin of its own: a step would move the weights
    with FlopCounterMode(display=False) as counter:  # 2 FLOP for each multiply-add
        counted()
    count = sum(parameter.size for parameter in model.parameters())
    return harness.Problem(
        ours=_ready(ours),
        theirs={name: _ready(theirs(layout)) for name, layout in LAYOUTS.items()},
        terms={result: count},
        flop=counter.get_total_flops(),
        # What passes between the layers may stay in the cache and is not counted.
        traffic=accesses * 4 * count + x.nbytes,
        shapes={"x": x.shape, "parameters": (count,)},
        check=check,
    )


def _ready(call):
    """Return the side of a call that needs nothing before it."""
    return lambda: call


def _check_gradients(network, size):
    """Compare loss and all gradients in float64: in float32 a ReLU may switch sides by rounding."""
    model, x, labels = _start(network, size)
    model.to(np.float64)
    twin = _twin(network, model)
    x = x.astype(np.float64)
    loss = ops.cross_entropy(model(mc.Tensor(x)), labels)
    loss.backward()
    their_loss = functional.cross_entropy(twin(torch.from_numpy(x)), torch.from_numpy(labels))
    their_loss.backward()
    ours, theirs = dict(model.named_parameters()), dict(twin.named_parameters())
    terms = dict.fromkeys(["loss", *ours], sum(parameter.size for parameter in ours.values()))
    return harness.agree(
        "float64",
        [loss.data, *(parameter.grad for parameter in ours.values())],
        [their_loss, *(theirs[name].grad for name in ours)],
        terms,
    )
