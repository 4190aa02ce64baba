"""Optimisers, gradient clipping, and learning-rate schedules.

A schedule is a function of the time in epochs and of the validation losses so far, and returns the
factor that multiplies every learning rate. It holds no state, so there is nothing to save: set
`optimizer.lr_factor = schedule(epoch, losses)`, or hand it to `minicnn.fit`, which does so before
every step.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from minicnn import kernels, mistake
from minicnn.autograd import Tensor

Schedule = Callable[[float, Sequence[float]], float]


class Optimizer:
    """The base of all optimisers: parameter groups, their options and the state of each parameter.

    Parameters
    ----------
    parameters : iterable of Parameter, or of dicts
        A dict is a group: its "params", and the options in which they differ from the defaults.
    defaults : dict
        The options of every group.

    Attributes
    ----------
    param_groups : list of dict
        "params" and the options of each group; options may be changed between steps.
    lr_factor : float
        What a schedule multiplies every learning rate by.
    """

    slots: tuple[str, ...] = ()

    def __init__(self, parameters: Iterable, defaults: dict[str, Any]):
        name = type(self).__name__
        if isinstance(parameters, Tensor):
            raise TypeError(f"{name}: params is one Tensor; it takes a list of them")
        if not isinstance(parameters, Iterable):
            raise TypeError(
                f"{name}: params is a {type(parameters).__name__}; it takes what a model's "
                "parameters() returns"
            )
        groups = list(parameters)
        if not groups:
            raise ValueError(
                f"{name}: there are no parameters to optimise; what model.parameters() returns can "
                "be used once, so call it again or make a list of it"
            )
        if not isinstance(groups[0], Mapping):
            groups = [{"params": groups}]
        self.lr_factor = 1.0
        self.param_groups = []
        for group in groups:
            if unknown := group.keys() - defaults.keys() - {"params"}:
                raise ValueError(
                    f"{name}: unknown options {sorted(unknown)}; it has {sorted(defaults)}"
                )
            self.param_groups.append({**defaults, **group, "params": list(group["params"])})
        tensors = [p for group in self.param_groups for p in group["params"]]
        for p in tensors:
            if not isinstance(p, Tensor) or p._node is not None:
                node = getattr(p, "_node", None)
                found = f"a result of {node.name}" if node else type(p).__name__
                raise TypeError(
                    f"{name}: every parameter must be a Tensor, and no operation's result; there "
                    f"is {found}, and model.parameters() yields what is needed"
                )
        if len({id(p) for p in tensors}) < len(tensors):
            raise ValueError(f"{name}: a parameter is listed twice; it would be stepped twice")
        self._check_options(self.param_groups)
        self._state: dict[Tensor, dict[str, Any]] = {}
        self._order = tensors
        self._stepped: weakref.ref | None = None  # the first gradient of the last step

    def zero_grad(self) -> None:
        """Drop the gradients of all parameters."""
        for parameter in self._order:
            parameter.grad = None

    def step(self) -> None:
        """Move every parameter that has a gradient."""
        self._suspect_gradients()
        for group in self.param_groups:
            active = [p for p in group["params"] if p.grad is not None]
            if active:
                lr = kernels.changing(lambda group=group: group["lr"] * self.lr_factor)
                self._step(group, lr, active)

    def state_dict(self) -> dict[str, Any]:
        """Return running averages (arrays, not copies), counts and options, by name."""
        state: dict[str, Any] = {"lr_factor": self.lr_factor}
        for i, parameter in enumerate(self._order):
            for key, value in self._state.get(parameter, {}).items():
                state[f"{i}.{key}"] = value
        for i, group in enumerate(self.param_groups):
            state[f"group.{i}"] = {k: v for k, v in group.items() if k != "params"}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, for an optimiser of the same parameters.

        Raises
        ------
        ValueError
            If the state belongs to other parameters, with every reason at once.
        """
        slots = ("step", *self.slots)
        groups = [f"group.{i}" for i in range(len(self.param_groups))]
        names = {f"{i}.{slot}": p.shape for i, p in enumerate(self._order) for slot in slots}
        begun = [
            i for i in range(len(self._order)) if any(f"{i}.{slot}" in state for slot in slots)
        ]
        wanted = [*groups, *(f"{i}.{slot}" for i in begun for slot in slots)]
        problems = [f"missing {key}" for key in wanted if key not in state]
        for key, value in state.items():
            if key in groups:
                options = self.param_groups[groups.index(key)].keys() - {"params"}
                found = sorted(value) if isinstance(value, Mapping) else value
                if found != sorted(options):
                    problems.append(f"{key} has {found}, not {sorted(options)}")
            elif key not in names and key != "lr_factor":
                problems.append(f"unexpected {key}")
            elif key in names and not key.endswith(".step") and np.shape(value) != names[key]:
                problems.append(f"{key} is {np.shape(value)} for a parameter {names[key]}")
        if problems:
            raise ValueError(f"load_state_dict: {type(self).__name__}: " + "; ".join(problems))
        self._check_options([state[key] for key in groups])
        self._state = {self._order[i]: self._entry(i, state) for i in begun}
        self.lr_factor = float(state.get("lr_factor", 1.0))
        for key, group in zip(groups, self.param_groups, strict=True):
            group.update(state[key])

    def _entry(self, i, state):
        """Return the step and copies of the running averages of a parameter."""
        like = self._order[i].data
        averages = {slot: kernels.copy_like(state[f"{i}.{slot}"], like) for slot in self.slots}
        return {"step": int(state[f"{i}.step"]), **averages}

    def _slots(self, parameters):
        """Return the lists of running averages of these parameters, zero at first."""
        for parameter in parameters:
            if parameter not in self._state:
                zeros = {slot: np.zeros_like(parameter.data) for slot in self.slots}
                self._state[parameter] = {"step": 0, **zeros}
        return [[self._state[p][slot] for p in parameters] for slot in self.slots]

    def _step(self, group, lr, parameters):
        raise NotImplementedError

    def _suspect_gradients(self):
        """Warn where there are no gradients, or still those of the step before."""
        grad = next((p.grad for p in self._order if p.grad is not None), None)
        name = type(self).__name__
        if grad is None:
            mistake.likely(
                f"{name}: none of {len(self._order)} parameters has a gradient, so step changes "
                "nothing; call backward() on a loss of the model that has these parameters"
            )
        elif self._stepped is not None and self._stepped() is grad:
            mistake.likely(
                f"{name}: step found the gradients of the last step again, with newer ones added "
                "if there were any; call zero_grad() before each backward()"
            )
        # No more than a weak reference: it would keep the memory of a gradient from the next step.
        self._stepped = None if grad is None else weakref.ref(grad)

    def _check_options(self, groups):
        """Raise if an option of a group is out of range."""
        for group in groups:
            for key in ("lr", "momentum", "dampening", "weight_decay", "eps"):
                if key in group and not (isinstance(group[key], Real) and group[key] >= 0):
                    raise ValueError(
                        f"{type(self).__name__}: {key} is {group[key]!r}; it must be 0 or more"
                    )
            if len(group.get("betas", (0, 0))) != 2:
                raise ValueError(f"{type(self).__name__}: betas is {group['betas']}; it takes two")
            if group.get("nesterov") and (group["momentum"] <= 0 or group["dampening"] != 0):
                raise ValueError(
                    f"{type(self).__name__}: nesterov takes momentum > 0 and dampening 0, "
                    f"not {group['momentum']} and {group['dampening']}"
                )
            for i, beta in enumerate(group.get("betas", ())):
                if not 0 <= beta < 1:
                    raise ValueError(
                        f"{type(self).__name__}: betas[{i}] is {beta}; it lies in [0, 1)"
                    )


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and weight decay as in PyTorch.

    Parameters
    ----------
    params : iterable of Parameter, or of dicts
    lr : float
    momentum, dampening : float
        v = momentum * v + (1 - dampening) * gradient.
    weight_decay : float
        Adds weight_decay * w to the gradient.
    nesterov : bool
        Whether to step along gradient + momentum * v instead of v.

    Raises
    ------
    ValueError
        If an option is negative, or nesterov lacks momentum or has dampening.

    References
    ----------
    Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.
    """

    slots = ("velocity",)

    def __init__(
        self, params, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False
    ):
        options = dict(lr=lr, momentum=momentum, dampening=dampening)
        super().__init__(params, {**options, "weight_decay": weight_decay, "nesterov": nesterov})

    def _step(self, group, lr, parameters):
        options = {k: group[k] for k in ("momentum", "dampening", "weight_decay", "nesterov")}
        k = kernels.of(parameters[0].data)
        if not group["momentum"]:
            k.sgd_step(*_arrays(parameters), None, lr=lr, **options)
            return
        # PyTorch's first velocity is the whole gradient, without dampening.
        fresh = [p for p in parameters if p not in self._state]
        known = [p for p in parameters if p in self._state]
        for part, dampening in ((fresh, 0.0), (known, group["dampening"])):
            if part:
                (velocity,) = self._slots(part)
                k.sgd_step(*_arrays(part), velocity, lr=lr, **{**options, "dampening": dampening})


class Adam(Optimizer):
    """Adam: steps of the learning rate's size, whatever the scale of the gradient.

    Parameters
    ----------
    params : iterable of Parameter, or of dicts
    lr : float
    betas : (float, float)
        How slowly the running mean and the running mean square of the gradient move.
    eps : float
        Added to the root of the mean square.
    weight_decay : float
        Adds weight_decay * w to the gradient.

    Raises
    ------
    ValueError
        If an option is out of range.

    References
    ----------
    Kingma & Ba, "Adam: a method for stochastic optimization", 2015, algorithm 1.
    """

    slots = ("m", "v")
    decoupled = False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(
            params, dict(lr=lr, betas=tuple(betas), eps=eps, weight_decay=weight_decay)
        )

    def _step(self, group, lr, parameters):
        m, v = self._slots(parameters)
        beta1, beta2 = group["betas"]
        # Parameters that had no gradient in earlier steps are behind: one call per count.
        counts = [self._state[p]["step"] for p in parameters]
        for count in sorted(set(counts)):
            chosen = [i for i, each in enumerate(counts) if each == count]
            step = kernels.changing(partial(self._counted, [parameters[i] for i in chosen]))
            kernels.of(parameters[0].data).adam_step(
                *_arrays([parameters[i] for i in chosen]),
                [m[i] for i in chosen],
                [v[i] for i in chosen],
                step=step,
                lr=lr,
                beta1=beta1,
                beta2=beta2,
                eps=group["eps"],
                weight_decay=group["weight_decay"],
                decoupled=self.decoupled,
            )

    def _counted(self, parameters):
        """Count one more step of these parameters, and return how many they had."""
        for parameter in parameters:
            self._state[parameter]["step"] += 1
        return self._state[parameters[0]]["step"]


class AdamW(Adam):
    """Adam with decoupled weight decay: w shrinks by lr * weight_decay, apart from the gradient.

    Parameters are those of `Adam`.

    References
    ----------
    Loshchilov & Hutter, "Decoupled weight decay regularization", 2019, algorithm 2.
    """

    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(params, lr, betas, eps, weight_decay)


def clip_grad_norm(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale all gradients together so that their norm is at most max_norm.

    Parameters
    ----------
    parameters : iterable of Tensor
    max_norm : float, > 0

    Returns
    -------
    float
        The norm before, over all elements of all gradients.

    Raises
    ------
    ValueError
        If max_norm is not positive.

    References
    ----------
    Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural networks", 2013, 3.2.
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm: max_norm is {max_norm}; it must be positive")
    grads = [p.grad for p in parameters if p.grad is not None]
    return float(limit_norm(grads, max_norm)) if grads else 0.0


def limit_norm(arrays: Sequence[Any], max_norm: float) -> Any:
    """Scale arrays as `clip_grad_norm` does gradients, without waiting for a GPU.

    Returns
    -------
    array, shape ()
        The norm before, on the device of the arrays; infinite if anything is not finite, and then
        they stay as they are.
    """
    # Not by np.stack, which on a GPU copies a list of places from the CPU, and so is not captured.
    squares = np.empty_like(arrays[0], shape=(len(arrays),), dtype=np.float64)
    for i, x in enumerate(arrays):
        squares[i] = np.square(x, dtype=np.float64).sum()
    norm = np.sqrt(squares.sum())
    norm = np.where(np.isfinite(norm), norm, np.inf)
    factor = np.where(np.isfinite(norm), max_norm / np.maximum(norm, max_norm), 1.0)
    for x in arrays:
        x *= factor.astype(x.dtype)
    return norm


def clip_grad_value(parameters: Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of every gradient to [-clip_value, clip_value].

    Raises
    ------
    ValueError
        If clip_value is not positive.
    """
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    if not clip_value > 0:
        raise ValueError(f"clip_grad_value: clip_value is {clip_value}; it must be positive")
    for parameter in parameters:
        if parameter.grad is not None:
            np.clip(parameter.grad, -clip_value, clip_value, out=parameter.grad)


