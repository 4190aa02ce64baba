"""The case table: for every kernel at least one call, from which the generic tests are made.

A case names an operation and the arrays it takes. Arrays are drawn away from kinks and ties, so
that differences are those of the slope. `linear` lists the arguments in which the operation is
linear while the others stay fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn import kernels, ops
from minicnn.autograd import Tensor

TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 2e-15}


_ELEMENTWISE = {"relu", "leaky_relu", "elu", "sigmoid", "tanh", "scaled_tanh", "softplus"}


@dataclass(frozen=True)
class Array:
    """How one argument is drawn."""

    shape: tuple[int, ...]
    kind: str = "normal"
    classes: int = 0

    def draw(self, rng, dtype):
        size = math.prod(self.shape)
        if self.kind == "labels":
            return rng.integers(self.classes, size=self.shape)
        if self.kind == "distinct":  # no ties, none within 0.05 of 0
            values = (rng.permutation(size) - size // 2) / 5 + 0.1
        elif self.kind == "unit":
            values = rng.uniform(0.05, 0.95, size)
        elif self.kind == "distribution":
            values = rng.uniform(0.1, 1, self.shape)
            values /= values.sum(axis=1, keepdims=True)
        else:
            values = rng.standard_normal(size)
        return values.reshape(self.shape).astype(dtype)


@dataclass(frozen=True)
class Case:
    operation: str | Callable
    arrays: dict[str, Array]
    options: dict[str, Any] = field(default_factory=dict)
    torch: Callable | None = None
    linear: tuple[str, ...] = ()
    empty: bool = True  # whether it takes a batch without samples
    constants: tuple[str, ...] = ()  # arguments that have no gradient
    note: str = ""

    def __str__(self):
        name = self.operation if isinstance(self.operation, str) else self.operation.__name__
        return f"{name}-{self.note}" if self.note else name

    def run(self, *arguments):
        function = (
            getattr(ops, self.operation) if isinstance(self.operation, str) else self.operation
        )
        return function(*arguments, **self.options)

    def trained(self):
        """Return for each argument whether it has a gradient."""
        return [
            array.kind != "labels" and name not in self.constants
            for name, array in self.arrays.items()
        ]

    def draw(self, dtype, seed=0):
        rng = np.random.default_rng(seed)
        return [array.draw(rng, dtype) for array in self.arrays.values()]

    def terms(self):
        """Return an upper bound of the number of products that any result sums up."""
        if self.operation in _ELEMENTWISE:
            return 4  # what an exponential or a logarithm rounds
        return max(math.prod(array.shape) for array in self.arrays.values())


def assert_close(actual, expected, terms=1):
    """Compare arrays by the rounding of so many summed terms, relative to the largest value."""
    assert actual.shape == expected.shape
    if expected.size:
        scale = max(1.0, float(np.abs(expected).max()))
        allowed = TOLERANCE[np.dtype(actual.dtype)] * math.sqrt(terms) * scale
        assert float(np.abs(actual - expected).max()) <= allowed


def normal(*shape):
    return Array(shape)


def distinct(*shape):
    return Array(shape, "distinct")


def unit(*shape):
    return Array(shape, "unit")


def labels(classes, *shape):
    return Array(shape, "labels", classes)


def conv(x, w, note="", bias=True, torch: Any = True, **options):
    arrays = {"x": normal(*x), "weight": normal(*w)}
    if bias:
        arrays["bias"] = normal(w[0])

    def twin(torch, *arguments):
        return getattr(torch.nn.functional, f"conv{len(x) - 2}d")(*arguments, **options)

    linear = () if bias else ("x", "weight")
    twin = torch if callable(torch) else twin if torch else None
    return Case(f"conv{len(x) - 2}d", arrays, options, twin, linear, note=note)


def conv_transpose(x, w, note="", bias=True, torch=True, **options):
    arrays = {"x": normal(*x), "weight": normal(*w)}
    if bias:
        arrays["bias"] = normal(w[1] * options.get("groups", 1))

    def twin(torch, *arguments):
        return getattr(torch.nn.functional, f"conv_transpose{len(x) - 2}d")(*arguments, **options)

    name, linear = f"conv_transpose{len(x) - 2}d", () if bias else ("x", "weight")
    return Case(name, arrays, options, twin if torch else None, linear, note=note)


def pool(name, x, note="", torch: Any = True, linear=(), **options):
    def twin(torch, x):
        return getattr(torch.nn.functional, name)(x, **options)

    twin = torch if callable(torch) else twin if torch else None
    return Case(name, {"x": distinct(*x)}, options, twin, linear, note=note)


def elementwise(name, twin, note="", kind=distinct, **options):
    return Case(name, {"x": kind(3, 4, 5)}, options, twin, note=note)


def square_root_of_variance(torch, x, **windows):
    """PyTorch has no pooling by standard deviation; its average pooling makes one."""
    average = torch.nn.functional.avg_pool2d
    mean, square = average(x, **windows), average(x * x, **windows)
    return (square - mean * mean).sqrt()


def torch_lp(torch, x):
    return torch.nn.functional.lp_pool2d(x.abs(), 3, (2, 3), stride=(2, 1))


def conv1d_padded_by_hand(torch, x, weight, bias):
    """PyTorch warns that "same" padding of an even window takes a copy."""
    return torch.nn.functional.conv1d(torch.nn.functional.pad(x, (7, 8)), weight, bias)


def local_response_norm_of_paper(torch, x):
    options = dict(alpha=5 * 0.1, beta=0.75, k=2.0)  # PyTorch divides alpha by the size
    return torch.nn.functional.local_response_norm(x, 5, **options)


def batch_norm_training(x, weight, bias, mean, variance):
    """Normalise, and move copies of the running statistics."""
    running = [Tensor(a.data.copy()) for a in (mean, variance)]
    return ops.batch_norm(x, *running, weight, bias, training=True, momentum=0.3)


def batch_norm_activated(x, weight, bias, residual=None, *, slope):
    options = dict(training=True, residual=residual, slope=slope)
    return ops.batch_norm(x, None, None, weight, bias, **options)


def torch_batch_norm_activated(slope):
    def reference(torch, x, weight, bias, residual=0):
        y = torch.nn.functional.batch_norm(x, None, None, weight, bias, training=True)
        return torch.nn.functional.leaky_relu(y + residual, slope)

    return reference


def torch_batch_norm_training(torch, x, weight, bias, mean, variance):
    running = mean.detach().clone(), variance.detach().clone()
    return torch.nn.functional.batch_norm(x, *running, weight, bias, training=True)


def batch_norm_evaluation_activated(x, weight, bias, residual, mean, variance, *, slope):
    statistics = mean.detach(), variance.detach()
    return ops.batch_norm(x, *statistics, weight, bias, residual=residual, slope=slope)


def torch_batch_norm_evaluation_activated(slope):
    def reference(torch, x, weight, bias, residual, mean, variance):
        statistics = mean.detach(), variance.detach()
        y = torch.nn.functional.batch_norm(x, *statistics, weight, bias)
        return torch.nn.functional.leaky_relu(y + residual, slope)

    return reference


def batch_norm_evaluation(x, weight, bias, mean, variance):
    return ops.batch_norm(x, mean.detach(), variance.detach(), weight, bias, eps=1e-3)


def torch_batch_norm_evaluation(torch, x, weight, bias, mean, variance):
    statistics = mean.detach(), variance.detach()
    return torch.nn.functional.batch_norm(x, *statistics, weight, bias, eps=1e-3)


def sgd_steps(w, dw):
    """Return w after three steps with momentum, weight decay and a changing gradient."""
    w, dw = w.data.copy(), dw.data
    velocity = [np.zeros_like(w)]
    options = dict(lr=0.1, momentum=0.9, dampening=0.0, weight_decay=0.01, nesterov=True)
    for step in range(3):
        kernels.of(w).sgd_step([w], [dw * (step + 1)], velocity, **options)
    return Tensor(w)


def torch_sgd_steps(torch, w, dw):
    w = w.detach().clone().requires_grad_()
    options = dict(lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True)
    optimizer = torch.optim.SGD([w], **options)
    for step in range(3):
        w.grad = dw.detach() * (step + 1)
        optimizer.step()
    return w.detach()


def adam_steps(w, dw, decoupled=False):
    """Return w after three steps of Adam, or of AdamW."""
    w, dw = w.data.copy(), dw.data
    m, v = [np.zeros_like(w)], [np.zeros_like(w)]
    options = dict(lr=0.1, beta1=0.8, beta2=0.9, eps=1e-6, weight_decay=0.05, decoupled=decoupled)
    for step in range(3):
        kernels.of(w).adam_step([w], [dw * (step - 1.5)], m, v, step=step + 1, **options)
    return Tensor(w)


def torch_adam_steps(torch, w, dw, decoupled=False):
    w = w.detach().clone().requires_grad_()
    optimizer = (torch.optim.AdamW if decoupled else torch.optim.Adam)(
        [w], lr=0.1, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.05
    )
    for step in range(3):
        w.grad = dw.detach() * (step - 1.5)
        optimizer.step()
    return w.detach()


def fixed_dropout(x, spatial=False):
    return (ops.spatial_dropout if spatial else ops.dropout)(x, 0.4, rng=7)


def fixed_noise(x):
    return ops.gaussian_noise(x, 0.5, rng=7)


CASES = [
    conv((2, 3, 9, 8), (4, 3, 3, 2), stride=(2, 1), padding=(1, 2)),
    conv((2, 3, 9, 8), (4, 3, 3, 2), "no-bias", bias=False),
    conv((2, 4, 9, 8), (6, 2, 3, 3), "groups", groups=2, padding=1, dilation=(2, 1)),
    conv((2, 4, 7, 7), (8, 1, 3, 3), "depthwise", groups=4, padding="same", dilation=2),
    conv((2, 2, 7, 6), (3, 2, 4, 3), "sides", torch=False, padding=((1, 2), (0, 3)), stride=2),
    conv((2, 3, 5, 5), (4, 3, 1, 1), "pointwise", bias=False),
    conv((2, 3, 5, 4), (4, 3, 5, 4), "whole"),
    conv((2, 4, 6, 9), (6, 2, 6, 3), "whole-height", groups=2, padding=(0, 1)),
    conv((2, 3, 1, 5), (4, 3, 3, 5), "whole-width", padding=(2, 0)),
    conv((2, 3, 20), (4, 3, 5), stride=3, padding=2),
    conv((2, 1, 32), (4, 1, 16), "same-even", torch=conv1d_padded_by_hand, padding="same"),
    conv((2, 2, 33), (3, 2, 8), "same-stride", torch=False, padding="same", stride=4, bias=False),
    conv_transpose((2, 4, 5, 4), (4, 3, 3, 2), stride=2, padding=1, output_padding=1),
    conv_transpose((2, 4, 5, 4), (4, 3, 3, 2), "groups", groups=2, dilation=2, stride=(3, 1)),
    conv_transpose((2, 4, 5, 4), (4, 3, 3, 2), "rest", dilation=3, output_padding=2, padding=1),
    conv_transpose((2, 3, 4, 5), (3, 2, 3, 3), "no-bias", bias=False, stride=2),
    conv_transpose((2, 3, 4, 5), (3, 2, 4, 4), "sides", torch=False, padding=((1, 2), (0, 1))),
    conv_transpose((2, 4, 1, 1), (4, 3, 4, 4), "pixel"),
    conv_transpose((2, 4, 1, 3), (4, 3, 2, 3), "row", stride=(3, 2)),
    conv_transpose((2, 4, 9), (4, 3, 6), stride=3, padding=2, output_padding=1),
    Case(
        "linear",
        {"x": normal(5, 7), "weight": normal(4, 7), "bias": normal(4)},
        torch=lambda torch, *a: torch.nn.functional.linear(*a),
    ),
    Case(
        "linear",
        {"x": normal(2, 3, 7), "weight": normal(4, 7)},
        torch=lambda torch, *a: torch.nn.functional.linear(*a),
        linear=("x", "weight"),
        note="no-bias",
    ),
    pool("max_pool2d", (2, 3, 7, 8), kernel_size=(3, 2), stride=2, padding=1, dilation=(1, 2)),
    pool("max_pool2d", (2, 3, 8, 7), "ceil", kernel_size=3, stride=2, ceil_mode=True),
    pool("max_pool2d", (2, 3, 2, 7), "smaller", kernel_size=3, stride=2, ceil_mode=True),
    pool("max_pool1d", (2, 3, 11), kernel_size=3, stride=2, padding=1, ceil_mode=True),
    pool(
        "avg_pool2d",
        (2, 3, 7, 8),
        linear=("x",),
        kernel_size=(3, 2),
        stride=2,
        padding=1,
        ceil_mode=True,
    ),
    pool(
        "avg_pool2d",
        (2, 3, 7, 8),
        "samples",
        kernel_size=3,
        stride=2,
        padding=1,
        ceil_mode=True,
        count_include_pad=False,
    ),
    pool("avg_pool2d", (2, 3, 8, 9), "partial", kernel_size=3, stride=3, padding=1, ceil_mode=True),
    pool("avg_pool1d", (2, 3, 11), kernel_size=4, stride=3, padding=2),
    pool("lp_pool2d", (2, 3, 6, 7), torch=torch_lp, norm_type=3, kernel_size=(2, 3), stride=(2, 1)),
    # PyTorch scales its partial windows as if they were whole.
    pool("lp_pool2d", (2, 3, 6, 7), "ceil", False, norm_type=2, kernel_size=4, ceil_mode=True),
    pool("lp_pool2d", (2, 3, 6, 7), "pad", False, norm_type=1.5, kernel_size=3, padding=1),
    pool("lp_pool1d", (2, 3, 11), norm_type=2, kernel_size=3),
    pool(
        "std_pool2d",
        (2, 3, 6, 7),
        torch=lambda torch, x: square_root_of_variance(torch, x, kernel_size=(3, 2), stride=(1, 2)),
        kernel_size=(3, 2),
        stride=(1, 2),
    ),
    pool(
        "std_pool2d",
        (2, 3, 6, 7),
        "pad",
        lambda torch, x: square_root_of_variance(
            torch, x, kernel_size=3, stride=2, padding=1, ceil_mode=True, count_include_pad=False
        ),
        kernel_size=3,
        stride=2,
        padding=1,
        ceil_mode=True,
    ),
    pool("std_pool1d", (2, 3, 11), torch=False, kernel_size=4, stride=2),
    pool("adaptive_max_pool2d", (2, 3, 7, 8), output_size=(3, 5)),
    pool("adaptive_max_pool1d", (2, 3, 7), "more", output_size=9),
    pool("adaptive_avg_pool2d", (2, 3, 7, 8), linear=("x",), output_size=(3, 5)),
    pool("adaptive_avg_pool1d", (2, 3, 7), output_size=3),
    pool("adaptive_lp_pool2d", (2, 3, 7, 8), torch=False, norm_type=2, output_size=(2, 3)),
    pool("adaptive_lp_pool1d", (2, 3, 7), torch=False, norm_type=3, output_size=2),
    pool("adaptive_std_pool2d", (2, 3, 7, 8), torch=False, output_size=(2, 3)),
    pool("adaptive_std_pool1d", (2, 3, 7), torch=False, output_size=2),
    pool("global_max_pool", (2, 3, 4, 5), torch=lambda torch, x: x.amax((2, 3))),
    pool("global_avg_pool", (2, 3, 11), torch=lambda torch, x: x.mean(2), linear=("x",)),
    pool(
        "global_lp_pool",
        (2, 3, 4, 5),
        torch=lambda torch, x: torch.linalg.vector_norm(x, 2, dim=(2, 3)),
        norm_type=2,
    ),
    pool(
        "global_std_pool",
        (2, 3, 11),
        torch=lambda torch, x: x.std(2, unbiased=False),
    ),
    Case(
        batch_norm_training,
        {
            "x": normal(4, 3, 2, 5),
            "weight": normal(3),
            "bias": normal(3),
            "mean": normal(3),
            "variance": unit(3),
        },
        torch=torch_batch_norm_training,
        empty=False,
    ),
    *(
        Case(
            batch_norm_activated,
            {"x": normal(*shape), "weight": normal(shape[1]), "bias": normal(shape[1])}
            | ({"residual": normal(*shape)} if residual else {}),
            dict(slope=slope),
            torch_batch_norm_activated(slope),
            empty=False,
            note=f"{slope}{'-residual' * residual}",
        )
        for shape, residual, slope in [
            ((4, 3, 2, 5), False, 0.0),
            ((3, 2, 7), False, 0.3),
            ((4, 3, 2, 5), True, 0.0),
            ((5, 3), True, 0.3),
            ((2, 3, 4, 4), True, 1.0),
        ]
    ),
    Case(
        batch_norm_evaluation,
        {
            "x": normal(4, 3, 6),
            "weight": normal(3),
            "bias": normal(3),
            "mean": normal(3),
            "variance": unit(3),
        },
        torch=torch_batch_norm_evaluation,
    ),
    *(
        Case(
            batch_norm_evaluation_activated,
            {
                "x": normal(4, 3, 6),
                "weight": normal(3),
                "bias": normal(3),
                "residual": normal(4, 3, 6),
                "mean": normal(3),
                "variance": unit(3),
            },
            dict(slope=slope),
            torch_batch_norm_evaluation_activated(slope),
            note=f"{slope}",
        )
        for slope in (0.0, 0.3, 1.0)
    ),
    Case(
        "local_response_norm",
        {"x": normal(2, 7, 3, 2)},
        dict(size=4, alpha=0.5, beta=0.75, k=1.5),
        lambda torch, x: torch.nn.functional.local_response_norm(x, 4, 0.5, 0.75, 1.5),
    ),
    Case(
        "local_response_norm",
        {"x": normal(2, 7, 3)},
        dict(size=5, alpha=0.1, beta=0.75, k=2.0, average=False),
        local_response_norm_of_paper,
        note="paper",
    ),
    elementwise("relu", lambda torch, x: x.relu()),
    elementwise(
        "leaky_relu",
        lambda torch, x: torch.nn.functional.leaky_relu(x, 0.2),
        negative_slope=0.2,
    ),
    elementwise("elu", lambda torch, x: torch.nn.functional.elu(x, 1.3), alpha=1.3),
    elementwise("sigmoid", lambda torch, x: x.sigmoid()),
    elementwise("tanh", lambda torch, x: x.tanh()),
    elementwise("scaled_tanh", lambda torch, x: 1.7159 * (x * 2 / 3).tanh(), kind=normal),
    elementwise("softplus", lambda torch, x: torch.nn.functional.softplus(x, 2), beta=2.0),
    elementwise("softmax", lambda torch, x: x.softmax(1), kind=normal, axis=1),
    elementwise("log_softmax", lambda torch, x: x.log_softmax(-1), kind=normal),
    Case(
        "cross_entropy",
        {"logits": normal(6, 5), "target": labels(5, 6)},
        torch=lambda torch, *a: torch.nn.functional.cross_entropy(*a),
        empty=False,
    ),
    Case(
        "cross_entropy",
        {"logits": normal(4, 5, 3), "target": labels(5, 4, 3)},
        dict(label_smoothing=0.1, reduction="none"),
        lambda torch, *a: torch.nn.functional.cross_entropy(
            *a, label_smoothing=0.1, reduction="none"
        ),
        note="smooth",
    ),
    Case(
        "cross_entropy",
        {"logits": normal(4, 5), "target": Array((4, 5), "distribution")},
        dict(label_smoothing=0.2, reduction="sum"),
        lambda torch, x, t: torch.nn.functional.cross_entropy(
            x, t.detach(), label_smoothing=0.2, reduction="sum"
        ),
        constants=("target",),
        note="probabilities",
    ),
    Case(
        "cross_entropy",
        {"logits": normal(4, 5), "target": unit(4, 5)},
        dict(label_smoothing=0.2, reduction="none"),
        lambda torch, *a: torch.nn.functional.cross_entropy(
            *a, label_smoothing=0.2, reduction="none"
        ),
        constants=("target",),
        note="weights",
    ),
    Case(
        "binary_cross_entropy_with_logits",
        {"logits": normal(4, 5), "target": unit(4, 5)},
        torch=lambda torch, x, t: torch.nn.functional.binary_cross_entropy_with_logits(
            x, t.detach()
        ),
        constants=("target",),
        empty=False,
    ),
    Case(
        lambda x, t, w, p: ops.binary_cross_entropy_with_logits(
            x, t, weight=w, pos_weight=p, reduction="none"
        ),
        {"logits": normal(4, 5), "target": unit(4, 5), "weight": unit(5), "positive": unit(5)},
        torch=lambda torch, x, t, w, p: torch.nn.functional.binary_cross_entropy_with_logits(
            x, t.detach(), w.detach(), pos_weight=p.detach(), reduction="none"
        ),
        constants=("target", "weight", "positive"),
        note="weighted",
    ),
    Case(
        "mse_loss",
        {"x": normal(4, 5), "target": normal(4, 5)},
        torch=lambda torch, *a: torch.nn.functional.mse_loss(*a),
        empty=False,
    ),
    Case(
        "huber_loss",
        {"x": distinct(4, 5), "target": normal(4, 5)},
        dict(delta=1.3, reduction="sum"),
        lambda torch, *a: torch.nn.functional.huber_loss(*a, delta=1.3, reduction="sum"),
    ),
    Case(sgd_steps, {"w": normal(4, 5), "dw": normal(4, 5)}, torch=torch_sgd_steps),
    Case(adam_steps, {"w": normal(4, 5), "dw": normal(4, 5)}, torch=torch_adam_steps),
    Case(
        adam_steps,
        {"w": normal(4, 5), "dw": normal(4, 5)},
        dict(decoupled=True),
        lambda torch, *a: torch_adam_steps(torch, *a, decoupled=True),
        note="decoupled",
    ),
    Case(fixed_dropout, {"x": normal(3, 4, 5)}, linear=("x",)),
    Case(fixed_dropout, {"x": normal(3, 4, 5)}, dict(spatial=True), linear=("x",), note="spatial"),
    Case(fixed_noise, {"x": normal(3, 4, 5)}),
]
