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
SECONDS = 0.4
ALLOWED = 1e-5  # by how much norms may differ from the reference's
ROW = 7 * 7 * 4  # the length of a softmax; it divides both sizes
WINDOWS = dict(kernel_size=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)))
PLAIN = WINDOWS["padding"]
SGD = dict(lr=1e-3, momentum=0.9, dampening=0.0, weight_decay=0.0, nesterov=False)
ADAM = dict(step=3, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, decoupled=False)


@dataclass(frozen=True)
class Pass:
    """A kernel: what it computes of the arrays, and how often it moves as much as one of them.

    What is read twice because a first pass must have ended counts twice.
    """

    name: str
    compute: Callable[[Any, dict[str, Any]], Any]
    moved: float


def _sgd(k, a):
    """Take a step in place."""
    lists = [[a[name]] for name in ("x", "dy", "m")]
    k.sgd_step(*lists, **SGD)
    return lists[0][0], lists[2][0]


def _adam(k, a):
    """Take a step in place."""
    lists = [[a[name]] for name in ("x", "dy", "m", "v")]
    k.adam_step(*lists, **ADAM)
    return lists[0][0], lists[2][0], lists[3][0]


PASSES = (
    Pass("ReLU", lambda k, a: k.relu(a["x"]), 2),
    Pass("ReLU, gradient", lambda k, a: k.relu_grad(a["dy"], a["x"]), 3),
    Pass("leaky ReLU", lambda k, a: k.leaky_relu(a["x"], 0.3), 2),
    Pass("ELU", lambda k, a: k.elu(a["x"], 1.0), 2),
    Pass("softplus", lambda k, a: k.softplus(a["x"], 1.0), 2),
    Pass("sigmoid", lambda k, a: k.sigmoid(a["x"]), 2),
    Pass("tanh", lambda k, a: k.tanh(a["x"]), 2),
    Pass("batch norm", lambda k, a: k.batch_norm(a["x"], a["w"], a["b"], 1e-5), 3),
    Pass(
        "batch norm, gradient",
        lambda k, a: k.batch_norm_grad(a["dy"], a["x"], a["w"], a["mean"], a["variance"], 1e-5),
        5,
    ),
    Pass(
        "batch norm and ReLU",
        lambda k, a: k.batch_norm(a["x"], a["w"], a["b"], 1e-5, None, 0.0),
        3,
    ),
    Pass(
        "batch norm, residual and ReLU",
        lambda k, a: k.batch_norm(a["x"], a["w"], a["b"], 1e-5, a["dy"], 0.0),
        4,
    ),
    Pass(
        "batch norm and ReLU, gradient",
        lambda k, a: k.batch_norm_grad(
            a["dy"], a["x"], a["w"], a["mean"], a["variance"], 1e-5, a["m"], 0.0
        ),
        7,
    ),
    Pass("residual and ReLU", lambda k, a: k.add_residual(a["x"], a["dy"], 0.0), 3),
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
        lambda k, a: k.avg_pool2d(a["x"], **WINDOWS, counted=PLAIN),
        1.25,
    ),
    Pass(
        "average pooling 2x2, gradient",
        lambda k, a: k.avg_pool2d_grad(a["pooled"], a["x"].shape[2:], **WINDOWS, counted=PLAIN),
        1.25,
    ),
    Pass("power pooling 2x2", lambda k, a: k.lp_pool2d(a["x"], p=2.0, **WINDOWS), 1.25),
    Pass("deviation pooling 2x2", lambda k, a: k.std_pool2d(a["x"], **WINDOWS), 1.25),
    Pass("adaptive average pooling", lambda k, a: k.adaptive_avg_pool2d(a["x"], (7, 7)), 1),
    Pass("LRN", lambda k, a: k.local_response_norm(a["x"], 5, 1e-4, 0.75, 2.0), 2),
    Pass("softmax", lambda k, a: k.softmax(a["x"].reshape(-1, ROW), 1), 2),
    Pass("log-softmax", lambda k, a: k.log_softmax(a["x"].reshape(-1, ROW), 1), 2),
    Pass(
        "softmax cross-entropy",
        lambda k, a: k.softmax_cross_entropy(*(a[n].reshape(-1, ROW) for n in ("x", "dy")), 0.0),
        3,
    ),
    Pass(
        "sigmoid cross-entropy",
        lambda k, a: k.sigmoid_cross_entropy(a["x"], a["dy"], None, None),
        3,
    ),
    Pass("squared error", lambda k, a: k.squared_error(a["x"], a["dy"]), 3),
    Pass("dropout", lambda k, a: k.dropout(a["x"], 0.5, 1), 2),
    Pass("dropout, gradient", lambda k, a: k.dropout_grad(a["dy"], 0.5, 1), 2),
    Pass("spatial dropout", lambda k, a: k.spatial_dropout(a["x"], 0.5, 1), 2),
    Pass("Gaussian noise", lambda k, a: k.gaussian_noise(a["x"], 0.1, 1), 2),
    Pass("bias, gradient", lambda k, a: k.conv2d_bias_grad(a["dy"]), 1),
    Pass("SGD with momentum", _sgd, 5),
    Pass("Adam", _adam, 7),
)


def items(gpu: Gpu, size: str = "full") -> list[Item]:
    """Return what this section measures."""
    return [
        Item(each.name, gpu.releasing(partial(measure, gpu, each, SHAPES[size]))) for each in PASSES
    ]


def measure(gpu: Gpu, each: Pass, shape: tuple[int, ...], left: float) -> dict[str, Any]:
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
    pooled = *shape[:2], *(extent // 2 for extent in shape[2:])
    large = dict.fromkeys(("x", "dy", "m", "v"), shape)
    arrays = gpu.draw(**large, pooled=pooled, w=channels, b=channels, mean=channels)
    return arrays | {"v": np.square(arrays["v"]), "variance": np.square(arrays["b"]) + 1}


def _copies(arrays):
    return {name: array.copy() for name, array in arrays.items()}


def _results(results):
    return results if isinstance(results, tuple) else (results,)
