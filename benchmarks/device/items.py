"""One section in its process: item after item, each told of before the next one begins.

What a section says are lines of JSON: {"items": [keys]}, {"begun": key}, and for each item its
record, which has its key, and an "error" where it has no figures.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Item:
    """One thing to measure: its name within the section, and what measures it.

    Parameters
    ----------
    key : str
    run : callable
        Takes the seconds that are left to the section, and returns a record.
    """

    key: str
    run: Callable[[float], dict[str, Any]]


class NotAvailable(Exception):  # noqa: N818
    """What an item needs is not on this machine."""


def measure(
    items: Iterable[Item],
    *,
    done: Collection[str],
    ends: float,
    tell: Callable[[dict[str, Any]], None],
    check_device: Callable[[], None],
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Measure one item after the other until the time is up.

    Parameters
    ----------
    items : iterable of Item
    done : collection of str
        The keys of those that need not be measured again.
    ends : float [s]
        When to begin no other item, by the clock.
    tell : callable
        Takes what the section says.
    check_device : callable
        Raises where an item that failed has left the device unusable: then this process must end.
    clock : callable
    """
    items = list(items)
    tell({"items": [item.key for item in items]})
    for item in items:
        if item.key in done:
            continue
        left = ends - clock()
        if left <= 0:
            break
        tell({"begun": item.key})
        try:
            record = item.run(left)
        except NotAvailable as reason:
            tell({"key": item.key, "error": f"not available: {reason}", "is_available": False})
        except Exception as error:  # the next item may work
            traceback.print_exc()
            tell({"key": item.key, "error": f"{type(error).__name__}: {_in_one_line(error)}"})
            check_device()
        else:
            tell({"key": item.key, **record})


def _in_one_line(error):
    return " ".join(str(error).split())[:500]
