"""The lecture's architectures: one file each, and the table `MODELS` at its end."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from minicnn.mistake import nearest
from minicnn.nn import Module

_BUILDERS: dict[str, Callable[..., Module]] = {}
for _file in pkgutil.iter_modules(__path__):
    _BUILDERS.update(importlib.import_module(f"{__name__}.{_file.name}").MODELS)
globals().update(_BUILDERS)

__all__ = ["available", "create", *_BUILDERS]


def available() -> list[str]:
    """Return the names of all models, in alphabetical order."""
    return sorted(_BUILDERS)


def create(name: str, **options) -> Module:
    """Build a model by its name.

    Parameters
    ----------
    name : str
        One of `available()`.
    **options
        What the function of this name takes, e.g. `variant` or `rng`.

    Raises
    ------
    ValueError
        If there is no such model.
    """
    if name not in _BUILDERS:
        there = ", ".join(available())
        raise ValueError(
            f"create: there is no model {name!r}{nearest(name, _BUILDERS)}; there are {there}"
        )
    return _BUILDERS[name](**options)
