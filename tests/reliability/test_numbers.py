"""Numbers are right: every gradient is a slope, every layer is PyTorch's, and so is every edge.

What is strange to a kernel but not to its reference is looked at in `tests/kernels`; here the whole
operation, with its gradient, is compared with what PyTorch makes of the same numbers.
"""

import inspect
import itertools

import numpy as np
import pytest

import minicnn as mc
from minicnn import kernels, nn, ops
from tests.kernels.cases import CASES, assert_close
from tests.kernels.test_cases import Recorder, forward_and_gradients
from tests.test_nn import twins

try:
    import torch
    from torch.nn import functional
except ImportError:
    torch = functional = None

PROMISE = "numbers are right"
MINUTES = 3

beside_pytorch = pytest.mark.skipif(torch is None, reason="PyTorch is not installed")
both_dtypes = pytest.mark.parametrize(
    "dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.torture)]
)


def have_gradients(case):
    """Return whether an operation has any: the step of an optimiser has none."""
    return any(g is not None for g in forward_and_gradients(case, case.draw(np.float64))[1])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_each_element_of_each_gradient_of_an_operation_is_a_slope(case, times, count):
    count(cases_of_operations=int(have_gradients(case)))
    for seed in range(times(quick=1, full=10)):
        arrays = case.draw(np.float64, seed)
        gradients = forward_and_gradients(case, arrays)[1]
        tensors = [
            mc.Tensor(array, requires_grad=gradient is not None)
            for array, gradient in zip(arrays, gradients, strict=True)
        ]
        checked = sum(tensor.size for tensor in tensors if tensor.requires_grad)
        if checked:
            mc.gradcheck(case.run, *tensors)
        count(draws_of_operations=int(checked > 0), slopes=checked)


def test_only_the_steps_of_optimisers_have_no_gradient():
    assert {str(case) for case in CASES if not have_gradients(case)} == {
        "sgd_steps", "adam_steps", "adam_steps-decoupled"
    }  # fmt: skip


