"""Every model against its twin in PyTorch, from the same weights and the same input.

The truth is PyTorch in float64. Our float64 must agree to rounding, through three steps of Adam.
Our outputs and losses in float32 may be off by three times as much as PyTorch's own float32. For
that the steps of training leave out Winograd's algorithm, which rounds up to four times as much
(see `conv_winograd.py`), and is tried apart.

A unit within rounding of zero may switch sides between two runs in float32: a ReLU that lets
through what the other stops, a maximum found at another place. The output hardly moves, but the
gradient of every layer below does, by up to 1 %. So in float32 the twins do not decide for
themselves: each ReLU and each max pooling takes the sides and the places that our run took. All
three runs then differentiate the same smooth function, and what is left is rounding, some
millionths, below which neither a wrong factor nor a wrong epsilon nor a missing term can hide. In
float64 nothing is near zero, and the twins decide for themselves; only what dropout keeps is always
taken from our run.

The parameters after steps of Adam are compared in float64 alone: where a gradient is nothing but
rounding, Adam makes a whole step of it, in any direction.
"""

from __future__ import annotations

import types

import numpy as np
import pytest

import minicnn as mc
from minicnn import kernels, models, optim
from minicnn.autograd import observe
from tests.models.entries import ENTRIES, Entry, every_entry

torch = pytest.importorskip("torch")
from torch.nn import functional  # noqa: E402
from torch.overrides import TorchFunctionMode  # noqa: E402

from benchmarks.twins import TWINS  # noqa: E402

# How much more than the definition F(4x4, 3x3) rounds: 2.9 to 3.8 times.
WINOGRAD = 4


class Decisions:
    """What a run of ours decides, by kind and in order: an observer of operations."""

    def __init__(self):
        self.made = {"side": [], "place": [], "kept": []}

    def __call__(self, name, arguments, options, result, function):
        x = arguments[0].data
        if name in ("relu", "leaky_relu"):
            self.made["side"].append(x > 0)
        elif name in ("batch_norm", "add_residual") and options["slope"] != 1:
            self.made["side"].append(result.data > 0)
        elif name in ("max_pool2d", "adaptive_max_pool2d"):
            options = {"windows" if n == "output_size" else n: o for n, o in options.items()}
            self.made["place"].append(getattr(kernels.reference, name)(x, **options)[1])
        elif name == "dropout":
            kept = kernels.reference.dropout(np.ones_like(x), **options) != 0
            self.made["kept"].append(kept)


class Imposed(TorchFunctionMode):
    """Make PyTorch decide as ours did: where only dropout is imposed, on what it keeps alone."""

    KINDS = {
        **dict.fromkeys(("relu", "leaky_relu"), "side"),
        **dict.fromkeys(("max_pool1d", "max_pool2d", "amax"), "place"),
        "dropout": "kept",
    }

    def __init__(self, decisions, *, only_dropout):
        super().__init__()
        self.left = {kind: iter(made) for kind, made in decisions.made.items()}
        self.imposed = {"kept"} if only_dropout else {"side", "place", "kept"}

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name, kwargs = getattr(function, "__name__", ""), kwargs or {}
        kind = self.KINDS.get(name)
        if kind not in self.imposed or not kwargs.get("training", True):
            return function(*args, **kwargs)
        x, decision = args[0], torch.from_numpy(next(self.left[kind]))
        if kind == "kept":
            rate = kwargs["p"] if "p" in kwargs else args[1]
            return x * decision.reshape(x.shape) / (1 - rate)
        if kind == "side":
            return torch.where(decision.reshape(x.shape), x, kwargs.get("negative_slope", 0.0) * x)
        n, c, *windows = decision.shape
        y = x.reshape(n, c, -1).gather(2, decision.reshape(n, c, -1)).reshape(n, c, *windows)
        # One axis less: pooled along one axis, which is two with height 1, or over everything.
        return y.reshape(n, c, *windows[4 - x.ndim :]) if name != "amax" else y.reshape(n, c)

    def __exit__(self, *error):
        super().__exit__(*error)
        if error == (None, None, None):
            unused = {kind: len(list(left)) for kind, left in self.left.items()}
            assert not any(unused[kind] for kind in self.imposed), unused


