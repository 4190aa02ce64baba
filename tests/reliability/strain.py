"""Kernels between guards: `python -m tests.reliability.strain WHAT SEED --calls NUMBER`.

WHAT is an algorithm of convolution, or "others" for all other kernels. Each case is one call with
arrays, options and a layout of chance; the guards must be untouched after it, the inputs unchanged,
and the result the reference's. It runs in a process of its own, because a kernel that leaves its
memory ends the process, and one that hangs can be ended in no other way.

The case of a seed is always the same, and the next seed is the next case: SEED alone does one case
again. It says how many calls reached WHAT, and how many arrays all cases took.

With --by-hypothesis all cases follow from SEED together, and one that fails is made simpler first.
To draw so takes 4 ms, ten times as long as from a plain generator and longer than all the rest of a
case, so that most cases are drawn plainly.
"""

import argparse
import faulthandler
import os
import random
import signal
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import hypothesis
import numpy as np
from hypothesis import HealthCheck, given
from hypothesis.strategies import randoms
from minicnn.kernels import memory, reference, threads
from minicnn.kernels.cpu import conv, conv_fft, parallel, spectra
from minicnn.kernels.geometry import output_size

import minicnn as mc
from minicnn import kernels
from tests.kernels.cases import assert_close
from tests.reliability.guarded import Watch

PATIENCE = 120  # how long a call may take, its compilation on a busy machine included [s]
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
    if name == "batch_norm":
        return Call(name, (x, w, b, 1e-1), {}, terms + FEW)
    if name == "batch_norm_inference":
        return Call(name, (x, w, b, mean, variance, 1e-5), {}, FEW)
    return Call(name, (draw.normal(*shape), x, w, mean, variance, 1e-5), {}, terms + FEW)


# The constants of kernels of elements; where the gradient takes more than its dy, that comes first.
CONSTANTS = dict(
    relu=(), leaky_relu=(0.2,), elu=(1.3,), sigmoid=(), tanh=(), scaled_tanh=(1.7, 0.6),
    softplus=(2.0,), softmax=(-1,), log_softmax=(-1,), dropout=(0.4, 7), spatial_dropout=(0.4, 7),
    gaussian_noise=(0.4, 7), squared_error=(), huber=(0.5,),
)  # fmt: skip


def of_elements(draw, name):
    """Of an activation, of dropout, of noise or of a loss of elements."""
    shape = [draw.samples(9)] + [draw.integer(1, 9) for _ in range(draw.integer(0, 2))]
    shape += [draw.integer(1, 90)]
    kernel, is_grad = name.removesuffix("_grad"), name.endswith("_grad")
    count = 1 + is_grad * ("dropout" not in name) + (kernel in ("squared_error", "huber"))
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


# What a chain of operations on one number rounds, a power or an exponential among them, in terms.
FEW = 4

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
    of_elements: [name for name in with_gradients(*CONSTANTS) if name != "gaussian_noise_grad"],
    entropy: with_gradients("softmax_cross_entropy", "sigmoid_cross_entropy"),
    step: ("sgd_step", "adam_step"),
}  # fmt: skip
FAMILY = {name: family for family, names in OTHERS.items() for name in names}
# What gives its result in its first arguments.
IN_PLACE = "sgd_step", "adam_step", "update_running_statistics"


def arrays_of(result):
    """Return the arrays in a result, or in arguments, in order."""
    if isinstance(result, np.ndarray):
        return [result]
    if isinstance(result, (tuple, list)):
        return [array for part in result for array in arrays_of(part)]
    return []


def copied(arguments):
    """Return arguments with copies of their arrays, without gaps."""
    if isinstance(arguments, np.ndarray):
        return arguments.copy()
    if isinstance(arguments, (tuple, list)):
        return type(arguments)(map(copied, arguments))
    return arguments


def done(call):
    """Return the results of a call, of a convolution too whose filters were prepared for it."""
    if call.name == "prepared":
        x, w, b = call.arguments
        return [conv.prepared(w, b, x.shape, **call.options)(x)]
    result = getattr(kernels.cpu, call.name)(*call.arguments, **call.options)
    return arrays_of(call.arguments if call.name in IN_PLACE else result)


def check(call, watch):
    """Do a call, and compare it with the reference."""
    kept = copied(call.arguments)
    reference_of = getattr(reference, "conv2d" if call.name == "prepared" else call.name)
    wanted = reference_of(*kept, **call.options)
    if call.name in IN_PLACE:
        wanted = kept
    results = done(call)
    if call.name not in IN_PLACE:
        for array, before in zip(arrays_of(call.arguments), arrays_of(kept), strict=True):
            assert np.array_equal(array, before), "an input was changed"
    for one, other in zip(results, arrays_of(wanted), strict=True):
        if one.dtype.kind == "f":
            assert_close(one, other, call.terms)
        else:
            assert np.array_equal(one, other)
    del results, one, call
    assert not watch.broken, f"beside arrays of shapes {watch.broken} something was written"