def adaptively(reduce, x, counts):
    """Return what a function of dimensions makes of each of so many windows, which may overlap."""
    bounds = [
        [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
        for size, count in zip(x.shape[2:], counts, strict=True)
    ]
    taps = tuple(range(2, x.ndim))
    pooled = [
        reduce(x[(..., *(slice(*bound) for bound in window))], taps)
        for window in itertools.product(*bounds)
    ]
    return torch.stack(pooled, 2).reshape(*x.shape[:2], *counts)


def power(p):
    return lambda x, taps: torch.linalg.vector_norm(x, p, taps)


def deviation(x, taps):
    return x.std(taps, unbiased=False)


# What PyTorch makes of cases that have no function of its own to name in their table: by slices,
# and by padding beforehand.
SIDE = {
    "conv2d-sides": lambda x, w, b: functional.conv2d(
        functional.pad(x, (0, 3, 1, 2)), w, b, stride=2
    ),
    "conv1d-same-stride": lambda x, w: functional.conv1d(functional.pad(x, (3, 4)), w, stride=4),
    "conv_transpose2d-sides": lambda x, w, b: functional.conv_transpose2d(x, w, b)[:, :, 1:-2, :-1],
    "lp_pool2d-ceil": lambda x: functional.lp_pool2d(functional.pad(x.abs(), (0, 1, 0, 2)), 2, 4),
    "lp_pool2d-pad": lambda x: functional.lp_pool2d(
        functional.pad(x.abs(), (1, 1, 1, 1)), 1.5, 3, stride=3
    ),
    "std_pool1d": lambda x: deviation(x.unfold(2, 4, 2), 3),
    "adaptive_lp_pool2d": lambda x: adaptively(power(2), x, (2, 3)),
    "adaptive_lp_pool1d": lambda x: adaptively(power(3), x, (2,)),
    "adaptive_std_pool2d": lambda x: adaptively(deviation, x, (2, 3)),
    "adaptive_std_pool1d": lambda x: adaptively(deviation, x, (2,)),
}
# PyTorch's random numbers are others.
RANDOM = {"fixed_dropout", "fixed_dropout-spatial", "fixed_noise"}
BESIDE = [case for case in CASES if case.torch or str(case) in SIDE]


def test_every_case_has_a_side_of_pytorchs_but_those_with_random_numbers():
    assert {str(case) for case in CASES if not case.torch} == SIDE.keys() | RANDOM


@beside_pytorch
@both_dtypes
@pytest.mark.parametrize("case", BESIDE, ids=str)
def test_values_and_gradients_of_an_operation_are_pytorchs(case, dtype, times, count):
    for seed in range(times(quick=1, full=10)):
        arrays = case.draw(dtype, seed)
        y, gradients = forward_and_gradients(case, arrays)
        trained = zip(arrays, case.trained(), strict=True)
        tensors = [torch.tensor(array, requires_grad=has) for array, has in trained]
        wanted = case.torch(torch, *tensors) if case.torch else SIDE[str(case)](*tensors)
        assert_close(y, wanted.detach().numpy(), case.terms())
        if wanted.requires_grad:
            dy = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
            wanted.backward(torch.tensor(dy))
        for tensor, gradient in zip(tensors, gradients, strict=True):
            assert (gradient is None) == (tensor.grad is None)
            if gradient is not None:
                assert_close(gradient, tensor.grad.numpy(), case.terms())
        count(draws_beside_PyTorch=1)


# Layers that PyTorch has not, or draws other numbers for.
OWN = {
    "StdPool2d": ((2, 4, 9, 8), (3,), {}),
    "StdPool1d": ((2, 4, 11), (3,), {}),
    "AdaptiveStdPool2d": ((2, 4, 9, 8), (3,), {}),
    "AdaptiveStdPool1d": ((2, 4, 11), (3,), {}),
    "AdaptiveLPPool2d": ((2, 4, 9, 8), (2, 3), {}),
    "AdaptiveLPPool1d": ((2, 4, 11), (2, 3), {}),
    "GlobalAvgPool": ((2, 4, 9, 8), (), {}),
    "GlobalMaxPool": ((2, 4, 9, 8), (), {}),
    "GlobalStdPool": ((2, 4, 9, 8), (), {}),
    "GlobalLPPool": ((2, 4, 9, 8), (2,), {}),
    "ScaledTanh": ((5, 4), (), {}),
    "Dropout": ((5, 4), (0.3,), {}),
    "Dropout1d": ((5, 4, 3), (0.3,), {}),
    "Dropout2d": ((5, 4, 3, 2), (0.3,), {}),
    "GaussianNoise": ((5, 4), (0.3,), {}),
}
LAYERS = {**twins, **OWN}
# What holds layers, and is none.
CONTAINERS = {"Buffer", "Fused", "Module", "ModuleList", "Network", "Parameter", "Sequential"}


def test_every_layer_is_looked_at():
    layers = {name for name in nn.__all__ if inspect.isclass(getattr(nn, name))}
    assert layers - CONTAINERS == set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_each_element_of_each_gradient_of_a_layer_is_a_slope(name, times, count):
    count(layers=1)
    shape, arguments, options = LAYERS[name]
    layer = getattr(nn, name)(*arguments, **options).to(np.float64)
    names = [key for key, _ in layer.named_parameters()]
    shapes = [parameter.shape for parameter in layer.parameters()]

    def run(x, *parameters):
        mc.manual_seed(0)  # the same dropout each time
        for key, parameter in zip(names, parameters, strict=True):
            setattr(layer, key, parameter)
        return layer(x)

    for seed in range(times(quick=1, full=10)):
        rng = np.random.default_rng(seed)
        # The samples are apart by more than a difference moves them, so that maxima stay.
        x = rng.permutation(np.prod(shape)).reshape(shape) / 10 - 7.03
        arrays = [x, *map(rng.standard_normal, shapes)]
        mc.gradcheck(run, *(mc.Tensor(array, requires_grad=True) for array in arrays))
        count(draws_of_layers=1, slopes=sum(array.size for array in arrays))


@beside_pytorch
@both_dtypes
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", twins)
def test_the_gradients_of_a_layer_are_pytorchs(name, training, dtype, times, count):
    shape, arguments, options = twins[name]
    for seed in range(times(quick=1, full=10)):
        ours = getattr(nn, name)(*arguments, **options).to(dtype).train(training)
        theirs = getattr(torch.nn, name)(*arguments, **options).train(training)
        theirs = theirs.to(torch.float64 if dtype == np.float64 else torch.float32)
        rng = np.random.default_rng(seed)
        state = {
            key: rng.uniform(0.5, 1.5, value.shape).astype(dtype) if value.ndim else value.numpy()
            for key, value in theirs.state_dict().items()
        }
        ours.load_state_dict(state)
        theirs.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
        x = rng.standard_normal(shape).astype(dtype)
        one, other = mc.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, wanted = ours(one), theirs(other)
        dy = rng.standard_normal(y.shape).astype(dtype)
        y.backward(dy)
        wanted.backward(torch.tensor(dy))
        terms = max(x.size, y.size)
        assert_close(y.data, wanted.detach().numpy(), terms)
        assert_close(one.grad, other.grad.numpy(), terms)
        parameters = dict(theirs.named_parameters())
        for key, parameter in ours.named_parameters():
            assert_close(parameter.grad, parameters.pop(key).grad.numpy(), terms)
        assert not parameters
        count(draws_beside_PyTorch=1)


def strange(dtype):
    """Return strange values among usual ones, all of them in a row, and a row of masks."""
    info = np.finfo(dtype)
    large, small = 0.9 * info.max, info.smallest_subnormal
    # The two largest stand so far apart that no window adds them up: what is left of a sum in which
    # they cancel depends on its order.
    values = np.array(
        [np.nan, 1000, large, -1000, 0.0, -0.0, 5 * small, -5 * small, np.inf, info.tiny, 88, -104,
         1, -1, -np.inf, 0.5, -large],
        dtype,
    )  # fmt: skip
    x = np.random.default_rng(0).standard_normal((len(values) + 2, len(values))).astype(dtype)
    np.fill_diagonal(x, values)
    x[-2], x[-1] = values, -np.inf
    return x


KINDS = {
    "strange": strange,
    "denormal": lambda dtype: np.arange(-20, 20).reshape(5, 8) * np.finfo(dtype).smallest_subnormal,
    "zeros": lambda dtype: np.zeros((5, 8), dtype),
    "constant": lambda dtype: np.full((5, 8), 3.7, dtype),
    "one element": lambda dtype: np.full((1, 1), 3.7, dtype),
    "empty": lambda dtype: np.zeros((0, 8), dtype),
}


def filters(x, *shape):
    """Return filters without a 0, which would hide or make what is not finite."""
    size = np.prod(shape)
    return np.linspace(-1, 1, size + size % 2).astype(x.dtype)[:size].reshape(shape)


def targets(x):
    """Return targets between 0 and 1, often one of these."""
    values = np.random.default_rng(5).uniform(-0.5, 1.5, x.shape).clip(0, 1)
    return values.astype(x.dtype)


def labels(x):
    return np.arange(len(x)) % x.shape[1]


# An operation on rows, and PyTorch's.
ROWS = {
    "relu": (ops.relu, lambda x: x.relu()),
    "leaky_relu": (lambda x: ops.leaky_relu(x, 0.2), lambda x: functional.leaky_relu(x, 0.2)),
    "elu": (lambda x: ops.elu(x, 1.3), lambda x: functional.elu(x, 1.3)),
    "sigmoid": (ops.sigmoid, lambda x: x.sigmoid()),
    "tanh": (ops.tanh, lambda x: x.tanh()),
    "scaled_tanh": (ops.scaled_tanh, lambda x: 1.7159 * (x * 2 / 3).tanh()),
    "softplus": (lambda x: ops.softplus(x, beta=2.0), lambda x: functional.softplus(x, 2.0)),
    "softmax": (lambda x: ops.softmax(x, axis=1), lambda x: x.softmax(1)),
    "log_softmax": (lambda x: ops.log_softmax(x, axis=1), lambda x: x.log_softmax(1)),
    "abs": (lambda x: x.abs(), lambda x: x.abs()),
    "exp": (lambda x: x.exp(), lambda x: x.exp()),
    "log": (lambda x: x.log(), lambda x: x.log()),
    "sqrt": (lambda x: x.sqrt(), lambda x: x.sqrt()),
    "clip": (lambda x: x.clip(-0.7, 0.9), lambda x: x.clamp(-0.7, 0.9)),
    "square": (lambda x: x**2, lambda x: x**2),
    "reciprocal": (lambda x: 1 / x, lambda x: 1 / x),
    "sum": (lambda x: x.sum(axis=1), lambda x: x.sum(1)),
    "mean": (lambda x: x.mean(axis=1), lambda x: x.mean(1)),
    "max": (lambda x: x.max(axis=1), lambda x: x.amax(1)),
    "min": (lambda x: x.min(axis=1), lambda x: x.amin(1)),
    "concatenate": (
        lambda x: ops.concatenate([x, 2 * x], axis=1),
        lambda x: torch.cat([x, 2 * x], 1),
    ),
    "stack": (lambda x: ops.stack([x, 2 * x], axis=1), lambda x: torch.stack([x, 2 * x], 1)),
    "pad": (
        lambda x: ops.pad(x, [(1, 0), (2, 1)], 7.0),
        lambda x: functional.pad(x, (2, 1, 1, 0), value=7.0),
    ),
    "where": (
        lambda x: ops.where(x.data > 0.1, x, -2 * x),
        lambda x: torch.where(x > 0.1, x, -2 * x),
    ),
    # With our random numbers, since PyTorch's are others.
    "dropout": (
        lambda x: ops.dropout(x, 0.4, rng=7),
        lambda x: x * tensor_of(lambda x: ops.dropout(np.ones_like(x), 0.4, rng=7).data, x),
    ),
    "gaussian_noise": (
        lambda x: ops.gaussian_noise(x, 0.5, rng=7),
        lambda x: x + tensor_of(lambda x: ops.gaussian_noise(np.zeros_like(x), 0.5, rng=7).data, x),
    ),
    "linear": (
        lambda x: ops.linear(x, filters(x, 3, x.shape[1])),
        lambda x: functional.linear(x, torch.tensor(filters(x.detach().numpy(), 3, x.shape[1]))),
    ),
    "batch_norm": (
        lambda x: ops.batch_norm(x, training=True),
        lambda x: functional.batch_norm(x, None, None, training=True),
    ),
    "cross_entropy": (
        lambda x: ops.cross_entropy(x, labels(x), reduction="none"),
        lambda x: functional.cross_entropy(x, torch.tensor(labels(x)), reduction="none"),
    ),
    "cross_entropy of probabilities": (
        lambda x: ops.cross_entropy(x, targets(x), reduction="none"),
        lambda x: functional.cross_entropy(x, tensor_of(targets, x), reduction="none"),
    ),
    "smoothed cross_entropy": (
        lambda x: ops.cross_entropy(x, labels(x), reduction="none", label_smoothing=0.1),
        lambda x: functional.cross_entropy(
            x, torch.tensor(labels(x)), reduction="none", label_smoothing=0.1
        ),
    ),
    "binary_cross_entropy_with_logits": (
        lambda x: ops.binary_cross_entropy_with_logits(x, targets(x), reduction="none"),
        lambda x: functional.binary_cross_entropy_with_logits(
            x, tensor_of(targets, x), reduction="none"
        ),
    ),
    "masked binary_cross_entropy_with_logits": (
        lambda x: ops.binary_cross_entropy_with_logits(
            x, targets(x), weight=targets(x) * 0, reduction="none"
        ),
        lambda x: functional.binary_cross_entropy_with_logits(
            x, tensor_of(targets, x), weight=tensor_of(targets, x) * 0, reduction="none"
        ),
    ),
    "mse_loss": (
        lambda x: ops.mse_loss(x, targets(x), reduction="none"),
        lambda x: functional.mse_loss(x, tensor_of(targets, x), reduction="none"),
    ),
    "huber_loss": (
        lambda x: ops.huber_loss(x, targets(x), reduction="none"),
        lambda x: functional.huber_loss(x, tensor_of(targets, x), reduction="none"),
    ),
}
# An operation on images of one channel, and PyTorch's.
IMAGES = {
    "max_pool2d": (lambda x: ops.max_pool2d(x, 2), lambda x: functional.max_pool2d(x, 2)),
    "padded max_pool2d": (
        lambda x: ops.max_pool2d(x, 3, stride=2, padding=1),
        lambda x: functional.max_pool2d(x, 3, 2, 1),
    ),
    "avg_pool2d": (lambda x: ops.avg_pool2d(x, 2), lambda x: functional.avg_pool2d(x, 2)),
    "lp_pool2d": (
        lambda x: ops.lp_pool2d(x, 2, 2),
        lambda x: functional.lp_pool2d(x.abs(), 2, 2),
    ),
    "adaptive_max_pool2d": (
        lambda x: ops.adaptive_max_pool2d(x, (3, 3)),
        lambda x: functional.adaptive_max_pool2d(x, (3, 3)),
    ),
    "adaptive_avg_pool2d": (
        lambda x: ops.adaptive_avg_pool2d(x, (3, 3)),
        lambda x: functional.adaptive_avg_pool2d(x, (3, 3)),
    ),
    "std_pool2d": (
        lambda x: ops.std_pool2d(x, 2),
        lambda x: deviation(x.unfold(2, 2, 2).unfold(3, 2, 2), (4, 5)),
    ),
    "adaptive_lp_pool2d": (
        lambda x: ops.adaptive_lp_pool2d(x, 2, (3, 3)),
        lambda x: adaptively(power(2), x, (3, 3)),
    ),
    "adaptive_std_pool2d": (
        lambda x: ops.adaptive_std_pool2d(x, (3, 3)),
        lambda x: adaptively(deviation, x, (3, 3)),
    ),
    "global_lp_pool": (lambda x: ops.global_lp_pool(x, 2), lambda x: power(2)(x, (2, 3))),
    "global_std_pool": (ops.global_std_pool, lambda x: deviation(x, (2, 3))),
    "spatial_dropout": (
        lambda x: ops.spatial_dropout(x, 0.4, rng=7),
        lambda x: x * tensor_of(lambda x: ops.spatial_dropout(np.ones_like(x), 0.4, rng=7).data, x),
    ),
    "global_max_pool": (
        ops.global_max_pool,
        lambda x: functional.adaptive_max_pool2d(x, 1).flatten(1),
    ),
    "global_avg_pool": (ops.global_avg_pool, lambda x: x.mean((2, 3))),
    "conv2d": (
        lambda x: ops.conv2d(x, filters(x, 2, 1, 3, 3), padding=1),
        lambda x: functional.conv2d(x, tensor_of(filters, x, 2, 1, 3, 3), padding=1),
    ),
    "conv_transpose2d": (
        lambda x: ops.conv_transpose2d(x, filters(x, 1, 2, 2, 2), stride=2),
        lambda x: functional.conv_transpose2d(x, tensor_of(filters, x, 1, 2, 2, 2), stride=2),
    ),
    "local_response_norm": (
        lambda x: ops.local_response_norm(x, 3),
        lambda x: functional.local_response_norm(x, 3),
    ),
}
OPERATIONS = {**ROWS, **IMAGES}


def test_every_operation_is_looked_at_or_has_the_kernels_of_one_that_is():
    looked_at = {word for name in OPERATIONS for word in name.split()}
    missing = set(ops.__all__) - looked_at
    kernels_of = {}
    for case in CASES:
        recorder = Recorder()
        with kernels.use(recorder):
            forward_and_gradients(case, case.draw(np.float64))
        kernels_of.setdefault(case.operation, set()).update(recorder.called)
    # An image of height one.
    assert all(name.endswith("1d") for name in missing)
    for name in missing:
        assert kernels_of[name] <= kernels_of[name.replace("1d", "2d")]


def tensor_of(function, x, *arguments):
    """Return what a function of an array makes of a tensor's, for PyTorch."""
    return torch.tensor(function(x.detach().numpy(), *arguments))


# Where we differ from PyTorch, why, and how one knows such a number: ours, theirs. By operations,
# values, and the result, of one dtype where those of the other agree.
DIFFERENCES = {
    ("abs", "strange", "gradient"): (
        "what is no number has no slope; PyTorch says 0",
        lambda ours, theirs: np.isnan(ours) & (theirs == 0),
    ),
    ("binary_cross_entropy_with_logits", "strange", "value"): (
        "to rule out what has a probability costs infinitely much; PyTorch has inf - inf there",
        lambda ours, theirs: np.isposinf(ours) & np.isnan(theirs),
    ),
    ("mse_loss", "strange", "gradient"): (
        "twice the error overflows, twice its slope need not",
        lambda ours, theirs: np.isfinite(ours) & np.isinf(theirs),
    ),
    ("lp_pool2d", "strange", "value"): (
        "squares cannot overflow: the largest of a window is taken out before",
        lambda ours, theirs: np.isfinite(ours) & np.isinf(theirs),
    ),
    ("lp_pool2d adaptive_lp_pool2d global_lp_pool", "strange", "gradient"): (
        "nor can those in its slopes; and one NaN or infinity spoils its own slope only",
        lambda ours, theirs: np.isfinite(ours) & ~np.isfinite(theirs),
    ),
    ("lp_pool2d adaptive_lp_pool2d global_lp_pool", "denormal", "value"): (
        "nor can they be lost: PyTorch says 0",
        lambda ours, theirs: (ours > 0) & (theirs == 0),
    ),
    ("lp_pool2d adaptive_lp_pool2d global_lp_pool", "denormal", "gradient"): (
        "which has no slope there",
        lambda ours, theirs: np.isfinite(ours) & ~(np.abs(theirs) > 0),
    ),
    ("std_pool2d", "strange", "gradient float64"): (
        "a deviation that overflows has no slope; PyTorch says 0",
        lambda ours, theirs: np.isnan(ours) & (theirs == 0),
    ),
    ("std_pool2d adaptive_std_pool2d global_std_pool", "denormal", "gradient float32"): (
        "to divide by a denormal deviation overflows; ours are of twice the precision",
        lambda ours, theirs: np.isfinite(ours) & ~np.isfinite(theirs),
    ),
    ("adaptive_std_pool2d", "constant", "gradient"): (
        "equal samples have no deviation, whatever their mean rounds to",
        lambda ours, theirs: (ours == 0) & (theirs != 0),
    ),
    ("global_max_pool", "strange", "gradient"): (
        "the first of several NaN takes the slope, as the first of equal maxima; PyTorch's last",
        lambda ours, theirs: (ours == 0) != (theirs == 0),
    ),
}
# Where we refuse what PyTorch takes.
REFUSED = {("batch_norm", "empty"): "no values have no variance to train on"}
# A channel without variance is divided by the root of epsilon, and so is what is rounded in it.
MAGNIFIED = {"batch_norm": 3.7 / np.sqrt(1e-5)}


def explained(name, kind, what, dtype):
    """Return how one knows the numbers that differ for reasons that are written down."""
    return [
        known
        for (names, values, result), (_, known) in DIFFERENCES.items()
        if name in names.split(" ")
        and values == kind
        and result in (what, f"{what} {np.dtype(dtype)}")
    ]


def outcome(function, x, dy, of_torch):
    """Return value and gradient, or None where an operation refuses its input."""
    try:
        if of_torch:
            x = torch.tensor(x, requires_grad=True)
            y = function(x)
            y.backward(torch.tensor(dy(y.shape)))
            return {"value": y.detach().numpy(), "gradient": x.grad.numpy()}
        x = mc.Tensor(x, requires_grad=True)
        y = function(x)
        y.backward(dy(y.shape))
        return {"value": y.data, "gradient": x.grad}
    except (ValueError, RuntimeError, IndexError):
        return None


def differ(ours, theirs, terms):
    """Return where arrays differ by more than the rounding of terms; a 0 may have either sign."""
    info = np.finfo(ours.dtype)
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    allowed = 64 * info.eps * (np.abs(theirs) + terms) + 8 * info.smallest_subnormal
    return ~(same | ((np.abs(ours - theirs) <= allowed) & np.isfinite(theirs)))


@beside_pytorch
@both_dtypes
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.filterwarnings(
    "ignore::RuntimeWarning", r"ignore:std\(\). degrees of freedom:UserWarning"
)
def test_at_the_edge_an_operation_is_pytorchs_but_for_reasons_that_are_written_down(
    name, kind, dtype, count
):
    x = KINDS[kind](dtype).astype(dtype)
    if name in IMAGES:
        x = x.reshape(0, 1, 6, 8) if kind == "empty" else x[None, None]

    def dy(shape):
        return np.random.default_rng(1).uniform(0.1, 1, shape).astype(dtype)

    ours, theirs = (outcome(OPERATIONS[name][of], x, dy, of) for of in (False, True))
    assert (ours is None) == (theirs is None or (name, kind) in REFUSED)
    count(inputs_refused=int(ours is None))
    # What a result adds up is as large as this; a gradient, as dy.
    usual = {"value": min(1, np.abs(x[np.isfinite(x)]).max(initial=0)), "gradient": 1}
    for what in ours or ():
        assert ours[what].shape == theirs[what].shape
        different = differ(ours[what], theirs[what], usual[what] * MAGNIFIED.get(name, 1))
        for known in explained(name, kind, what, dtype):
            assert different.any()  # else nothing is left to explain
            different &= ~known(ours[what], theirs[what])
        places = np.argwhere(different)[:5]
        assert [(*map(int, at), ours[what][*at], theirs[what][*at]) for at in places] == []
        count(numbers_at_the_edge=different.size)


@beside_pytorch
def test_the_mean_loss_of_no_samples_is_refused_where_pytorch_says_nan():
    nothing = np.zeros((0, 3), np.float32)
    assert torch.isnan(functional.mse_loss(torch.tensor(nothing), torch.tensor(nothing)))
    with pytest.raises(ValueError, match="mse_loss: the batch is empty"):
        ops.mse_loss(mc.Tensor(nothing), nothing)