LEARNING_RATE = 1e-3


def our_model(entry, state, dtype):
    model = entry.build().to(dtype)
    model.load_state_dict(state)
    return model


def their_model(entry, state, dtype):
    twin = TWINS[entry.name](**entry.options)
    twin.load_state_dict({name: torch.from_numpy(np.array(a)) for name, a in state.items()})
    return twin.to(getattr(torch, np.dtype(dtype).name))


def their_loss(entry, outputs, target):
    """Return the loss of the task, with 0.3 times that of auxiliary heads."""
    if entry.task == "factors":
        return functional.mse_loss(outputs, target)
    if entry.task == "tags":
        return functional.binary_cross_entropy_with_logits(outputs, target)
    losses = [functional.cross_entropy(y, target) for y in as_list(outputs)]
    return losses[0] + 0.3 * sum(losses[1:])


def as_list(outputs):
    return list(outputs) if isinstance(outputs, tuple) else [outputs]


def our_step(entry, model, x, target):
    """Run forward and backward in training mode; return all arrays by name, and the decisions."""
    decisions = Decisions()
    with observe(decisions):
        outputs = model(mc.Tensor(x))
        loss = entry.loss(outputs, target)
    model.zero_grad()
    loss.backward()
    return {
        "loss": loss.data,
        **{f"output {i}": y.data for i, y in enumerate(as_list(outputs))},
        **{f"gradient of {name}": p.grad for name, p in model.named_parameters()},
        **{name: np.array(buffer.data) for name, buffer in model.named_buffers()},
    }, decisions


def their_step(entry, twin, x, target, decisions, *, only_dropout=False):
    """Run forward and backward in training mode, deciding as ours did."""
    with Imposed(decisions, only_dropout=only_dropout):
        outputs = twin(torch.from_numpy(x))
        loss = their_loss(entry, outputs, torch.from_numpy(target))
    slopes = torch.autograd.grad(loss, as_list(outputs), retain_graph=True)
    twin.zero_grad()
    loss.backward()
    return {
        "loss": loss.detach().numpy(),
        **{f"slope {i}": dy.numpy() for i, dy in enumerate(slopes)},
        **{f"output {i}": y.detach().numpy() for i, y in enumerate(as_list(outputs))},
        **{f"gradient of {name}": p.grad.numpy().copy() for name, p in twin.named_parameters()},
        **{name: buffer.numpy().copy() for name, buffer in twin.named_buffers()},
    }


def in_double(array):
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def norm(array):
    return float(np.linalg.norm(np.asarray(array, np.float64).ravel()))


def distances(arrays, truth):
    """Return how far each array lies from the truth."""
    assert arrays.keys() <= truth.keys()
    assert all(arrays[name].shape == truth[name].shape for name in arrays)
    return {name: norm(arrays[name] - truth[name]) for name in arrays}


def exceeding(ours, theirs, truth, times=1):
    """Return what lies too far from the truth, with our distance and the largest allowed.

    Outputs, losses and statistics may lie three times as far as PyTorch's float32, gradients ten
    times. A distance may be small by luck, above all that of a single number, so none counts as
    less than the rounding of the values themselves; that of a loss as less than what errors of the
    outputs may do to it; that of a gradient as less, for its size, than is typical here.

    All that may be so many `times` as far.
    """
    yardstick, size = distances(theirs, truth), {name: norm(a) for name, a in truth.items()}
    yardstick = {n: max(d, np.finfo(np.float32).eps * size[n]) for n, d in yardstick.items()}
    gradients = [name for name in ours if name.startswith("gradient")]
    if gradients:
        typical = np.median([yardstick[name] / (size[name] or 1) for name in gradients])
        yardstick |= {name: max(yardstick[name], typical * size[name]) for name in gradients}
    if "loss" in ours:
        yardstick["loss"] = max(yardstick["loss"], moved(ours, truth), moved(theirs, truth))
    allowed = {name: times * (10 if name in gradients else 3) * yardstick[name] for name in ours}
    found = {name: (d, allowed[name]) for name, d in distances(ours, truth).items()}
    return {name: pair for name, pair in found.items() if not pair[0] <= pair[1]}


