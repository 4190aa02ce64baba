"""Section "networks": a training step and an inference of every network, beside PyTorch's.

Both sides run the steps of `benchmarks.networks` and `benchmarks.pytorch`, those that are timed on
the CPU too: the same batch in the same memory order, forward, loss, backward and Adam. PyTorch runs
in both layouts of images, eagerly and as a CUDA graph.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.device import graphs
from benchmarks.device.gpu import Gpu, torch
from benchmarks.device.items import Item
from benchmarks.device.lanes import BFLOAT16, DEFAULT, FLOAT32, TF32, Lane
from benchmarks.device.turns import compare, verify
from benchmarks.networks import Batch, Network, without_dropout
from minicnn import kernels

SECONDS = 0.8
EXACT = 1e-6  # how far loss and gradients may be apart in float64
# So many samples keep a large GPU busy for some milliseconds at least.
BATCHES = {
    "lenet5": 512,
    "alexnet": 64,
    "vgg16": 16,
    "googlenet": 32,
    "resnet34": 32,
    "mel_cnn_1d": 128,
    "mel_cnn_2d": 64,
    "fcn4": 8,
    "sample_cnn": 32,
    "recommender": 64,
    "onset_cnn": 1024,
    "voice_cnn": 128,
    "spiral_cnn": 128,
    "crepe": 64,
    "deep_salience": 8,
}
# Those with targets come first, in case that the time is up.
PASSES = ((FLOAT32, TF32), (DEFAULT, BFLOAT16))
LAYOUTS = {"default": "NCHW", "channels_last": "NHWC"}


def with_batches(chosen: Sequence[Network]) -> list[Network]:
    """Return the networks with the batches of this section."""
    return [
        dataclasses.replace(network, full=Batch(BATCHES[network.model], network.full.shape))
        for network in chosen
    ]


def items(gpu: Gpu, size: str = "full") -> list[Item]:
    """Return what this section measures."""
    return [
        Item(
            f"{network.name}, {work}, {lane.name}",
            gpu.releasing(functools.partial(measure, gpu, network, work, lane, size)),
        )
        for lanes in PASSES
        for network in with_batches(networks.NETWORKS)
        for lane in lanes
        for work in WORKS
    ]


def measure(
    gpu: Gpu, network: Network, work: str, lane: Lane, size: str, left: float
) -> dict[str, Any]:
    """Verify one work of a network, then time it on both sides.

    Returns
    -------
    dict
        The figures of `compare`, what was done, and "errors": how far every way of PyTorch, and our
        graph, is from our eager one; of graphs of steps it is the loss.
    """
    model, x, target = _start(network.name, network.full.size, size)
    ours, theirs, errors = WORKS[work](gpu, network, model, x, target, lane)
    with lane.held():
        sides = ({name: _ready(call) for name, call in side.items()} for side in (ours, theirs))
        record = compare(gpu, *sides, seconds=SECONDS, flushed=False)
    return {
        "network": network.name,
        "work": work,
        "lane": lane.name,
        "shape": list(x.shape),
        "errors": errors,
        **record,
    }


def training(gpu, network, model, x, target, lane):
    """Return our ways to take a training step, PyTorch's, and how far they are apart."""
    moved = copy.deepcopy(model).to(gpu.name)
    batch, wanted = gpu.put(x), gpu.put(target)
    step = networks.training(network, moved, batch, wanted)
    with lane.held():
        with without_dropout(moved):
            (loss,) = step()
        results = {"loss": [loss], "gradients": _gradients(moved, model)}
        if torch is None:
            expected = _by_reference(network, moved, batch, wanted)
            theirs: dict[str, Any] = {}
            errors = {"reference": _errors("reference", results, expected, lane.allowed)}
        else:
            theirs, errors = _pytorch_training(gpu, network, model, x, target, lane, results)
        graph, error = _our_graph(gpu, network, model, (batch, wanted), lane, loss)
    errors |= error
    if lane is FLOAT32 and torch is not None:
        errors["float64"] = check_gradients(gpu, network, model, x, target)
    return {"eager": step, "graph": graph}, theirs, errors


def inference(gpu, network, model, x, target, lane):
    """Return our ways to infer, PyTorch's, and how far they are apart."""
    moved = copy.deepcopy(model).to(gpu.name)
    batch = gpu.put(x)
    infer = networks.inferred(moved)
    with FLOAT32.held():
        infer(batch)  # here `nn.fuse` compares what it made with the model, as float32 rounds
    with lane.held():
        results = {"outputs": [infer(batch)]}
        graph = graphs.ours(infer, [batch], gpu.name)
        found = _errors_of_graph(graph, results, lane)
        ours = {"eager": lambda: (infer(batch),), "graph": graph}
        if torch is None:
            with kernels.use(kernels.reference):
                expected = {"outputs": [moved(batch).data]}
            errors = _errors("reference", results, expected, lane.allowed)
            return ours, {}, {"reference": errors, **found}
        theirs, errors = _pytorch_inference(gpu, network, model, x, lane, results)
    return ours, theirs, errors | found


