"""Section "memory": kernels that only wait for the memory, beside a copy of as large arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks.device.gpu import Gpu
from benchmarks.device.items import Item
from benchmarks.device.turns import alternate, verify
from benchmarks.harness import quartiles
from minicnn import kernels

SHAPES = {"full": (64, 64, 112, 112), "toy": (2, 4, 14, 14)}  # 206 MB, four times an L2 cache
SECONDS = 0.5
ALLOWED = 1e-5  # by how much norms may differ from the reference's
ROW = 7 * 7 * 4  # the length of a softmax; it divides both sizes
WINDOWS = dict(kernel_size=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)))
ADAM = dict(step=3, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled=False)


@dataclass(frozen=True)
class Pass:
    """A kernel: what it computes of the arrays, and how often it moves as much as one of them.

    What is read twice because a first pass must have ended counts twice.
    """

    name: str
    compute: Callable[[Any, dict[str, Any]], Any]
    moved: float


def _adam(k, a):
    """Take a step in place."""
    lists = [[a[name]] for name in ("x", "dy", "m", "v")]
    k.adam_step(*lists, **ADAM)
    return lists[0][0], lists[2][0], lists[3][0]


PASSES = (
    Pass("ReLU", lambda k, a: k.relu(a["x"]), 2),
    Pass("ReLU, gradient", lambda k, a: k.relu_grad(a["dy"], a["x"]), 3),
    Pass("leaky ReLU", lambda k, a: k.leaky_relu(a["x"], 0.3), 2),
    Pass("sigmoid", lambda k, a: k.sigmoid(a["x"]), 2),
    Pass("tanh", lambda k, a: k.tanh(a["x"]), 2),
    Pass("batch norm", lambda k, a: k.batch_norm(a["x"], a["w"], a["b"], 1e-5), 3),
    Pass(
        "batch norm, gradient",
        lambda k, a: k.batch_norm_grad(a["dy"], a["x"], a["w"], a["mean"], a["variance"], 1e-5),
        5,
    ),
    Pass(
        "batch norm, inference",
        lambda k, a: k.batch_norm_inference(a["x"], a["w"], a["b"], a["mean"], a["variance"], 1e-5),
        2,
    ),
    Pass(
        "max pooling 2x2",
        lambda k, a: k.max_pool2d(a["x"], **WINDOWS, dilation=(1, 1), with_index=False)[0],
        1.25,
    ),
    Pass(
        "average pooling 2x2",
        lambda k, a: k.avg_pool2d(a["x"], **WINDOWS, counted=WINDOWS["padding"]),
        1.25,
    ),
    Pass("softmax", lambda k, a: k.softmax(a["x"].reshape(-1, ROW), 1), 2),
    Pass("dropout", lambda k, a: k.dropout(a["x"], 0.5, 1), 2),
    Pass("bias, gradient", lambda k, a: k.conv2d_bias_grad(a["dy"]), 1),
    Pass("Adam", _adam, 7),
)


def items(gpu: Gpu, size: str = "full") -> list[Item]:
    """Return what this section measures."""
    return [Item(each.name, partial(_measure, gpu, each, SHAPES[size])) for each in PASSES]


def measure(gpu: Gpu, each: Pass, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the bandwidth of a kernel, that of a copy in turns with it, and their ratio."""
    arrays = _drawn(gpu, shape)
    k = kernels.of(arrays["x"])
    # What is computed in place starts from the same numbers.
    expected = _results(each.compute(kernels.reference, _copies(arrays)))
    error = verify(each.name, _results(each.compute(k, _copies(arrays))), expected, ALLOWED)
    del expected
    source, target = arrays["x"], np.empty_like(arrays["x"])
    readings = alternate(
        gpu,
        {
            "kernel": lambda: lambda: each.compute(k, arrays),
            "copy": lambda: lambda: np.copyto(target, source),
        },
        seconds=SECONDS,
        flushed=True,
    )
    times = {name: quartiles(seconds) for name, seconds in readings.items()}
    moved = {"kernel": each.moved * source.nbytes, "copy": 2 * source.nbytes}
    rates = {name: moved[name] / times[name]["median"] / 1e9 for name in times}
    return {
        **times["kernel"],
        "seconds": readings["kernel"],
        "bytes": moved["kernel"],
        "gbytes": rates["kernel"],
        "copy_gbytes": rates["copy"],
        "fraction": rates["kernel"] / rates["copy"],
        "error": error,
    }


def _drawn(gpu, shape):
    channels = shape[1:2]
    arrays = gpu.draw(x=shape, dy=shape, m=shape, v=shape, w=channels, b=channels, mean=channels)
    return arrays | {"v": np.square(arrays["v"]), "variance": np.square(arrays["b"]) + 1}


def _copies(arrays):
    return {name: array.copy() for name, array in arrays.items()}


def _results(results):
    return results if isinstance(results, tuple) else (results,)


def _measure(gpu, each, shape, left):
    try:
        return measure(gpu, each, shape)
    finally:
        gpu.release()
