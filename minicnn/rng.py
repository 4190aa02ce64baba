"""Where random numbers come from: an explicit generator, or the one that `manual_seed` sets."""

from __future__ import annotations

from typing import Any

import numpy as np

_default = np.random.default_rng()


def manual_seed(seed: int) -> None:
    """Restart the generator that everything without an explicit `rng` draws from."""
    _default.bit_generator.state = np.random.default_rng(seed).bit_generator.state


def generator(rng: Any = None) -> np.random.Generator:
    """Return the generator behind an `rng` argument.

    Parameters
    ----------
    rng : int, Generator or None
        A seed, a generator, or None for the one that `manual_seed` sets.
    """
    return _default if rng is None else np.random.default_rng(rng)
