"""Section "layers": every convolution of the networks by itself, each shape and each pass once."""

from __future__ import annotations

import functools
from typing import Any

from benchmarks import layers
from benchmarks.conv import Convolution
from benchmarks.device import networks
from benchmarks.device.gpu import Gpu, torch
from benchmarks.device.items import Item
from benchmarks.device.lanes import BFLOAT16, DEFAULT, FLOAT32, TF32, Lane
from benchmarks.device.turns import compare, verify
from benchmarks.networks import NETWORKS
from minicnn import kernels

SECONDS = 0.1
LANES = (FLOAT32, TF32, DEFAULT, BFLOAT16)
WORKS = ("forward", "weight gradient", "input gradient")


def items(gpu: Gpu, size: str = "full") -> list[Item]:
    """Return what this section measures, with the batches of the networks' section."""
    found = layers.convolutions_of(networks.with_batches((*NETWORKS, *layers.VARIANTS)))
    return [
        Item(
            f"{layer.name}, {work}, {lane.name}",
            gpu.releasing(functools.partial(measure, gpu, layer, work, lane, size)),
        )
        for lane in LANES
        for layer, is_first in found.items()
        for work in (WORKS[:2] if is_first else WORKS)
    ]


def measure(
    gpu: Gpu, layer: Convolution, work: str, lane: Lane, size: str, left: float
) -> dict[str, Any]:
    """Verify one pass of a layer, then time it on both sides, each call from an empty cache.

    Returns
    -------
    dict
        The figures of `compare`, what was done, the operations "flop" and "bytes" of it, and
        "errors": how far each layout of PyTorch is from ours.
    """
    # As in a network, where activations come in it from the layer before.
    dtype = torch.bfloat16 if torch is not None and lane.autocast else None
    problem = layers.problem(layer, size, work, gpu.draw, dtype)
    sides = {f"{networks.LAYOUTS[mode]} eager": side for mode, side in problem.theirs.items()}
    with lane.held():
        results = problem.ours()()
        references = sides
        if torch is None:
            references = {"reference": lambda: _by_reference(problem.ours)}
        errors = {
            name: max(
                verify(name, [one], [other], lane.layer)
                for one, other in zip(results, side()(), strict=True)
            )
            for name, side in references.items()
        }
        del results
        ways = {"eager": problem.ours}, sides
        record = compare(gpu, *ways, seconds=SECONDS, flushed=True)
    return {
        "layer": layer.name,
        "work": work,
        "lane": lane.name,
        "flop": problem.flop,
        "bytes": problem.traffic,
        "errors": errors,
        **record,
    }


def _by_reference(side):
    """Return a call of the same by the reference kernels on the same device."""

    def run():
        with kernels.use(kernels.reference):
            return side()()

    return run
