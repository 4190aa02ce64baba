"""The networks once more, against the best that a user of PyTorch can ask for.

Two settings: Adam in one pass over the parameters (`fused=True`), and a malloc that keeps what is
freed instead of giving it back to the system, which has to clear every page of it that is asked
for again. Only an environment variable can ask for the latter, before a process starts, so these
figures come from a process of their own. There minicnn too runs with the memory kept: it is
compared with its own figures under that setting.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

TUNABLES = f"glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold={2**62}"
# What of a case is kept under "tuned"; the rest is the same as without.
KEPT = ("ours", "pytorch", "fastest", "ratio", "paired", "others", "busy")


def available() -> bool:
    """Return whether this system has the malloc that can be told so."""
    return platform.libc_ver()[0] == "glibc"


def environment() -> dict[str, str]:
    """Return this environment, where malloc keeps its memory."""
    others = [other for other in [os.environ.get("GLIBC_TUNABLES")] if other]
    return {**os.environ, "GLIBC_TUNABLES": ":".join([*others, TUNABLES])}


def measure(arguments: Sequence[str]) -> dict[str, Any]:
    """Run these arguments of the command line in a tuned process, and return its report."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks", *arguments, "--output", folder]
        subprocess.run(
            command,
            env=environment(),
            cwd=Path(__file__).parents[1],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        (path,) = Path(folder).glob("*.json")
        return json.loads(path.read_text(encoding="utf-8"))


def join(report: dict[str, Any], tuned: Mapping[str, Any]) -> None:
    """Put the figures of the tuned process beside those of the same cases."""
    figures = {
        _key(run, case): {name: case[name] for name in KEPT}
        for run in tuned["runs"]
        for case in run["cases"]
    }
    for run in report["runs"]:
        for case in run["cases"]:
            if (key := _key(run, case)) in figures:
                case["tuned"] = figures[key]


def _key(run, case):
    return run["threads"], case["topic"], case["case"], case["work"]
