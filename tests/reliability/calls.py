"""Calls of kernels that are drawn by chance: arrays, options and layouts of every kernel.

A source of chance is asked for each, so that a seed, or hypothesis, has all of a case in hand.
"""

import random
from typing import Any, NamedTuple

import numpy as np
from minicnn.kernels import reference
from minicnn.kernels.geometry import output_size

from tests.reliability.guarded import Watch

EMPTY = 0.03  # the share of cases without samples

# Taps along both axes for which an algorithm is made.
TAPS = {
    "direct": [(1, 1), (3, 3), (1, 3), (5, 5), (1, 17), (9, 2), (4, 3), (2, 5), (7, 7), (1, 64)],
    "winograd": [(3, 3), (5, 5), (1, 3), (3, 1), (1, 4), (4, 1), (5, 1), (1, 5)],
    "fft": [(3, 3), (1, 17), (17, 1), (9, 2), (2, 5), (1, 64), (30, 1), (12, 3)],
}
# What an algorithm rounds, in the terms of its sums: tiles of Winograd's with 6 results round ten
# times as much as sums do, of whose tolerance 1,500 cases took 8 %, and these 47 %.
ROUNDED = {"direct": 1, "winograd": 4, "fft": 1}

# What a chain of operations on one number rounds, a power or an exponential among them, in terms.
FEW = 4


class Call(NamedTuple):
    """A call of a kernel, and how many terms it sums up for a number of its result at most."""

    name: str
    arguments: tuple
    options: dict[str, Any]
    terms: int


class Draw:
    """Sizes and arrays of chance."""

    def __init__(self):
        self._places = random.Random()
        self.watch = Watch(self._places)

    def begin(self, rng):
        """Take what follows from this generator: one case."""
        self.rng, self.layouts = rng, []
        self.seed = rng.randrange(1 << 32)
        self._places.seed(self.seed)
        self._numbers = np.random.default_rng(self.seed)
        self.dtype = np.dtype(rng.choice((np.float32, np.float64)))
        self._is_empty = self.chance(EMPTY)

    def integer(self, low, high):
        """Return a number that is small more often than not."""
        return min(self.rng.randint(low, high), self.rng.randint(low, high))

    def pair(self, low, high):
        return self.integer(low, high), self.integer(low, high)

    def samples(self, most):
        """Return the length of an axis that may be empty, which it seldom is."""
        return 0 if self._is_empty else self.integer(1, most)

    def chance(self, share):
        # Hypothesis draws fractions at the borders of their range much more often than others.
        return self.rng.randrange(100) >= round(100 * (1 - share))

    def normal(self, *shape):
        return self.placed(self._numbers.standard_normal(shape).astype(self.dtype))

    def placed(self, array):
        """Return the array between guards: whole, or a view of one with gaps or in another order.

        Its first number has any place in a vector.
        """
        kind = self.rng.choice(("whole", "whole", "turned", "sliced", "backwards"))
        self.layouts.append(kind)
        if kind == "turned":
            axes = list(range(array.ndim))
            self.rng.shuffle(axes)
            array = array.transpose(axes).copy().transpose(np.argsort(axes))
        elif kind == "sliced":
            wide = np.zeros([2 * n + 1 for n in array.shape], array.dtype)
            view = wide[(slice(1, None, 2),) * array.ndim]
            view[...] = array
            return self.watch.laid(wide)[(slice(1, None, 2),) * array.ndim]
        elif kind == "backwards":
            back = (slice(None, None, -1),) * array.ndim
            return self.watch.laid(array[back].copy())[back]
        return self.watch.laid(array)


# Each of these returns a call of the kernel of a name.


