"""Another program within the time of a section: what it printed, also if it had to be stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 2.0  # [s] between asking a process to stop and stopping it
MARGIN = PATIENCE + 1  # [s] that stopping it and reading what it printed may take


@dataclass(frozen=True)
class Outcome:
    """What became of a program.

    Attributes
    ----------
    status : int or None
        Its exit status; None if it was stopped.
    printed : str
        On both of its outputs.
    """

    status: int | None
    printed: str


def run(command: Sequence[str], seconds: float) -> Outcome:
    """Run a program in the checkout; stop it, and all that it started, at the end of its time."""
    with tempfile.TemporaryFile("w+", errors="replace") as printed:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(max(seconds - MARGIN, 0.1))
        except subprocess.TimeoutExpired:
            status = None
        finally:
            stop(process)
        printed.seek(0)
        return Outcome(status, printed.read())


def stop(process: subprocess.Popen) -> None:
    """Stop a process that began a session of its own, and all that it started in that.

    It is asked first, so that it can stop what has a session of its own again.
    """
    with contextlib.suppress(ProcessLookupError):  # all have ended
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