def check_gradients(
    gpu: Gpu, network: Network, model: Any, x: np.ndarray, target: np.ndarray
) -> dict[str, float]:
    """Compare loss and gradients of a few samples in float64, where no ReLU switches by rounding.

    Raises
    ------
    WrongResult
        If they are further apart than float64 rounds.
    """
    from benchmarks import pytorch

    model = copy.deepcopy(model).to(np.float64)
    twin = pytorch.build(network, model.state_dict()).to(gpu.name)
    model.to(gpu.name)
    x, target = (
        array[: network.verified].astype(np.float64 if array.dtype.kind == "f" else array.dtype)
        for array in (x, target)
    )
    with without_dropout(model):
        loss = networks.LOSSES[network.task](model(gpu.put(x)), gpu.put(target))
    loss.backward()
    with pytorch.WithoutDropout():
        outputs = twin(torch.from_numpy(x).to(gpu.name))
    their_loss = pytorch.LOSSES[network.task](outputs, torch.from_numpy(target).to(gpu.name))
    their_loss.backward()
    results = {"loss": [loss.data], "gradients": _gradients(model, model)}
    expected = {"loss": [their_loss], "gradients": _gradients(twin, model)}
    return _errors("float64", results, expected, dict.fromkeys(results, EXACT))


WORKS: dict[str, Callable] = {"training step": training, "inference": inference}


def _our_graph(gpu, network, model, arrays, lane, loss):
    """Return our training step as a graph, or why there is none, and how far its loss is off.

    What is compared lets dropout through, as the step that the loss is from; what is timed drops.
    """
    moved = copy.deepcopy(model).to(gpu.name)
    with without_dropout(moved):
        graph = graphs.ours(networks.step(network, moved), arrays, gpu.name)
        errors = _errors_of_graph(graph, {"loss": [loss]}, lane)
    return graphs.ours(networks.step(network, moved), arrays, gpu.name), errors


def _errors_of_graph(graph, results, lane, where="graph"):
    """Return how far a graph is from what was computed eagerly, as an entry of "errors" or none."""
    if isinstance(graph, str):
        return {}
    (name,) = results
    return {where: _errors(where, results, {name: graph()}, lane.allowed)}


def _pytorch_training(gpu, network, model, x, target, lane, results):
    from benchmarks import pytorch

    def step(mode, capturable=False):
        twin = pytorch.build(network, model.state_dict())
        # Told to be fast, as with cuDNN's search: the default lane tells neither side anything.
        options = dict(fused=not lane.is_default, capturable=capturable)
        cast = functools.partial(lane.cast, gpu.name)
        call = pytorch.training(
            network, twin, x, target, mode, device=gpu.name, autocast=cast, **options
        )
        return twin, call

    theirs, errors = {}, {}
    for mode in pytorch.modes(model, compiled=False):
        layout = LAYOUTS[mode]
        twin, call = step(mode)
        with pytorch.WithoutDropout():
            (loss,) = call()
        expected = {"loss": [loss], "gradients": _gradients(twin, model)}
        errors[layout] = _errors(layout, results, expected, lane.allowed)
        capturable = step(mode, capturable=True)[1]
        with pytorch.WithoutDropout():
            graph = graphs.theirs(capturable, gpu.name)
        alone = {"loss": results["loss"]}
        errors |= _errors_of_graph(graph, alone, lane, f"{layout} graph")
        theirs[f"{layout} eager"] = call
        theirs[f"{layout} graph"] = graphs.theirs(capturable, gpu.name)
    return theirs, errors


def _pytorch_inference(gpu, network, model, x, lane, results):
    from benchmarks import pytorch

    state = model.state_dict()
    theirs, errors = {}, {}
    for mode in pytorch.modes(model, compiled=False):
        layout, cast = LAYOUTS[mode], functools.partial(lane.cast, gpu.name)
        twin = pytorch.build(network, state)
        call = pytorch.inference(twin, x, mode, device=gpu.name, autocast=cast)
        errors[layout] = _errors(layout, results, {"outputs": call()}, lane.allowed)
        graph = graphs.theirs(call, gpu.name)
        errors |= _errors_of_graph(graph, results, lane, f"{layout} graph")
        theirs |= {f"{layout} eager": call, f"{layout} graph": graph}
    return theirs, errors


def _by_reference(network, model, batch, wanted):
    """Return loss and gradients as the reference kernels compute them on the same device."""
    model.zero_grad()
    with kernels.use(kernels.reference), without_dropout(model):
        loss = networks.LOSSES[network.task](model(batch), wanted)
        loss.backward()
    return {"loss": [loss.data], "gradients": _gradients(model, model)}


def _gradients(model, ordered):
    """Return the gradients of either side's model in the order of ours."""
    parameters = dict(model.named_parameters())
    return [parameters[name].grad for name, _ in ordered.named_parameters()]


def _errors(where, results, expected, allowed):
    return {
        name: verify(f"{where}, {name}", results[name], expected[name], allowed[name])
        for name in results
    }


@functools.lru_cache(maxsize=1)
def _start(name, count, size):
    """Return a model and a batch; the lanes and works of a network follow each other."""
    (network,) = (each for each in networks.NETWORKS if each.name == name)
    network = dataclasses.replace(network, full=Batch(count, network.full.shape))
    model = network.build()
    return model, *networks.drawn(network, model, size)


def _ready(call):
    """Return the side of a call that needs nothing before it, or why there is none."""
    return call if isinstance(call, str) else lambda: call
