"""A model for inference only: its operations in a list, some of them made one."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minicnn import kernels
from minicnn.autograd import Tensor, no_grad, observe
from minicnn.nn.module import Module


@dataclass(frozen=True)
class _Step:
    """One operation: what it takes (numbers of results, or arrays that stay), and its result."""

    name: str
    function: Callable
    inputs: tuple[Any, ...]
    options: dict[str, Any]
    output: int
    shape: tuple[int, ...]
    done: tuple[int, ...] = ()  # results that nobody needs any more

    def results(self):
        """Return the numbers of the results that it takes."""
        return [number for number in self.inputs if isinstance(number, _Result)]


class _Result(int):
    """The number of a result among those of a model; 0 is its input."""


def fuse(model: Module) -> Fused:
    """Return a fast version of a model for inference.

    Its first call with an input of a new shape runs the model and writes down the operations. Batch
    norm behind a convolution becomes part of the filters, which is exact up to rounding, and a ReLU
    or leaky ReLU part of the output. From then on the list is run instead of the model, and each
    array goes as soon as nobody needs it.

    The weights are copies of those of the moment: fuse again after training on.

    Parameters
    ----------
    model : Module
        In evaluation mode. What it computes may depend on the shape of the input but not otherwise
        on its values, as where a model branches on `y.item()`.

    Returns
    -------
    Fused

    Raises
    ------
    ValueError
        If the model is in training mode; from a call, if the list does not compute what the model
        does, because the model looks at values.

    Examples
    --------
    >>> fast = nn.fuse(model.eval())
    >>> logits = fast(x)
    """
    if any(module.training for module in model.modules()):
        raise ValueError("fuse: the model is in training mode; call model.eval() first")
    return Fused(model)


class Fused:
    """What `fuse` returns: call it with a batch.

    Parameters
    ----------
    model : Module
    """

    # So many shapes of inputs are remembered, each with filters of its own.
    MOST = 8

    def __init__(self, model: Module):
        self._model = copy.deepcopy(model)
        self._programs: OrderedDict[tuple, _Program] = OrderedDict()

    def __call__(self, x) -> Tensor:
        """Return what the model returns for this input, without history.

        Parameters
        ----------
        x : Tensor or array, shape (N, ...)

        Returns
        -------
        Tensor

        Raises
        ------
        ValueError, TypeError
            As the model, and as `fuse` says.
        """
        x = x if isinstance(x, Tensor) else Tensor(x)
        kind = x.shape, x.dtype, type(x.data), kernels.of(x.data)
        program = self._programs.pop(kind, None) or _written_down(self._model, x)
        self._programs[kind] = program  # the last one that was used
        while len(self._programs) > self.MOST:
            self._programs.popitem(last=False)
        return Tensor(program.run(x.data))


@dataclass
class _Program:
    steps: list[_Step]
    output: int

    def __post_init__(self):
        """Note after which step each result is needed no more."""
        last = {step.output: i for i, step in enumerate(self.steps)}
        last |= {number: i for i, step in enumerate(self.steps) for number in step.results()}
        for i, step in enumerate(self.steps):
            done = tuple(n for n, end in last.items() if end == i and n != self.output)
            self.steps[i] = replace(step, done=done)

    @no_grad()  # no operation need prepare for a gradient
    def run(self, x):
        """Return the output for an input of the shape that the steps were written for."""
        values = {0: x}
        for step in self.steps:
            arrays = [values[i] if isinstance(i, _Result) else i for i in step.inputs]
            values[step.output] = step.function(*arrays, **step.options)[0]
            del arrays
            for number in step.done:
                del values[number]
        return values[self.output]


def _written_down(model, x):
    """Return the program of a model for inputs like x."""
    record = _Record(x)
    with no_grad(), observe(record):
        y = model(x)
    if not isinstance(y, Tensor):
        raise ValueError(f"fuse: the model returns {type(y).__name__}, not one Tensor")
    steps, output = _joined(record.steps, record.number(y))
    program = _Program([_prepared(step, record.shapes) for step in steps], output)
    _check(program, model, x)
    return program


def _check(program, model, x):
    """Raise unless a program does what its model does, also for other values."""
    noise = np.random.default_rng(0).standard_normal(x.shape).astype(x.dtype)
    for scale in (1.0, 0.01):
        other = np.asarray(scale * noise, x.dtype, like=x.data)
        with no_grad():
            expected = model(Tensor(other)).data
        y = program.run(other)
        finite = np.isfinite(expected)
        error = _largest(np.where(finite, y - expected, 0))
        size = _largest(np.where(finite, expected, 0))
        if not error <= 1e-3 * size or (np.isnan(expected) != np.isnan(y)).any():
            raise ValueError(
                f"fuse: the model computes something else for other values (difference "
                f"{error:.2g} at a scale of {size:.2g}); it must not look at the values it gets"
            )


def _largest(array):
    """Return the largest magnitude; CuPy's `max` takes no initial value for an empty array."""
    return float(abs(array).max()) if array.size else 0.0


