"""Kernels between guards: `python -m tests.reliability.strain WHAT CASES SEED`.

WHAT is an algorithm of convolution, or "others" for all kernels but convolution. Each case is one
call with arrays, options and a layout of chance; the guards must be untouched after it, the inputs
unchanged, and the result the reference's. It runs in a process of its own, because a kernel that
leaves its memory ends the process. It says how many cases there were and how many arrays they took.
"""

import faulthandler
import random
import sys
from contextlib import contextmanager, nullcontext

import numpy as np
from minicnn.kernels import memory, reference, threads
from minicnn.kernels.cpu import conv, conv_fft, parallel, spectra
from minicnn.kernels.geometry import output_size

import minicnn as mc
from minicnn import kernels
from tests.kernels.cases import assert_close
from tests.reliability.guarded import Watch

# Taps along both axes for which an algorithm is made.
TAPS = {
    "direct": [(1, 1), (3, 3), (1, 3), (5, 5), (1, 17), (9, 2), (4, 3), (2, 5), (7, 7), (1, 64)],
    "winograd": [(3, 3), (5, 5), (1, 3), (3, 1), (1, 4), (4, 1), (5, 1), (1, 5)],
    "fft": [(3, 3), (1, 17), (17, 1), (9, 2), (2, 5), (1, 64), (30, 1), (12, 3)],
}


class Draw:
    """Sizes and arrays of chance."""

    def __init__(self, seed, watch):
        self.rng, self._watch = random.Random(seed), watch
        self._numbers = np.random.default_rng(seed)
        self.dtype = np.dtype(np.float32)

    def integer(self, low, high):
        """Return a number that is small more often than not."""
        return min(self.rng.randint(low, high), self.rng.randint(low, high))

    def pair(self, low, high):
        return self.integer(low, high), self.integer(low, high)

    def chance(self, share):
        return self.rng.random() < share

    def normal(self, *shape):
        return self.placed(self._numbers.standard_normal(shape).astype(self.dtype))

    def placed(self, array):
        """Return the array between guards: whole, or a view of one with gaps or in another order.

        Its first number has any place in a vector.
        """
        kind = self.rng.choice(("whole", "whole", "turned", "sliced", "backwards"))
        if kind == "turned":
            axes = list(range(array.ndim))
            self.rng.shuffle(axes)
            array = array.transpose(axes).copy().transpose(np.argsort(axes))
        elif kind == "sliced":
            wide = np.zeros([2 * n + 1 for n in array.shape], array.dtype)
            view = wide[(slice(1, None, 2),) * array.ndim]
            view[...] = array
            return self._watch.laid(wide)[(slice(1, None, 2),) * array.ndim]
        elif kind == "backwards":
            back = (slice(None, None, -1),) * array.ndim
            return self._watch.laid(array[back].copy())[back]
        return self._watch.laid(array)


def convolution(draw, algorithm):
    """Return a call of convolution, or of one of its gradients, that the algorithm can do."""
    taps = draw.rng.choice(TAPS[algorithm])
    stride = dilation = (1, 1)
    if algorithm != "winograd" and draw.chance(0.5):
        stride = draw.pair(1, 4)
    if algorithm == "direct" and draw.chance(0.3):
        dilation = draw.pair(1, 3)
    padding = draw.pair(0, 5), draw.pair(0, 5)
    groups = draw.integer(1, 4)
    most = 40 if draw.chance(0.1) else 7
    n, c, o = draw.integer(0, 3), groups * draw.integer(1, most), groups * draw.integer(1, most)
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
    name = draw.rng.choice(
        ("conv2d", "conv2d_input_grad", "conv2d_weight_grad", "conv_transpose2d",
         "conv_transpose2d_input_grad", "conv_transpose2d_weight_grad", "conv2d_bias_grad")
    )  # fmt: skip
    some = draw.normal
    if name == "conv2d":
        options["slope"] = draw.rng.choice((1.0, 1.0, 0.0, 0.3))
        arguments = some(*x), some(*w), some(o) if draw.chance(0.5) else None
        name = "prepared" if draw.chance(0.3) else name
    elif name == "conv2d_input_grad":
        arguments = some(*dy), some(*w), tuple(size)
    elif name == "conv2d_weight_grad":
        arguments = some(*dy), some(*x), taps
    elif name == "conv_transpose2d":
        arguments = some(*dy), some(*w), some(c) if draw.chance(0.5) else None
        options["size"] = tuple(size)
    elif name == "conv_transpose2d_input_grad":
        arguments = some(*x), some(*w), windows
    elif name == "conv_transpose2d_weight_grad":
        arguments = some(*x), some(*dy), taps
    else:
        arguments, options = (some(*dy),), {}
    return name, arguments, options


