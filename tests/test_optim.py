"""Optimisers against PyTorch's over many steps, clipping, and schedules."""

import copy
import math

import numpy as np
import pytest

from minicnn import nn, optim
from tests.kernels.cases import assert_close

optimizers = {
    "sgd": (optim.SGD, "SGD", dict(lr=0.1)),
    "momentum": (optim.SGD, "SGD", dict(lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.01)),
    "nesterov": (optim.SGD, "SGD", dict(lr=0.1, momentum=0.9, nesterov=True)),
    "adam": (optim.Adam, "Adam", dict(lr=0.1, betas=(0.8, 0.95), weight_decay=0.01)),
    "adamw": (optim.AdamW, "AdamW", dict(lr=0.1, weight_decay=0.1)),
}


def steps(optimizer, parameters, make, count=5, start=0):
    """Step with gradients that depend on the step and on the parameter."""
    for step in range(start, start + count):
        for i, parameter in enumerate(parameters):
            gradient = np.sin(np.arange(6.0).reshape(2, 3) + 3 * step + i)
            parameter.grad = None if step == 1 and i == 1 else make(gradient)
        optimizer.step()


@pytest.mark.parametrize("name", optimizers)
def test_steps_agree_with_pytorch_also_when_a_gradient_is_missing_once(name):
    torch = pytest.importorskip("torch")
    ours_class, theirs_name, options = optimizers[name]
    start = [np.ones((2, 3)), np.full((2, 3), -2.0)]
    ours = [nn.Parameter(a.copy()) for a in start]
    theirs = [torch.nn.Parameter(torch.tensor(a)) for a in start]
    steps(ours_class(ours, **options), ours, np.copy)
    steps(getattr(torch.optim, theirs_name)(theirs, **options), theirs, torch.tensor)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a.data, b.detach().numpy(), 20)


@pytest.mark.parametrize("name", optimizers)
def test_a_restored_optimizer_goes_on_bit_for_bit(name):
    kind, _, options = optimizers[name]
    whole = [nn.Parameter(np.ones((2, 3))) for _ in range(2)]
    steps(kind(whole, **options), whole, np.copy, 6)
    halves = [nn.Parameter(np.ones((2, 3))) for _ in range(2)]
    first = kind(halves, **options)
    steps(first, halves, np.copy, 3)
    second = kind(halves, lr=99.0)
    second.load_state_dict(first.state_dict())
    steps(second, halves, np.copy, 3, start=3)
    for a, b in zip(whole, halves, strict=True):
        assert np.array_equal(a.data, b.data)


def test_parameter_groups_have_options_of_their_own():
    weight, bias = (nn.Parameter(np.ones(2)) for _ in range(2))
    groups = [{"params": [weight]}, {"params": [bias], "lr": 0.5, "weight_decay": 0.0}]
    optimizer = optim.SGD(groups, lr=0.1, weight_decay=1.0)
    weight.grad = bias.grad = np.ones(2)
    optimizer.step()
    assert weight.data.tolist() == pytest.approx([0.8, 0.8])
    assert bias.data.tolist() == pytest.approx([0.5, 0.5])


def test_the_factor_of_a_schedule_scales_every_rate():
    weight = nn.Parameter(np.ones(1))
    optimizer = optim.SGD([weight], lr=1.0)
    optimizer.lr_factor = 0.25
    weight.grad = np.ones(1)
    optimizer.step()
    assert weight.data.tolist() == [0.75]


def test_a_frozen_parameter_stays():
    free, frozen = nn.Parameter(np.ones(1)), nn.Parameter(np.ones(1), requires_grad=False)
    optimizer = optim.SGD([free, frozen], lr=1.0)
    (free * frozen).sum().backward()
    optimizer.step()
    assert (free.data.tolist(), frozen.data.tolist()) == ([0], [1])


def test_a_copied_optimizer_goes_on_with_its_copied_parameters():
    weight = nn.Parameter(np.ones((2, 3)))
    optimizer = optim.Adam([weight], lr=0.1)
    steps(optimizer, [weight], np.copy, 3)
    copied, copy_of_optimizer = copy.deepcopy((weight, optimizer))
    steps(optimizer, [weight], np.copy, 1, start=3)
    steps(copy_of_optimizer, [copied], np.copy, 1, start=3)
    assert np.array_equal(weight.data, copied.data)


def test_the_factor_of_a_schedule_is_restored():
    weight = nn.Parameter(np.ones(1))
    optimizer, other = optim.SGD([weight]), optim.SGD([weight])
    optimizer.lr_factor = 0.5
    other.load_state_dict(optimizer.state_dict())
    assert other.lr_factor == 0.5


def test_zero_grad_drops_gradients():
    weight = nn.Parameter(np.ones(1))
    weight.grad = np.ones(1)
    optim.SGD([weight]).zero_grad()
    assert weight.grad is None


