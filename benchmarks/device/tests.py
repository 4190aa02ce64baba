"""Section "tests": `pytest -m gpu`, the kernels against their reference on this very GPU."""

from __future__ import annotations

import re
import sys
from collections import Counter
from typing import Any

from benchmarks.device import programs
from benchmarks.device.gpu import Gpu
from benchmarks.device.items import Item

PYTEST = [sys.executable, "-m", "pytest", "-m", "gpu", "-v", "--tb=line", "-p", "no:cacheprovider"]
# A file that cannot be read where an optional library is missing must not stop the others.
COMMAND = [*PYTEST, "--continue-on-collection-errors"]
RESULT = re.compile(r"^(\S+?::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE)
REASON = re.compile(r"^(?:FAILED|ERROR) .*$", re.MULTILINE)
SHOWN = 40  # failures


def items(gpu: Gpu) -> list[Item]:
    """Return what this section measures."""
    return [Item("pytest -m gpu", lambda left: record(programs.run(COMMAND, left)))]


def record(outcome: programs.Outcome) -> dict[str, Any]:
    """Return how many tests passed, and what is wrong with the others.

    Returns
    -------
    dict
        "counts" by outcome, "reasons" of what failed, "wrong" if anything did, and "stopped" where
        the time was up before all of them had run.
    """
    counts = Counter(result.lower() for _, result in RESULT.findall(outcome.printed))
    reasons = REASON.findall(outcome.printed)
    stopped = outcome.status is None
    wrong = ""
    if not counts["passed"]:
        wrong = "no test has passed"
    elif outcome.status not in (0, None) or reasons or counts["failed"] or counts["error"]:
        wrong = f"{counts['failed']} failed, {counts['error']} errors, status {outcome.status}"
    return {
        "counts": dict(counts),
        "reasons": reasons[:SHOWN],
        "wrong": wrong,
        "stopped": stopped,
        "tail": outcome.printed[-2000:] if wrong else "",
    }