def pooling(draw):
    """Return a call of pooling by windows of a fixed size."""
    # Code is made for each width and step, so there are few of both.
    kernel_size = draw.rng.randint(1, 3), draw.rng.choice((2, 3))
    stride = draw.integer(1, 3), draw.rng.choice((1, 2))
    padding = tuple((draw.integer(0, k // 2), draw.integer(0, k // 2)) for k in kernel_size)
    size = [
        max(1, k - sum(p)) + draw.integer(0, 40) for k, p in zip(kernel_size, padding, strict=True)
    ]
    windows = dict(kernel_size=kernel_size, stride=stride, padding=padding)
    x = draw.normal(draw.integer(0, 3), draw.integer(1, 6), *size)
    name = draw.rng.choice(("max", "avg", "lp", "std"))
    gradient = draw.chance(0.5)
    if name == "avg":
        windows["counted"] = draw.rng.choice((padding, ((0, 0), (0, 0))))
    elif name == "max":
        windows["dilation"] = (1, 1)
    elif name == "lp":
        windows["p"] = draw.rng.choice((1, 2, 3, 1.5))
    if not gradient:
        return f"{name}_pool2d", (x,), windows
    y = getattr(reference, f"{name}_pool2d")(x, **windows)
    index = None
    if name == "max":
        y, index = y
    dy = draw.normal(*y.shape)
    arguments = {
        "max": lambda: (dy, draw.placed(index.astype(np.int32)), tuple(size)),
        "avg": lambda: (dy, tuple(size)),
    }.get(name, lambda: (dy, x, draw.placed(y)))()
    return f"{name}_pool2d_grad", arguments, windows


def adaptive_pooling(draw):
    """Return a call of pooling by a fixed number of windows."""
    x = draw.normal(draw.integer(0, 3), draw.integer(1, 6), *draw.pair(1, 30))
    windows, size = draw.pair(1, 12), x.shape[2:]
    name = draw.rng.choice(("max", "avg", "lp", "std"))
    p = (draw.rng.choice((1, 2, 3)),) if name == "lp" else ()
    if draw.chance(0.5):
        return f"adaptive_{name}_pool2d", (x, windows, *p), {}
    y = getattr(reference, f"adaptive_{name}_pool2d")(x, windows, *p)
    dy = draw.normal(*x.shape[:2], *windows)
    if name == "max":
        return "adaptive_max_pool2d_grad", (dy, draw.placed(y[1].astype(np.int32)), size), {}
    arguments = (dy, size) if name == "avg" else (dy, x, draw.placed(y), *p)
    return f"adaptive_{name}_pool2d_grad", arguments, {}


def connected(draw):
    """Return a call of a linear layer."""
    n, i, o = draw.integer(0, 70), draw.integer(1, 300), draw.integer(1, 150)
    x, w, dy = draw.normal(n, i), draw.normal(o, i), draw.normal(n, o)
    b = draw.normal(o) if draw.chance(0.5) else None
    calls = dict(
        linear=(x, w, b), linear_input_grad=(dy, w), linear_weight_grad=(dy, x),
        linear_bias_grad=(dy,),
    )  # fmt: skip
    name = draw.rng.choice(list(calls))
    return name, calls[name], {}


def normalisation(draw):
    """Return a call of batch normalisation, or of local response normalisation."""
    n, c = draw.integer(1, 5), draw.integer(1, 20)
    shape = (n, c, *draw.pair(1, 30)) if draw.chance(0.7) else (n, c, draw.integer(2, 700))
    x, dy, w, b, mean = (draw.normal(*s) for s in (shape, shape, (c,), (c,), (c,)))
    variance = draw.placed(np.abs(mean) + draw.dtype.type(0.5))
    response = draw.integer(1, 7), 0.3, 0.75, 1.5
    calls = dict(
        batch_norm=(x, w, b, 1e-1),
        batch_norm_grad=(dy, x, w, mean, variance, 1e-5),
        batch_norm_inference=(x, w, b, mean, variance, 1e-5),
        batch_norm_inference_grad=(dy, x, w, mean, variance, 1e-5),
        local_response_norm=(x, *response),
        local_response_norm_grad=(dy, x, *response),
    )
    name = draw.rng.choice(list(calls))
    return name, calls[name], {}


def of_elements(draw):
    """Return a call of an activation, of dropout or of a loss."""
    shape = [draw.integer(1, 9) for _ in range(draw.integer(1, 3))] + [draw.integer(1, 90)]
    x, y, dy = (draw.normal(*shape) for _ in range(3))
    rows = draw.normal(draw.integer(1, 30), draw.integer(1, 40))
    classes = draw.placed(np.arange(len(rows)) % rows.shape[1])
    mixture = draw.normal(*rows.shape)
    slopes = draw.normal(len(rows))
    target = draw.placed(np.abs(y) % 1)
    one = dict(
        relu=(), leaky_relu=(0.2,), elu=(1.3,), sigmoid=(), tanh=(), scaled_tanh=(1.7, 0.6),
        softplus=(2.0,), softmax=(-1,), log_softmax=(-1,), dropout=(0.4, 7),
        spatial_dropout=(0.4, 7), gaussian_noise=(0.4, 7),
    )  # fmt: skip
    calls = {name: (x, *constants) for name, constants in one.items()}
    with_two = [name for name in one if "dropout" not in name and "noise" not in name]
    calls |= {f"{name}_grad": (dy, y, *one[name]) for name in with_two}
    calls |= dict(
        dropout_grad=(dy, 0.4, 7),
        squared_error=(x, y),
        squared_error_grad=(dy, x, y),
        huber=(x, y, 0.5),
        huber_grad=(dy, x, y, 0.5),
        sigmoid_cross_entropy=(x, target, None, None),
        sigmoid_cross_entropy_grad=(dy, x, target, None, None),
        softmax_cross_entropy=(rows, draw.rng.choice((classes, mixture)), 0.1),
        softmax_cross_entropy_grad=(slopes, rows, draw.rng.choice((classes, mixture)), 0.1),
    )
    name = draw.rng.choice(list(calls))
    return name, calls[name], {}


def step(draw):
    """Return a call of an optimiser's step: what it changes is what it is compared by."""
    shapes = [draw.pair(1, 70) for _ in range(draw.rng.randint(1, 3))]
    w, dw, m, v = ([draw.normal(*shape) for shape in shapes] for _ in range(4))
    if draw.chance(0.5):
        options = dict(lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01, nesterov=False)
        return "sgd_step", (w, dw, m if draw.chance(0.5) else None), options
    v = [np.abs(each) for each in v]
    options = dict(
        step=3, lr=0.1, beta1=0.8, beta2=0.9, eps=1e-3, weight_decay=0.05,
        decoupled=draw.chance(0.5),
    )  # fmt: skip
    return "adam_step", (w, dw, m, v), options


OTHERS = (pooling, adaptive_pooling, connected, normalisation, of_elements, step)


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


def done(name, arguments, options):
    """Return what a call returns: of a convolution too whose filters were prepared for it."""
    if name == "prepared":
        x, w, b = arguments
        return conv.prepared(w, b, x.shape, **options)(x)
    return getattr(kernels.cpu, name)(*arguments, **options)


def check(name, arguments, options, watch):
    """Do a call, and compare it with the reference."""
    kept = copied(arguments)
    wanted = getattr(reference, "conv2d" if name == "prepared" else name)(*kept, **options)
    results = done(name, arguments, options)
    if name.endswith("_step"):
        results, wanted = arguments, kept
    else:
        for array, before in zip(arrays_of(arguments), arrays_of(kept), strict=True):
            assert np.array_equal(array, before), "an input was changed"
    terms = 10_000 * max((array.size for array in arrays_of(kept)), default=1)
    for one, other in zip(arrays_of(results), arrays_of(wanted), strict=True):
        if one.dtype.kind == "f":
            assert_close(one, other, terms)
        else:
            assert np.array_equal(one, other)
    del results, one, arguments
    assert not watch.broken, f"beside arrays of shapes {watch.broken} something was written"


@contextmanager
def cramped():
    """Leave transforms so little room that small images are cut as large ones are."""
    before = conv_fft.LONGEST, conv_fft.BLOCK, conv_fft.SHARED, spectra.BLOCKED
    conv_fft.LONGEST, conv_fft.BLOCK, conv_fft.SHARED, spectra.BLOCKED = 16, 8, 1, 1
    yield
    conv_fft.LONGEST, conv_fft.BLOCK, conv_fft.SHARED, spectra.BLOCKED = before


def strain(what, cases, seed):
    """Return the watch under which so many calls were right."""
    watch = Watch(random.Random(seed))
    memory.empty = watch.empty
    draw = Draw(seed, watch)
    parallel.LEAST = 1  # as if it paid to use all threads
    for number in range(cases):
        draw.dtype = np.dtype(draw.rng.choice((np.float32, np.float64)))
        threads._count = draw.rng.choice((1, 1, 1, 1, 1, 1, 1, 1, 2, 3))
        call = draw.rng.choice(OTHERS)(draw) if what == "others" else convolution(draw, what)
        room = cramped() if what == "fft" and draw.chance(0.3) else nullcontext()
        try:
            with conv.allow(what if what != "others" else "direct"), room:
                check(*call, watch)
        except BaseException as error:
            shapes = [array.shape for array in arrays_of(call[1])]
            error.add_note(
                f"case {number} of seed {seed}: {call[0]} {draw.dtype} {shapes} {call[2]}"
            )
            raise
    return watch


def main():
    faulthandler.enable()
    what, cases, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    mc.set_num_threads(1)
    watch = strain(what, cases, seed)
    print(cases, watch.lent)


if __name__ == "__main__":
    main()