class _Record:
    """Writes down operations, as an observer of them."""

    def __init__(self, x):
        self.steps: list[_Step] = []
        self._numbers = {id(x.data): _Result(0)}
        self._alive = [x.data]  # so that no other array gets the same id
        self.shapes = {0: x.shape}

    def __call__(self, name, arguments, options, result, function):
        arrays = [a.data if isinstance(a, Tensor) else a for a in arguments]
        inputs = tuple(self._numbers.get(id(array), array) for array in arrays)
        if any(id(option) in self._numbers for option in options.values()):
            raise ValueError(f"fuse: {name} takes options that were computed from the input")
        if not any(isinstance(number, _Result) for number in inputs):
            return  # what is made of weights alone stays as it is
        number = _Result(len(self._alive))
        self._numbers[id(result.data)], self.shapes[number] = number, result.shape
        self._alive.append(result.data)
        self.steps.append(_Step(name, function, inputs, options, number, result.shape))

    def number(self, y):
        """Return the number of a result."""
        if id(y.data) not in self._numbers:
            raise ValueError("fuse: the output was not computed by operations of minicnn")
        return self._numbers[id(y.data)]


def _joined(steps, output):
    """Return steps that do the same with fewer operations, and the number of the output in them."""
    steps = {step.output: step for step in steps}
    for number in list(steps):
        if number in steps and steps[number].name == "conv2d":
            output = _with_followers(steps, number, output)
    return list(steps.values()), output


# What a convolution does to its output, and the slope below 0 where the operation has none.
_SLOPES = {"relu": 0.0, "leaky_relu": None}


def _with_followers(steps, number, output):
    """Let a convolution do the batch norm and ReLU behind it; return the output's number."""
    end = number
    while end != output:
        users = [step for step in steps.values() if end in step.results()]
        if len(users) != 1:
            break
        (user,), convolution = users, steps[number]
        others = *convolution.inputs[1:], *user.inputs[1:]
        if any(isinstance(other, _Result) for other in others):
            break  # filters, or a batch norm, that depend on the input
        if user.name == "reshape" and user.shape[:2] == convolution.shape[:2]:
            end = user.output  # the channels are still where they were
            continue
        if user.name == "batch_norm_inference":
            steps[number] = _with_batch_norm(convolution, user)
        elif user.name in _SLOPES:
            slope = {"slope": _SLOPES[user.name], **user.options}
            steps[number] = replace(convolution, options=convolution.options | slope)
        else:
            break
        del steps[user.output]
        for step in list(steps.values()):
            inputs = tuple(
                end if isinstance(n, _Result) and n == user.output else n for n in step.inputs
            )
            steps[step.output] = replace(step, inputs=inputs)
        output = end if output == user.output else output
        if user.name in _SLOPES:
            break
    return output


def _with_batch_norm(convolution, norm):
    """Return a convolution whose filters and bias do what batch norm does to its output."""
    x, w, b = convolution.inputs
    _, gain, shift = norm.inputs
    scale = gain / np.sqrt(norm.options["variance"].astype(np.float64) + norm.options["eps"])
    bias = (0 if b is None else b) - norm.options["mean"].astype(np.float64)
    w = (w * scale[:, None, None, None]).astype(w.dtype)
    return replace(convolution, inputs=(x, w, (bias * scale + shift).astype(w.dtype)))


def _prepared(step, shapes):
    """Return the step with filters that are transformed already, where kernels can do that."""
    if step.name != "conv2d" or any(isinstance(constant, _Result) for constant in step.inputs[1:]):
        return step
    x, w, b = step.inputs
    if kernels.of(w) is not kernels.cpu or not kernels.cpu.is_compiled():
        return step
    convolve = kernels.cpu.conv.prepared(w, b, shapes[x], **step.options)
    return replace(step, function=lambda x: (convolve(x),), inputs=(x,), options={})