def moved(run, truth):
    """Return how far its errors of the outputs move a loss, should none cancel another."""
    outputs = [name for name in run if name.startswith("output")]
    slopes = [truth[name.replace("output", "slope")] for name in outputs]
    errors = [run[name] - truth[name] for name in outputs]
    return sum(float(abs(dy * e).sum()) for dy, e in zip(slopes, errors, strict=True))


@every_entry
def test_in_evaluation_the_output_is_as_exact_as_pytorchs(entry):
    state = entry.state()
    model = our_model(entry, state, np.float32).eval()
    batches = [entry.x(model, seed) for seed in range(1 if entry.slow else 4)]
    with mc.no_grad():
        ours = np.concatenate([model(x).data for x in batches])
    theirs = {}
    for dtype in (np.float32, np.float64):
        twin = their_model(entry, state, dtype).eval()
        with torch.no_grad():
            outputs = [twin(torch.from_numpy(x.astype(dtype))).numpy() for x in batches]
        theirs[dtype] = {"output": np.concatenate(outputs)}
    assert not exceeding({"output": ours}, theirs[np.float32], theirs[np.float64])


@every_entry
def test_in_training_everything_is_as_exact_as_pytorchs(entry):
    with kernels.cpu.conv.allow("direct", "fft"):
        assert not compared_in_float32(entry)


@pytest.mark.slow
@pytest.mark.parametrize(
    "entry", [e for e in ENTRIES if e.name in ("mel_cnn_2d", "sample_cnn")], ids=str
)
def test_winograds_algorithm_rounds_more_but_not_much(entry):
    assert not compared_in_float32(entry, times=WINOGRAD)


def compared_in_float32(entry, seed=0, times=1):
    """Return what exceeds in output, loss, gradients and statistics of a step in float32."""
    state = entry.state()
    model = our_model(entry, state, np.float32)
    x = entry.x(model, seed)
    target = entry.target(output_shape(model, x))
    ours, decisions = our_step(entry, model, x, target)
    del model
    theirs = their_step(entry, their_model(entry, state, np.float32), x, target, decisions)
    twin = their_model(entry, state, np.float64)
    truth = their_step(entry, twin, in_double(x), in_double(target), decisions)
    return exceeding(ours, theirs, truth, times)


def output_shape(model, x):
    """Return the shape of the first output; a model in evaluation mode has only one."""
    with mc.no_grad(), kernels.use(kernels.outline):
        shape = model.eval()(x).shape
    model.train()
    return shape


@every_entry
def test_in_double_precision_three_steps_of_adam_agree_to_rounding(entry):
    state = entry.state()
    model, twin = our_model(entry, state, np.float64), their_model(entry, state, np.float64)
    x = in_double(entry.x(model))
    target = in_double(entry.target(output_shape(model, x)))
    our_optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE)
    their_optimizer = torch.optim.Adam(twin.parameters(), lr=LEARNING_RATE)
    for step in range(3):
        ours, decisions = our_step(entry, model, x, target)
        theirs = their_step(entry, twin, x, target, decisions, only_dropout=True)
        # Each step of Adam magnifies the rounding of the one before.
        assert not disagreeing(ours, theirs, (1e-10, 1e-8, 1e-6)[step]), step
        our_optimizer.step()
        their_optimizer.step()
    for (name, ours), theirs in zip(model.named_parameters(), twin.parameters(), strict=True):
        # In units of a step: a gradient that is nothing but rounding may choose its direction.
        assert abs(ours.data - theirs.detach().numpy()).max() < 1e-3 * LEARNING_RATE, name


def disagreeing(ours, theirs, tolerance):
    """Return what differs by more, relative to its size, with this difference.

    The size of a gradient is at least a thousandth of the largest one's: the bias of a convolution
    before batch normalisation, for one, has a gradient of nothing but rounding.
    """
    gradients = [name for name in theirs if name.startswith("gradient")]
    largest = max(norm(theirs[name]) / theirs[name].size ** 0.5 for name in gradients)
    size = {name: norm(array) for name, array in theirs.items()}
    size |= {n: max(size[n], 1e-3 * largest * theirs[n].size ** 0.5) for n in gradients}
    relative = {name: d / (size[name] or 1) for name, d in distances(ours, theirs).items()}
    return {name: d for name, d in relative.items() if not d <= tolerance}


