"""Whole networks: a training step (forward, loss, backward, Adam), and inference.

Before anything is timed, loss and all gradients are compared in float64, and then the float32 loss
of every mode; for that alone dropout lets all through, because the two libraries draw different
masks. What is timed draws them.
"""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import minicnn as mc
from benchmarks import harness, networks, onnx_runtime, pytorch
from benchmarks.networks import NETWORKS, Network, without_dropout

# Beside the largest gradient of a network, what counts as one: the bias of a convolution before
# batch normalisation, for one, has a gradient of nothing but rounding.
LEAST = 1e-3
# How much worse than a sum of all weights the rounding of a network may be in float64: batch
# normalisation over few numbers magnifies that of all layers before it.
MAGNIFIED = 1000


def cases(size: str, *, tuned: bool = False, compiled: bool = False) -> Iterator[harness.Case]:
    """Yield the cases of this topic, at "full" or "toy" size, which only light networks have.

    Parameters
    ----------
    size : str
    tuned : bool
        Give PyTorch its fused Adam, and leave out what was done without it already: ONNX Runtime,
        and the comparison in float64.
    compiled : bool
        Let PyTorch compile every network too, half a minute for each.
    """
    for network in NETWORKS:
        if size == "full" or network.light:
            options = dict(tuned=tuned, compiled=compiled)
            for work, problem in (("training step", training), ("inference", inference)):
                build = functools.partial(problem, network, size, **options)
                yield harness.Case("models", network.name, work, build)


def training(
    network: Network, size: str, *, tuned: bool = False, compiled: bool = False
) -> harness.Problem:
    """Return the problem of a training step."""
    model, x, target = _start(network, size)
    step = networks.training(network, model, x, target)

    def theirs(mode):
        twin = pytorch.build(network, model.state_dict())
        return pytorch.training(network, twin, x, target, mode, fused=tuned)

    sides = _modes(network, model, theirs, compiled)

    def check():
        # The tuned process comes after one that has compared them, and malloc would keep for the
        # timing what they take in float64: 5 GB for VGG-16.
        share = 0.0 if tuned else check_gradients(network, size)
        with without_dropout(model):
            loss = step()
        terms = {"loss": _count(model)}
        for mode, side in sides.items():
            with pytorch.WithoutDropout():
                share = max(share, harness.agree(mode, loss, side()(), terms))
        return share

    # Both passes read every parameter and one writes its gradient; Adam makes 7 accesses.
    return _problem(model, x, step, theirs, sides, accesses=10, check=check)


def inference(
    network: Network, size: str, *, tuned: bool = False, compiled: bool = False
) -> harness.Problem:
    """Return the problem of an inference."""
    model, x, _ = _start(network, size)

    def theirs(mode):
        return pytorch.inference(pytorch.build(network, model.state_dict()), x, mode)

    rivals: dict[str, harness.Side | None] = {}
    if not tuned:
        rivals[onnx_runtime.NAME] = None
        if onnx_runtime.installed():
            twin = pytorch.build(network, model.state_dict())
            exported = onnx_runtime.inference(twin, x)
            rivals[onnx_runtime.NAME] = exported and _ready(exported)
    sides = _modes(network, model, theirs, compiled)
    infer = networks.inference(model, x)
    terms = {"logits": _count(model)}
    return _problem(model, x, infer, theirs, sides, accesses=1, terms=terms, rivals=rivals)


def check_gradients(network: Network, size: str) -> float:
    """Compare loss and all gradients in float64: in float32 a ReLU may switch sides by rounding.

    Returns
    -------
    float
        The worst error as a share of what is allowed.

    Raises
    ------
    WrongResult
        If they do not agree.
    """
    model = network.build()
    x, target = networks.drawn(network, model, size, network.verified)
    model.to(np.float64)
    twin = pytorch.build(network, model.state_dict())
    x, target = (
        array.astype(np.float64) if array.dtype.kind == "f" else array for array in (x, target)
    )
    with without_dropout(model):
        loss = networks.LOSSES[network.task](model(mc.Tensor(x)), target)
    loss.backward()
    with pytorch.WithoutDropout():
        outputs = twin(torch.from_numpy(x))
    their_loss = pytorch.LOSSES[network.task](outputs, torch.from_numpy(target))
    their_loss.backward()
    ours, theirs = dict(model.named_parameters()), dict(twin.named_parameters())
    gradients = [theirs[name].grad for name in ours]
    return harness.agree(
        "float64",
        [loss.data, *(parameter.grad for parameter in ours.values())],
        [their_loss, *gradients],
        dict.fromkeys(["loss", *ours], MAGNIFIED**2 * _count(model)),
        least=LEAST * max(float(gradient.abs().max()) for gradient in gradients),
    )


def _start(network, size):
    """Return a model, a batch and a target, once the network before has made room."""
    gc.collect()
    model = network.build()
    return model, *networks.drawn(network, model, size)


def _modes(network, model, theirs, compiled):
    """Return a side of PyTorch for each of its modes."""
    names = pytorch.modes(pytorch.build(network, model.state_dict()), compiled=compiled)
    return {mode: _ready(theirs(mode)) for mode in names}


def _problem(model, x, ours, theirs, sides, *, accesses, terms=None, rivals=None, check=None):
    """Return the problem of these calls, where `theirs` makes PyTorch's for a mode."""
    counted = theirs("default")  # a twin of its own: a step would move the weights
    with FlopCounterMode(display=False) as counter:  # 2 FLOP for each multiply-add
        counted()
    count = _count(model)
    return harness.Problem(
        ours=_ready(ours),
        theirs=sides,
        rivals=rivals or {},
        terms=terms or {},
        flop=counter.get_total_flops(),
        # What passes between the layers may stay in the cache and is not counted.
        traffic=accesses * 4 * count + x.nbytes,
        shapes={"x": x.shape, "parameters": (count,)},
        check=check,
    )


def _count(model):
    return sum(parameter.size for parameter in model.parameters())


def _ready(call: Callable) -> harness.Side:
    """Return the side of a call that needs nothing before it."""
    return lambda: call
