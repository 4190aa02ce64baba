"""One network in one fresh process: `python -m benchmarks.probe minicnn "crepe tiny" toy 2`.

Prints as JSON the seconds of the first training step, those of the later ones, and how much memory
the steps needed at most. Only the library that is asked for does any work here, and PyTorch is not
even imported for minicnn.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import minicnn as mc
from benchmarks import networks

LATER = 3  # the second step is the first that finds Adam's averages in memory


def measure(step: Callable[[], Callable[[], Any]]) -> dict[str, Any]:
    """Measure a training step, which `step` is to return.

    The optimiser belongs to it: its averages are part of what training needs.

    Returns
    -------
    dict
        "first" [s], "later" (list of s), and "peak": the most resident memory beside what network
        and batch took before [bytes], or None where the system does not tell.
    """
    before = _resident()
    run = step()
    first, *later = (_seconds(run) for _ in range(1 + LATER))
    peak = None if before is None else _status("VmHWM") - before
    return {"first": first, "later": later, "peak": peak}


def main() -> None:
    """Measure what the command line asks for."""
    side, name, size, threads = sys.argv[1:]
    network = next(network for network in networks.NETWORKS if network.name == name)
    step = {"minicnn": _ours, "PyTorch": _theirs}[side](network, size, int(threads))
    print(json.dumps(measure(step)))


def _ours(network, size, threads):
    mc.set_num_threads(threads)
    model = network.build()
    x, target = networks.drawn(network, model, size)
    return lambda: networks.training(network, model, x, target)


def _theirs(network, size, threads):
    import torch

    from benchmarks import pytorch

    torch.set_num_threads(threads)
    x, target = networks.drawn(network, network.build(), size)
    twin = pytorch.TWINS[network.model](**network.options)
    return lambda: pytorch.training(network, twin, x, target, "default")


def _seconds(run):
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def _resident():
    """Return the resident memory [bytes], and let the system watch its peak from here on."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)  # or the steps would have for nothing what is free now
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return None


def _status(field):
    """Return a field of what Linux tells about this process [bytes]."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line.split()[1] for line in lines if line.startswith(f"{field}:")))


if __name__ == "__main__":
    main()
