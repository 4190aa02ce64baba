"""What a layer is: a plain object whose attributes are parameters, buffers and other modules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from minicnn import kernels, mistake
from minicnn.autograd import Tensor, is_recording

_interceptor: ContextVar[Callable | None] = ContextVar("interceptor", default=None)
_is_trained: ContextVar[bool] = ContextVar("is_trained", default=False)


class Parameter(Tensor):
    """A tensor that a module trains."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True):
        super().__init__(data, requires_grad)


class Buffer(Tensor):
    """A tensor that belongs to a module's state but is not trained, such as running statistics."""

    __slots__ = ()


@contextmanager
def intercept(interceptor):
    """Run `interceptor(module, *inputs, **options)` in place of `module.forward` in this block."""
    token = _interceptor.set(interceptor)
    try:
        yield
    finally:
        _interceptor.reset(token)


@contextmanager
def trained():
    """Say that layers in training mode are meant to be in this block, with or without a tape."""
    token = _is_trained.set(True)
    try:
        yield
    finally:
        _is_trained.reset(token)


def suspect_training(module):
    """Warn where a layer that behaves differently in training is used to predict."""
    if module.training and not is_recording() and not _is_trained.get():
        mistake.likely(
            f"{type(module).__name__}: it is in training mode inside no_grad, where nothing is "
            "trained; call model.eval() before predictions, or use mc.predict"
        )


class Module:
    """The base of all layers and models: define `forward`, and assign what it needs as attributes.

    Parameters, buffers and modules are found by walking the attributes in the order of their
    definition, through lists, tuples and dicts too; their names are PyTorch's.

    Attributes
    ----------
    training : bool
        Whether dropout drops and batch norm looks at the batch; `train` and `eval` set it.
    """

    training = True

    def forward(self, *inputs):
        """Compute the output; subclasses define it."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def __call__(self, *inputs, **options):
        interceptor = _interceptor.get()
        if interceptor is None:
            return self.forward(*inputs, **options)
        return interceptor(self, *inputs, **options)

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules among the attributes, with their names."""
        members = _members(vars(self))
        return ((name, value) for name, value in members if isinstance(value, Module))

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all below it, with their dotted names, parents first."""
        yield prefix, self
        for name, child in self.named_children():
            yield from child.named_modules(f"{prefix}.{name}" if prefix else name)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Yield each parameter once, with its dotted name."""
        yield from self._named(Parameter, shared=False)

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Yield each buffer once, with its dotted name."""
        yield from self._named(Buffer, shared=False)

    def children(self) -> Iterator[Module]:
        """Yield the modules among the attributes."""
        return (child for _, child in self.named_children())

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it."""
        return (module for _, module in self.named_modules())

    def parameters(self) -> Iterator[Parameter]:
        """Yield each parameter once."""
        return (parameter for _, parameter in self.named_parameters())

    def buffers(self) -> Iterator[Buffer]:
        """Yield each buffer once."""
        return (buffer for _, buffer in self.named_buffers())

    def _named(self, kind, shared) -> Iterator[tuple[str, Any]]:
        """Yield attributes of this kind; a shared one under each of its names or only the first."""
        seen = set()
        for prefix, module in self.named_modules():
            for name, value in _members(vars(module)):
                if isinstance(value, kind) and (shared or id(value) not in seen):
                    seen.add(id(value))
                    yield (f"{prefix}.{name}" if prefix else name), value

    def state_dict(self) -> dict[str, Any]:
        """Return the arrays of all parameters and buffers by name; they are not copies."""
        return {name: tensor.data for name, tensor in self._named((Parameter, Buffer), shared=True)}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Copy arrays or tensors into the parameters and buffers of the same names.

        Parameters
        ----------
        state : mapping from name to array
            Values are converted to the dtype and device that the module has now.
        strict : bool
            Whether missing and unexpected names are errors; wrong shapes always are.

        Raises
        ------
        ValueError
            If the state does not fit, with every reason at once; nothing was changed then.
        TypeError
            If the state is no mapping, or a value cannot become an array of numbers; nothing was
            changed then either.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"load_state_dict: {type(self).__name__}: the state is a {type(state).__name__}; "
                "it takes names and arrays, as model.state_dict() or mc.load(path) returns them"
            )
        own = dict(self._named((Parameter, Buffer), shared=True))
        given = {
            name: value.data if isinstance(value, Tensor) else value
            for name, value in state.items()
        }
        problems = []
        if strict:
            problems += [f"missing {name}" for name in own if name not in given]
            problems += [f"unexpected {name}" for name in given if name not in own]
        problems += [
            f"{name} is {own[name].shape} here and {np.shape(value)} in the state"
            for name, value in given.items()
            if name in own and own[name].shape != np.shape(value)
        ]
        if problems:
            problems += _hints(own, given)
            raise ValueError(f"load_state_dict: {type(self).__name__}: " + "; ".join(problems))
        converted = {
            name: kernels.copy_like(given[name], tensor.data)
            for name, tensor in own.items()
            if name in given
        }
        for name, array in converted.items():
            own[name].data[...] = array

    def train(self, mode: bool = True) -> Module:
        """Set `training` here and below, and return the module."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Set `training` to False here and below, and return the module."""
        return self.train(False)

    def zero_grad(self) -> None:
        """Drop the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, target: Any) -> Module:
        """Move parameters and buffers in place, and return the module.

        Parameters
        ----------
        target : "cpu", "cuda" or a floating-point dtype
            Integer buffers keep their dtype.

        Raises
        ------
        ValueError
            If the target is none of these.
        kernels.NoGPUError
            If the target is "cuda" and there is no GPU to compute on; it says what to install.
        """
        dtype = None if target in ("cpu", "cuda") else _floating_dtype(target)
        for _, tensor in self._named((Parameter, Buffer), shared=False):
            if dtype is None:
                tensor.data = kernels.to(tensor.data, target)
            elif tensor.dtype.kind == "f":
                tensor.data = tensor.data.astype(dtype, copy=False)
            tensor.grad = None
        return self

    def extra_repr(self) -> str:
        """Return what stands between the parentheses of a layer without children."""
        return ""

    def __repr__(self):
        lines = [
            f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()
        ]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return f"{type(self).__name__}(\n  " + "\n  ".join(lines) + "\n)"


def _hints(own, given):
    """Return where the right names are in a state that has others."""
    ends = {name.partition(".")[2] for name in given}
    if len(given) == len(ends) and ends == own.keys():
        first = next(iter(given)).partition(".")[0]
        return [f'every name begins with "{first}."; leave that out']
    inner = [name for name, value in given.items() if isinstance(value, Mapping)]
    return [f"{name!r} is itself a mapping; load state[{name!r}]" for name in inner]


def _members(values):
    """Yield named values and, through lists, tuples and dicts, what these hold."""
    for name, value in values.items() if isinstance(values, dict) else enumerate(values):
        if isinstance(value, (list, tuple, dict)):
            yield from ((f"{name}.{inner}", item) for inner, item in _members(value))
        else:
            yield str(name), value


def _floating_dtype(target):
    try:
        dtype = None if target is None else np.dtype(target)
    except TypeError:
        dtype = None
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"to: {target!r} is none of 'cpu', 'cuda', float32 and float64")
    return dtype
