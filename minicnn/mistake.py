"""Warnings of what is only likely a mistake, and the nearest names to one that does not exist."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable


def likely(message: str) -> None:
    """Warn at the line outside of this package that led here; Python shows it once per line.

    A message without what changes from step to step is one message, so training is not flooded.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("minicnn."):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, UserWarning, stacklevel=level + 1)


def nearest(name: str, names: Iterable[str]) -> str:
    """Return " (did you mean ...?)" for the names that are most like this one, or nothing."""
    import difflib  # only where a name is wrong

    by_letters = {each.lower().replace("_", ""): each for each in names}
    like = difflib.get_close_matches(name.lower().replace("_", ""), by_letters, n=3)
    return f" (did you mean {' or '.join(by_letters[each] for each in like)}?)" if like else ""
