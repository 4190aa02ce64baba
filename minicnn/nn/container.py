"""Modules made of modules."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from minicnn.nn.activation import LeakyReLU, ReLU
from minicnn.nn.module import Module
from minicnn.nn.norm import BatchNorm1d, BatchNorm2d


def _said(value):
    """Return what something is that is no module."""
    if isinstance(value, type):
        return f"the class {value.__name__} without ()"
    name = getattr(value, "__name__", None)
    return type(value).__name__ if name is None else f"the function {name}"


def _slope(module, following):
    """Return the slope below 0 behind a batch norm in training, None where there is none.

    Not of subclasses, which may do anything.
    """
    if type(module) not in (BatchNorm1d, BatchNorm2d) or not module.training:
        return None
    if type(following) is LeakyReLU and following.negative_slope > 0:
        return following.negative_slope
    return 0 if type(following) is ReLU else None


class Sequential(Module):
    """Run modules one after the other.

    While training, a batch norm does the work of the ReLU or leaky ReLU behind it, with the same
    bits and in the same pass over the memory.

    Parameters
    ----------
    *modules : Module, or one OrderedDict from name to Module
        Without names they are called "0", "1", and so on.
    """

    def __init__(self, *modules: Module | OrderedDict[str, Module]):
        named: dict[str, Any]
        if len(modules) == 1 and isinstance(modules[0], dict):
            named = dict(modules[0])
        else:
            named = dict(zip(map(str, range(len(modules))), modules, strict=True))
        for name, module in named.items():
            if not isinstance(module, Module):
                raise TypeError(
                    f"Sequential: entry {name} is {_said(module)}, not a Module; it takes modules "
                    "one by one, such as nn.Sequential(nn.Linear(9, 5), nn.ReLU())"
                )
            if hasattr(Module, name):
                raise ValueError(f"Sequential: {name!r} is the name of a method; choose another")
            setattr(self, name, module)

    def forward(self, x):
        modules = [*self, None]
        while len(modules) > 1:
            module, *modules = modules
            slope = _slope(module, modules[0])
            if slope is None:
                x = module(x)
            else:
                x = module(x, slope=slope)
                del modules[0]
        return x

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, index):
        named = list(self.named_children())
        if isinstance(index, slice):
            return Sequential(OrderedDict(named[index]))
        return named[index][1]


class ModuleList(Module):
    """A list of modules that the module around it calls as it likes.

    Parameters
    ----------
    modules : iterable of Module
    """

    def __init__(self, modules: Iterable[Module] = ()):
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> ModuleList:
        """Add a module at the end, and return the list."""
        if not isinstance(module, Module):
            raise TypeError(f"ModuleList: {type(module).__name__} is not a Module")
        setattr(self, str(len(self)), module)
        return self

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, index):
        modules = list(self)
        return ModuleList(modules[index]) if isinstance(index, slice) else modules[index]