def convolution(draw, name, algorithm):
    """Of convolution: one that the algorithm can do."""
    taps = draw.rng.choice(TAPS[algorithm])
    stride = dilation = (1, 1)
    if algorithm != "winograd" and draw.chance(0.5):
        stride = draw.pair(1, 4)
    if algorithm == "direct" and draw.chance(0.3):
        dilation = draw.pair(1, 3)
    padding = draw.pair(0, 5), draw.pair(0, 5)
    groups = draw.integer(1, 4)
    most = 40 if draw.chance(0.1) else 7
    n, c, o = draw.samples(3), groups * draw.integer(1, most), groups * draw.integer(1, most)
    least = [
        max(1, d * (k - 1) + 1 - sum(p)) for k, d, p in zip(taps, dilation, padding, strict=True)
    ]
    size = [low + draw.integer(0, 24) for low in least]
    if draw.chance(0.03):
        size[draw.rng.randrange(2)] += draw.rng.randint(200, 1500)
    w_shape = o, c // groups, *taps
    windows = tuple(map(output_size, size, taps, stride, padding, dilation))
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    x, w, dy = (n, c, *size), w_shape, (n, o, *windows)
    some = draw.normal
    if name in ("conv2d", "prepared"):
        options["slope"] = draw.rng.choice((1.0, 1.0, 0.0, 0.3))
        arguments = some(*x), some(*w), some(o) if draw.chance(0.5) else None
    elif name == "conv2d_input_grad":
        arguments = some(*dy), some(*w), tuple(size)
    elif name == "conv2d_weight_grad":
        arguments = some(*dy), some(*x), taps
    elif name == "conv_transpose2d":
        arguments = some(*dy), some(*w), some(c) if draw.chance(0.5) else None
        options["size"] = tuple(size)
    elif name == "conv_transpose2d_input_grad":
        arguments = some(*x), some(*w), windows
    else:
        arguments = some(*x), some(*dy), taps
    products = taps[0] * taps[1] * (c if name in OF_X else o) // groups
    terms = n * windows[0] * windows[1] if "weight" in name else products
    return Call(name, arguments, options, ROUNDED[algorithm] * (terms + 1))