def a_wrong_factor():
    """Scale the gradient of the dense weights by a ten thousandth too much."""
    right = kernels.reference.linear_weight_grad
    return dict(linear_weight_grad=lambda dy, x: right(dy, x) * np.float32(1.0001))


def a_wrong_epsilon():
    """Normalise over the batch with ten times the epsilon."""
    right, grad = kernels.reference.batch_norm, kernels.reference.batch_norm_grad
    return dict(
        batch_norm=lambda x, w, b, eps, *then: right(x, w, b, 10 * eps, *then),
        batch_norm_grad=lambda dy, x, w, mean, variance, eps, *then: grad(
            dy, x, w, mean, variance, 10 * eps, *then
        ),
    )


def a_missing_term():
    """Forget that the mean of the batch depends on each of its values."""
    grad = kernels.reference.batch_norm_grad

    def without(dy, x, w, mean, variance, eps, *then):
        dx, dw, db = grad(dy, x, w, mean, variance, eps, *then)
        mean_slope = db * x.shape[1] / x.size
        forgotten = (w * mean_slope / np.sqrt(variance + eps))[:, None, None]
        return dx + forgotten, dw, db

    return dict(batch_norm_grad=without)


def a_dropout_without_scale():
    """Keep the values that dropout keeps as they are."""
    right = kernels.reference.dropout
    return dict(dropout=lambda x, p, seed: right(x, p, seed) * x.dtype.type(1 - p))


def nothing_but_nan():
    """Return what compares with nothing."""
    right = kernels.reference.linear_bias_grad
    return dict(linear_bias_grad=lambda dy: right(dy) * np.float32(np.nan))


def a_biased_variance():
    """Keep the variance of the batch as it is, divided by its number and not by one less."""
    right = kernels.reference.update_running_statistics

    def biased(running_mean, running_variance, mean, variance, count, momentum):
        right(running_mean, running_variance, mean, variance * (count - 1) / count, count, momentum)

    return dict(update_running_statistics=biased)


RESNET = Entry("resnet18", "classes", shape=(3, 64, 64))
CREPE = Entry("crepe", "tags", dict(capacity="tiny"))


@pytest.mark.parametrize(
    ("entry", "mistake", "found"),
    [
        (RESNET, a_wrong_factor, "gradient of fc.weight"),
        (RESNET, a_wrong_epsilon, "gradient of conv1.weight"),
        (RESNET, a_missing_term, "gradient of conv1.weight"),
        (RESNET, a_biased_variance, "bn1.running_var"),
        (RESNET, nothing_but_nan, "gradient of fc.bias"),
        (CREPE, a_dropout_without_scale, "output 0"),
    ],
)
def test_a_mistake_is_found_in_float32(entry, mistake, found):
    mistaken = types.SimpleNamespace(**{**vars(kernels.reference), **mistake()})
    with kernels.use(mistaken):
        assert found in compared_in_float32(entry)


def test_a_wrong_rate_of_dropout_is_found():
    class Wrong(Entry):
        def build(self, rng=0):
            model = super().build(rng)
            model.dropout.p = 0.26
            return model

    assert "output 0" in compared_in_float32(Wrong(CREPE.name, CREPE.task, CREPE.options))


def test_one_unit_on_the_other_side_would_look_like_a_mistake():
    entry, state = RESNET, RESNET.state()
    model = our_model(entry, state, np.float32)
    x = entry.x(model)
    target = entry.target(output_shape(model, x))
    ours, decisions = our_step(entry, model, x, target)
    side = decisions.made["side"][0]
    side.flat[np.flatnonzero(side)[0]] = False
    twins = {dtype: their_model(entry, state, dtype) for dtype in (np.float32, np.float64)}
    theirs = their_step(entry, twins[np.float32], x, target, decisions)
    truth = their_step(entry, twins[np.float64], in_double(x), in_double(target), decisions)
    assert exceeding(ours, theirs, truth)


def test_every_model_has_a_twin():
    assert TWINS.keys() == set(models.available())