def step_decay(step_size: float, gamma: float = 0.1) -> Schedule:
    """Multiply by gamma every step_size epochs; ValueError where that is not positive."""
    if not step_size > 0:
        raise ValueError(f"step_decay: step_size is {step_size}; it must be positive")
    return lambda epoch, losses: gamma ** (epoch // step_size)


def exponential_decay(gamma: float) -> Schedule:
    """Multiply by gamma every epoch, smoothly in between."""
    return lambda epoch, losses: gamma**epoch


def cosine_decay(epochs: float, minimum: float = 0.0) -> Schedule:
    """Fall from 1 to minimum along half a cosine. Loshchilov & Hutter, "SGDR", 2017, equation 5."""
    return lambda epoch, losses: (
        minimum + (1 - minimum) * (1 + math.cos(math.pi * min(epoch / epochs, 1))) / 2
    )


def warm_up(epochs: float, then: Schedule | None = None, start: float = 0.0) -> Schedule:
    """Rise linearly from start to 1, then follow another schedule, whose time begins there.

    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017, section 2.2.
    """

    def factor(epoch, losses):
        if epoch < epochs:
            return start + (1 - start) * epoch / epochs
        return 1.0 if then is None else then(epoch - epochs, losses)

    return factor


def reduce_on_plateau(
    factor: float = 0.1, patience: int = 10, threshold: float = 1e-4, minimum: float = 0.0
) -> Schedule:
    """Multiply by factor when the validation loss has not fallen for more than patience epochs.

    Parameters
    ----------
    factor : float
    patience : int [epochs]
    threshold : float
        The relative improvement that counts as falling.
    minimum : float
        The smallest result.
    """

    def current(epoch, losses):
        result, best, waited = 1.0, math.inf, 0
        for loss in losses:
            if loss < best - threshold * abs(best) or best == math.inf:
                best, waited = loss, 0
            else:
                waited += 1
            if waited > patience:
                result, waited = max(result * factor, minimum), 0
        return result

    return current


def _arrays(parameters):
    return [p.data for p in parameters], [p.grad for p in parameters]