def pooling(draw, name):
    """Of pooling by windows of a fixed size."""
    # Code is made for each width and step, so there are few of both.
    kernel_size = draw.rng.randint(1, 3), draw.rng.choice((2, 3))
    stride = draw.integer(1, 3), draw.rng.choice((1, 2))
    padding = tuple((draw.integer(0, k // 2), draw.integer(0, k // 2)) for k in kernel_size)
    size = [
        max(1, k - sum(p)) + draw.integer(0, 40) for k, p in zip(kernel_size, padding, strict=True)
    ]
    windows = dict(kernel_size=kernel_size, stride=stride, padding=padding)
    x = draw.normal(draw.samples(3), draw.integer(1, 6), *size)
    kind, terms = name.partition("_")[0], kernel_size[0] * kernel_size[1]
    terms += FEW
    if kind == "avg":
        windows["counted"] = draw.rng.choice((padding, ((0, 0), (0, 0))))
    elif kind == "max":
        windows["dilation"] = (1, 1)
    elif kind == "lp":
        windows["p"] = draw.rng.choice((1, 2, 3, 1.5))
    if not name.endswith("_grad"):
        return Call(name, (x,), windows, terms)
    y = getattr(reference, f"{kind}_pool2d")(x, **windows)
    return Call(name, of_pooled(draw, kind, x, y), windows, terms)


def adaptive_pooling(draw, name):
    """Of pooling by a fixed number of windows."""
    x = draw.normal(draw.samples(3), draw.integer(1, 6), *draw.pair(1, 30))
    windows, kind = draw.pair(1, 12), name.split("_")[1]
    p = (draw.rng.choice((1, 2, 3)),) if kind == "lp" else ()
    # A window is as long as the ratio of the sizes and two samples at most.
    terms = np.prod([size // count + 2 for size, count in zip(x.shape[2:], windows, strict=True)])
    terms = int(terms) + FEW
    if not name.endswith("_grad"):
        return Call(name, (x, windows, *p), {}, terms)
    y = getattr(reference, f"adaptive_{kind}_pool2d")(x, windows, *p)
    return Call(name, (*of_pooled(draw, kind, x, y), *p), {}, terms)


def of_pooled(draw, kind, x, y):
    """Return what the gradient of a pooling takes."""
    y, index = y if kind == "max" else (y, None)
    dy, size = draw.normal(*y.shape), tuple(x.shape[2:])
    if kind == "max":
        return dy, draw.placed(index.astype(np.int32)), size
    return (dy, size) if kind == "avg" else (dy, x, draw.placed(y))


def connected(draw, name):
    """Of a linear layer, or the sums over all but channels."""
    if name == "conv2d_bias_grad":
        dy = draw.normal(draw.samples(3), draw.integer(1, 20), *draw.pair(1, 60))
        return Call(name, (dy,), {}, dy.size // dy.shape[1])
    n, i, o = draw.samples(70), draw.integer(1, 300), draw.integer(1, 150)
    if name == "linear":
        b = draw.normal(o) if draw.chance(0.5) else None
        return Call(name, (draw.normal(n, i), draw.normal(o, i), b), {}, i + 1)
    dy = draw.normal(n, o)
    if name == "linear_input_grad":
        return Call(name, (dy, draw.normal(o, i)), {}, o)
    return Call(name, (dy, draw.normal(n, i)) if name == "linear_weight_grad" else (dy,), {}, n)


def normalisation(draw, name):
    """Of batch normalisation, or of local response normalisation."""
    is_of_batch = name in ("batch_norm", "batch_norm_grad")  # which takes no empty one
    n, c = draw.integer(1, 5) if is_of_batch else draw.samples(5), draw.integer(1, 20)
    shape = (n, c, *draw.pair(1, 30)) if draw.chance(0.7) else (n, c, draw.integer(2, 700))
    if name.startswith("local"):
        size = draw.integer(1, 7)
        arrays = [draw.normal(*shape) for _ in range(2 if name.endswith("_grad") else 1)]
        return Call(name, (*arrays, size, 0.3, 0.75, 1.5), {}, size + FEW)
    w, b, mean = (draw.normal(c) for _ in range(3))
    variance = draw.placed(np.abs(mean) + draw.dtype.type(0.5))
    terms = int(np.prod(shape)) // c
    if name == "update_running_statistics":
        running = draw.normal(c), draw.placed(np.abs(b))
        return Call(name, (*running, mean, variance, draw.integer(2, 99), 0.3), {}, FEW)
    x = draw.normal(*shape)
    other, slope = draw.normal(*shape), (0.0, 0.3, 1.0)[draw.integer(0, 2)]
    if name == "batch_norm":
        residual = other if draw.chance(0.5) else None
        return Call(name, (x, w, b, 1e-1, residual, slope), {}, terms + FEW)
    if name == "batch_norm_inference":
        return Call(name, (x, w, b, mean, variance, 1e-5), {}, FEW)
    then = (other, slope) if name == "batch_norm_grad" and draw.chance(0.7) else ()
    dy = draw.normal(*shape)
    return Call(name, (dy, x, w, mean, variance, 1e-5, *then), {}, terms + FEW)


# The constants of kernels of elements; where the gradient takes more than its dy, that comes first.
CONSTANTS = dict(
    relu=(), leaky_relu=(0.2,), add_residual=(0.2,), elu=(1.3,), sigmoid=(), tanh=(),
    scaled_tanh=(1.7, 0.6), softplus=(2.0,), softmax=(-1,), log_softmax=(-1,), dropout=(0.4, 7),
    spatial_dropout=(0.4, 7), gaussian_noise=(0.4, 7), squared_error=(), huber=(0.5,),
)  # fmt: skip


def of_elements(draw, name):
    """Of an activation, of dropout, of noise or of a loss of elements."""
    shape = [draw.samples(9)] + [draw.integer(1, 9) for _ in range(draw.integer(0, 2))]
    shape += [draw.integer(1, 90)]
    kernel, is_grad = name.removesuffix("_grad"), name.endswith("_grad")
    takes_two = kernel in ("add_residual", "squared_error", "huber")
    count = 1 + is_grad * ("dropout" not in name) + takes_two
    arrays = [draw.normal(*shape) for _ in range(count)]
    if is_grad and "softmax" in name:  # what are no probabilities would magnify rounded sums
        arrays[1] = draw.placed(getattr(reference, kernel)(arrays[1], -1))
    terms = FEW + (shape[-1] if "softmax" in name else 0)
    return Call(name, (*arrays, *CONSTANTS[kernel]), {}, terms)


def entropy(draw, name):
    """Of a loss of classes, with indices or with probabilities."""
    if name.startswith("sigmoid"):
        shape = draw.samples(9), draw.integer(1, 90)
        target = draw.placed(np.abs(draw.normal(*shape)) % 1)
        weights = [draw.normal(shape[1]) if draw.chance(0.3) else None for _ in range(2)]
        arrays = [draw.normal(*shape) for _ in range(1 + name.endswith("_grad"))]
        return Call(name, (*arrays, target, *weights), {}, FEW)
    rows = draw.normal(draw.samples(30), draw.integer(1, 40))
    target = np.arange(len(rows)) % rows.shape[1]
    target = draw.placed(target) if draw.chance(0.5) else draw.normal(*rows.shape)
    if not name.endswith("_grad"):
        return Call(name, (rows, target, 0.1), {}, rows.shape[1] + FEW)
    logarithms = draw.placed(reference.log_softmax(rows, 1))
    arguments = draw.normal(len(rows)), logarithms, target, 0.1
    return Call(name, arguments, {}, rows.shape[1] + FEW)


def step(draw, name):
    """Of an optimiser's step: what it changes is what it is compared by."""
    shapes = [(draw.samples(70), draw.integer(1, 70)) for _ in range(draw.rng.randint(1, 3))]
    w, dw, m, v = ([draw.normal(*shape) for shape in shapes] for _ in range(4))
    if name == "sgd_step":
        options = dict(lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01)
        options["nesterov"] = draw.chance(0.5)
        return Call(name, (w, dw, m if draw.chance(0.5) else None), options, FEW)
    v = [draw.placed(np.abs(each)) for each in v]
    options = dict(
        step=3, lr=0.1, beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.05,
        decoupled=draw.chance(0.5),
    )  # fmt: skip
    return Call(name, (w, dw, m, v), options, FEW)


CONVOLUTIONS = (
    "conv2d", "prepared", "conv2d_input_grad", "conv2d_weight_grad", "conv_transpose2d",
    "conv_transpose2d_input_grad", "conv_transpose2d_weight_grad",
)  # fmt: skip
# Of these a result sums up channels of x, of the others those of y.
OF_X = "conv2d", "prepared", "conv_transpose2d_input_grad"
KINDS = "max", "avg", "lp", "std"


def with_gradients(*names):
    return [name + end for name in names for end in ("", "_grad")]


OTHERS = {
    pooling: with_gradients(*(f"{kind}_pool2d" for kind in KINDS)),
    adaptive_pooling: with_gradients(*(f"adaptive_{kind}_pool2d" for kind in KINDS)),
    connected: (
        "linear", "linear_input_grad", "linear_weight_grad", "linear_bias_grad", "conv2d_bias_grad",
    ),
    normalisation: [
        *with_gradients("batch_norm", "batch_norm_inference", "local_response_norm"),
        "update_running_statistics",
    ],
    of_elements: [name for name in with_gradients(*CONSTANTS) if hasattr(reference, name)],
    entropy: with_gradients("softmax_cross_entropy", "sigmoid_cross_entropy"),
    step: ("sgd_step", "adam_step"),
}  # fmt: skip
FAMILY = {name: family for family, names in OTHERS.items() for name in names}