class Noticed:
    """An algorithm of convolution, and how often a pass was given to it."""

    def __init__(self, algorithm):
        self.passes, self._algorithm = 0, algorithm

    def __getattr__(self, name):
        self.passes += name.startswith("conv2d")
        return getattr(self._algorithm, name)


@contextmanager
def cramped():
    """Leave transforms so little room that small images are cut as large ones are."""
    before = conv_fft.LONGEST, conv_fft.BLOCK, conv_fft.SHARED, spectra.BLOCKED
    conv_fft.LONGEST, conv_fft.BLOCK, conv_fft.SHARED, spectra.BLOCKED = 16, 8, 1, 1
    yield
    conv_fft.LONGEST, conv_fft.BLOCK, conv_fft.SHARED, spectra.BLOCKED = before


class Strain:
    """Cases of an algorithm of convolution, or of the others.

    Attributes
    ----------
    calls : int
        How many were right and reached the algorithm.
    draw : Draw
        Has the watch under which they were.
    """

    def __init__(self, what, log=None):
        self.calls, self.draw = 0, Draw()
        self._what, self._log = what, log
        self._noticed = None
        if what != "others":
            self._noticed = conv.ALGORITHMS[what] = Noticed(conv.ALGORITHMS[what])

    def case(self, rng, title="case"):
        """Do what comes from a generator, within its time."""
        signal.alarm(PATIENCE)
        self.draw.begin(rng)
        threads._count = rng.choice((1, 1, 1, 1, 1, 1, 1, 1, 2, 3))
        if self._noticed is None:
            name = rng.choice(tuple(FAMILY))
            call, allowed = FAMILY[name](self.draw, name), "direct"
        else:
            name = rng.choice(CONVOLUTIONS)
            call, allowed = convolution(self.draw, name, self._what), self._what
        room = cramped() if allowed == "fft" and self.draw.chance(0.3) else nullcontext()
        before = self._noticed.passes if self._noticed else 0
        tried = f"{title}: {self._described(call)}"
        if self._log is not None:  # a process that a signal ends says nothing more
            os.pwrite(self._log, f"{tried[:999]:<999}\n".encode(), 0)
        try:
            with conv.allow(allowed), room:
                check(call, self.draw.watch)
        except BaseException as error:
            error.add_note(tried)
            raise
        signal.alarm(0)
        self.calls += self._noticed is None or self._noticed.passes > before

    def _described(self, call):
        shapes = [array.shape for array in arrays_of(call.arguments)]
        return (
            f"{call.name} {self.draw.dtype} {shapes} {call.options}, {threads._count} threads, "
            f"numbers of seed {self.draw.seed}, {' '.join(self.draw.layouts)}"
        )


def drawn_plainly(strain, seed, calls):
    """Do cases from that of a seed on, until so many calls have reached the algorithm."""
    number = seed
    while strain.calls < calls:
        strain.case(random.Random(number), f"seed {number}")
        number += 1


def drawn_by_hypothesis(strain, seed, calls):
    """Do so many cases that follow from a seed together, and make one that fails simpler."""

    @hypothesis.settings(
        max_examples=calls, deadline=None, database=None, suppress_health_check=[*HealthCheck]
    )
    @hypothesis.seed(seed)
    @given(randoms(use_true_random=False))
    def drawn(rng):
        strain.case(rng)

    drawn()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("what", choices=[*conv.ALGORITHMS, "others"])
    parser.add_argument("seed", type=int)
    parser.add_argument("--calls", type=int, default=1)
    parser.add_argument("--by-hypothesis", action="store_true")
    parser.add_argument("--log", help="a file to leave in what is tried")
    options = parser.parse_args()
    faulthandler.enable()
    faulthandler.register(signal.SIGALRM, chain=True)  # and then the process ends, wherever it is
    mc.set_num_threads(1)
    log = os.open(options.log, os.O_CREAT | os.O_WRONLY) if options.log else None
    strain = Strain(options.what, log)
    memory.empty = strain.draw.watch.empty
    parallel.LEAST = 1  # as if it paid to use all threads
    draw = drawn_by_hypothesis if options.by_hypothesis else drawn_plainly
    draw(strain, options.seed, options.calls)
    print(strain.calls, strain.draw.watch.lent)


if __name__ == "__main__":
    main()