def test_optimizers_say_what_is_wrong_with_their_arguments():
    weight = nn.Parameter(np.ones(1))
    for arguments, error, message in (
        (([],), ValueError, "SGD: there are no parameters"),
        (([weight, weight],), ValueError, "listed twice"),
        (([weight * 2],), TypeError, "must be a Tensor, and no operation's result"),
        ((weight,), TypeError, "params is one Tensor; it takes a list"),
        (([weight], -1.0), ValueError, "lr is -1.0; it must be 0 or more"),
        (([{"params": [weight], "rate": 1}],), ValueError, r"unknown options \['rate'\]"),
    ):
        with pytest.raises(error, match=message):
            optim.SGD(*arguments)
    with pytest.raises(ValueError, match="nesterov takes momentum > 0 and dampening 0, not 0.0"):
        optim.SGD([weight], nesterov=True)
    with pytest.raises(ValueError, match="takes two"):
        optim.Adam([weight], betas=(0.9, 0.9, 0.9))
    with pytest.raises(ValueError, match=r"betas\[1\] is 1.0; it lies in \[0, 1\)"):
        optim.Adam([weight], betas=(0.9, 1.0))


def test_a_foreign_state_is_refused_with_every_reason():
    weight = nn.Parameter(np.ones(2))
    state = {"0.m": np.zeros(3), "1.m": np.zeros(2), "0.speed": 1, "group.0": {}, "group.1": {}}
    optimizer = optim.Adam([weight])
    with pytest.raises(ValueError, match="load_state_dict: Adam: ") as error:
        optimizer.load_state_dict(state)
    for reason in (
        "missing 0.step",
        "missing 0.v",
        "0.m is (3,) for a parameter (2,)",
        "unexpected 1.m",
        "unexpected 0.speed",
        "group.0 has [], not ['betas', 'eps', 'lr', 'weight_decay']",
        "unexpected group.1",
    ):
        assert reason in str(error.value)
    with pytest.raises(ValueError, match="missing group.0"):
        optimizer.load_state_dict({})
    with pytest.raises(ValueError, match=r"group\.0 has 3, not \['betas'"):
        optimizer.load_state_dict({"group.0": 3})
    with pytest.raises(ValueError, match="lr is -1; it must be 0 or more"):
        optimizer.load_state_dict({"group.0": dict(lr=-1, betas=(0, 0), eps=0, weight_decay=0)})
    assert optimizer.param_groups[0]["lr"] == 1e-3


def test_clipping_the_norm_scales_all_gradients_together():
    a, b = nn.Parameter(np.zeros(2)), nn.Parameter(np.zeros(1))
    a.grad, b.grad = np.array([3.0, 0.0]), np.array([4.0])
    assert optim.clip_grad_norm([a, b, nn.Parameter(np.zeros(1))], 10.0) == 5
    assert (a.grad.tolist(), b.grad.tolist()) == ([3, 0], [4])
    assert optim.clip_grad_norm(iter([a, b]), 1.0) == 5
    assert a.grad.tolist() + b.grad.tolist() == pytest.approx([0.6, 0, 0.8])
    before = a.grad.copy()
    b.grad[0] = np.nan
    assert optim.clip_grad_norm([a, b], 1.0) == math.inf
    assert np.array_equal(a.grad, before)
    assert optim.clip_grad_norm(a, 0.3) == pytest.approx(0.6)
    a.grad = np.full(2, 1e30, np.float32)
    assert optim.clip_grad_norm([a], 1.0) == pytest.approx(2**0.5 * 1e30, rel=1e-6)
    with pytest.raises(ValueError, match="max_norm is 0; it must be positive"):
        optim.clip_grad_norm([a], 0)


def test_clipping_values_limits_each_element():
    a = nn.Parameter(np.zeros(3))
    a.grad = np.array([-2.0, 0.5, 2.0])
    optim.clip_grad_value([a, nn.Parameter(np.zeros(1))], 1.0)
    assert a.grad.tolist() == [-1, 0.5, 1]
    with pytest.raises(ValueError, match="clip_value is -1; it must be positive"):
        optim.clip_grad_value([a], -1)


def test_schedules_follow_their_curves():
    step = optim.step_decay(3, gamma=0.5)
    assert [step(t, []) for t in (0, 2.9, 3, 6)] == [1, 1, 0.5, 0.25]
    assert optim.exponential_decay(0.5)(2, []) == 0.25
    cosine = optim.cosine_decay(10, minimum=0.1)
    assert [cosine(t, []) for t in (0, 5, 10, 12)] == pytest.approx([1, 0.55, 0.1, 0.1])
    rising = optim.warm_up(4, optim.step_decay(2), start=0.2)
    assert [rising(t, []) for t in (0, 2, 4, 6)] == pytest.approx([0.2, 0.6, 1, 0.1])
    assert optim.warm_up(4)(5, []) == 1
    with pytest.raises(ValueError, match="step_size is 0; it must be positive"):
        optim.step_decay(0)


def test_the_plateau_schedule_agrees_with_pytorch():
    torch = pytest.importorskip("torch")
    losses = [5, 4, 4, 4, 4, 3, 3, 3, 3.1, 3, 2.9999, 3, 1, 1, 1, 1, 1, 1, 1]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=2, threshold=1e-3, min_lr=0.2
    )
    ours = optim.reduce_on_plateau(0.5, patience=2, threshold=1e-3, minimum=0.2)
    for count, loss in enumerate(losses, start=1):
        theirs.step(loss)
        assert ours(count, losses[:count]) == pytest.approx(optimizer.param_groups[0]["lr"])
