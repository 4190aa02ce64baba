"""Section "sanitizer": NVIDIA's compute-sanitizer watches a few GPU tests."""

from __future__ import annotations

import os
import re
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.device import programs
from benchmarks.device.gpu import Gpu
from benchmarks.device.items import Item, NotAvailable
from benchmarks.device.tests import PYTEST, RESULT

# One case of each way to use shared memory and barriers: instrumented kernels are slow.
CASES = "conv2d or linear or max_pool2d or batch_norm or cross_entropy or softmax or adam"
TESTS = ["tests/kernels/test_cases.py", "-k", f"gpu and float32 and ({CASES})"]
# What each tool finds, and how it says how much.
TOOLS = {
    "memcheck": re.compile(r"ERROR SUMMARY: (\d+) error"),
    "racecheck": re.compile(r"RACECHECK SUMMARY: (\d+) hazard"),
}
FOUND = 99  # the exit status where something is found


def items(gpu: Gpu) -> list[Item]:
    """Return what this section measures; each tool has its share of the time."""
    return [
        Item(tool, partial(_watch, tool, len(TOOLS) - place)) for place, tool in enumerate(TOOLS)
    ]


def program() -> str:
    """Return where compute-sanitizer is.

    Raises
    ------
    NotAvailable
        If it is in none of the usual places.
    """
    folders = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    places = [Path(folder) / "bin" for folder in (*folders, "/usr/local/cuda") if folder]
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, places)])
    found = shutil.which("compute-sanitizer", path=search)
    if found is None:
        looked = ", ".join(["PATH", *map(str, places)])
        raise NotAvailable(f"compute-sanitizer was looked for in {looked}")
    return found


def command(tool: str) -> list[str]:
    """Return the command line of a tool."""
    watcher = [program(), "--tool", tool, "--error-exitcode", str(FOUND)]
    return [*watcher, *PYTEST, "-p", "benchmarks.device.without_pool", *TESTS]


def record(tool: str, outcome: programs.Outcome) -> dict[str, Any]:
    """Return what a tool has found.

    Returns
    -------
    dict
        "found" is the number of errors or hazards, or None where it did not come to an end;
        "passed" is the number of tests; "wrong" says what is wrong, "stopped" whether the time was
        up.
    """
    summary = TOOLS[tool].search(outcome.printed)
    found = int(summary[1]) if summary else None
    passed = sum(result == "PASSED" for _, result in RESULT.findall(outcome.printed))
    stopped = outcome.status is None
    wrong = ""
    if found:
        wrong = f"{found} found"
    elif not stopped and (outcome.status or found is None or not passed):
        wrong = f"status {outcome.status}, {passed} tests passed"
    tail = outcome.printed[-4000:] if wrong else ""
    return {"found": found, "passed": passed, "wrong": wrong, "stopped": stopped, "tail": tail}


def _watch(tool, shares, left):
    return record(tool, programs.run(command(tool), left / shares))
