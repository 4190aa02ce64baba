"""What the figures are held against, and whether they meet it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Target:
    """The least that every figure of a kind must be.

    Parameters
    ----------
    text : str
    section : str
    figure : str
        In the records of the section.
    least : float
    lane : str
        Which items count: those whose key ends with it.
    first : str
        And begins with this.
    """

    text: str
    section: str
    figure: str
    least: float
    lane: str = ""
    first: str = ""

    def concerns(self, section: str, key: str) -> bool:
        """Return whether an item is held against this."""
        return section == self.section and key.startswith(self.first) and key.endswith(self.lane)


@dataclass(frozen=True)
class Verdict:
    """What was measured of what a target concerns.

    Attributes
    ----------
    met : bool or None
        None while nothing misses the target, but something is not measured.
    worst : (str, float) or None
        The item furthest below, or least above, and its figure.
    measured, items : int
        How many have a figure, and how many there are; 0 where the section has not begun.
    """

    met: bool | None
    worst: tuple[str, float] | None
    measured: int
    items: int


NETWORK = "networks", "ratio"
TARGETS = (
    Target("every network, float32: 1.0 x PyTorch", *NETWORK, 1.0, ", float32"),
    Target("every network, TF32: 0.8 x PyTorch", *NETWORK, 0.8, ", TF32"),
    Target("CREPE, float32: 2 x PyTorch", *NETWORK, 2.0, ", float32", "crepe "),
    Target("CREPE, TF32: 2 x PyTorch", *NETWORK, 2.0, ", TF32", "crepe "),
    Target("memory-bound kernels: 85 % of a copy's bandwidth", "memory", "fraction", 0.85),
)


def least(section: str, key: str) -> float | None:
    """Return the highest target of an item, or None where it has none."""
    return max((t.least for t in TARGETS if t.concerns(section, key)), default=None)


def verdict(target: Target, report: Mapping[str, Any]) -> Verdict:
    """Hold the figures of a report against a target."""
    section = report["sections"].get(target.section, {})
    keys = [key for key in section.get("items") or () if target.concerns(target.section, key)]
    records = section.get("records", {})
    found = {key: records.get(key, {}).get(target.figure) for key in keys}
    figures = {key: figure for key, figure in found.items() if figure is not None}
    worst = min(figures.items(), key=lambda pair: pair[1], default=None)
    met = None
    if worst is not None and worst[1] < target.least:
        met = False
    elif keys and len(figures) == len(keys):
        met = True
    return Verdict(met, worst, len(figures), len(keys))
