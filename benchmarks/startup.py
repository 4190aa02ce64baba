"""How long a user waits at first, and what memory training takes: `python -m benchmarks.startup`.

Everything is measured in fresh processes: `import minicnn` beside `import torch`; for each network
the first training step, once with nothing compiled before and then with what Numba keeps on disk;
and the most memory that training takes beside the network itself, which PyTorch's twin takes too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import networks
from benchmarks import report as reports
from benchmarks.__main__ import require

LIBRARIES = ("minicnn", "torch")
IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
COLUMNS = (
    "network",
    "first step, nothing compiled [s]",
    "first step [s]",
    "PyTorch's first step [s]",
    "later steps [ms]",
    "PyTorch's later steps [ms]",
    "peak memory [MB]",
    "PyTorch's peak memory [MB]",
    "minicnn / PyTorch",
)
NOTES = """\
Every figure comes from fresh processes: medians, with the quartiles in brackets. The first step \
counts from a network and a batch that are ready to the end of one training step (forward, loss, \
backward, Adam); "nothing compiled" is with an empty cache of Numba, measured once, the other with \
what that process left there. PyTorch runs as it comes. Peak memory is the most that a few \
training steps take beside interpreter, libraries, network and batch, so with gradients and Adam's \
averages; a ratio below 1 says that minicnn takes less. BUSY marks what other programs left too \
few cores for: do not trust its times."""


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure what the command line asks for, and return the report that was written.

    Raises
    ------
    SystemExit
        If PyTorch is missing, or an argument is wrong.
    """
    options = _parse(arguments)
    require("torch", "threadpoolctl")
    started = datetime.now(UTC)
    report = measure(options, started.isoformat(timespec="seconds"))
    table = markdown(report)
    reports.write(report, table, options.output, started, "-startup")
    print(table, end="")
    return report


def measure(options: argparse.Namespace, date: str) -> dict[str, Any]:
    """Return the report: what was measured on, the imports, and a record per network."""
    from benchmarks import machine  # this imports PyTorch, whose absence `main` explains

    chosen = _networks(options)
    imports = measure_imports(options.repeats)
    records = []
    with tqdm(chosen, unit="network", dynamic_ncols=True) as bar:
        for network in bar:
            bar.set_description(network.name)
            watch = machine.Watch(with_children=True)
            record = measure_network(network, options.size, options.threads, options.repeats)
            records.append(record | machine.company(watch, options.threads))
    return {
        "date": date,
        "size": options.size,
        "machine": machine.describe(),
        "versions": machine.versions(),
        "commit": machine.commit(),
        "runs": [{"threads": options.threads, "imports": imports, "networks": records}],
    }


def measure_imports(repeats: int) -> dict[str, dict[str, Any]]:
    """Return the seconds that each library takes to import, in turns."""
    readings: dict[str, list[float]] = {library: [] for library in LIBRARIES}
    for turn in range(1 + repeats):
        for library, seconds in readings.items():
            taken = float(_python(["-c", IMPORT.format(library)]))
            if turn:  # in the first one the files may still have come from the disk
                seconds.append(taken)
    return {library: _spread(seconds) for library, seconds in readings.items()}


def measure_network(
    network: networks.Network, size: str, threads: int, repeats: int
) -> dict[str, Any]:
    """Return what a network costs at first: ours with and without code on disk, and PyTorch's."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}

        def probe(side):
            command = ["-m", "benchmarks.probe", side, network.name, size, str(threads)]
            return json.loads(_python(command, environment))

        cold = probe("minicnn")
        turns = [(probe("minicnn"), probe("PyTorch")) for _ in range(repeats)]
    ours, theirs = (_summary(readings) for readings in zip(*turns, strict=True))
    known = ours["peak"] is not None
    return {
        "case": network.name,
        "cold": cold["first"],
        "ours": ours,
        "pytorch": theirs,
        "memory_ratio": ours["peak"] / theirs["peak"] if known else None,
    }


def markdown(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = [*reports.heading(report, "Start and memory"), "", NOTES]
    for run in report["runs"]:
        lines += ["", f"## Threads: {run['threads']}", ""]
        for library, seconds in run["imports"].items():
            lines += [f"- `import {library}`: {reports.spread(seconds['median'], seconds, 1)} s"]
        ratios = [record["memory_ratio"] for record in run["networks"] if record["memory_ratio"]]
        if ratios:
            mean = statistics.geometric_mean(ratios)
            lines += [
                f"- peak memory, minicnn / PyTorch: {mean:.2f} (geometric mean), "
                f"{max(ratios):.2f} (worst)"
            ]
        lines += ["", *reports.rows(COLUMNS, (0,), list(map(_row, run["networks"])))]
    return "\n".join(lines) + "\n"


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.startup",
        description="Imports, first training steps and memory, in fresh processes.",
    )
    add = parser.add_argument
    add("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    add("--repeats", type=int, default=3, help="processes of each kind (default: 3)")
    add("--size", choices=("full", "toy"), default="full", help="of the batches, as in models")
    add("--only", default="", metavar="TEXT", help="only networks with this in their name")
    add("--output", type=Path, default=Path(__file__).parent / "results", metavar="DIR")
    options = parser.parse_args(arguments)
    if min(options.threads, options.repeats) < 1:
        parser.error("--threads and --repeats take whole numbers from 1")
    return options


def _networks(options):
    chosen = [n for n in networks.NETWORKS if options.only.lower() in n.name.lower()]
    if not chosen:
        sys.exit(f"benchmarks: no network is named {options.only!r}")
    return chosen


def _python(arguments, environment=None):
    """Return what a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def _summary(readings):
    """Return the spread of each figure over several processes."""
    peaks = [reading["peak"] for reading in readings]
    return {
        "first": _spread([reading["first"] for reading in readings]),
        "later": _spread([second for reading in readings for second in reading["later"]]),
        "peak": None if None in peaks else statistics.median(peaks),
    }


def _spread(seconds):
    from benchmarks.harness import quartiles  # this imports PyTorch, see `measure`

    return {**quartiles(seconds), "seconds": seconds}


def _row(record):
    ours, theirs, ratio = record["ours"], record["pytorch"], record["memory_ratio"]
    spread = reports.spread
    sides = (ours, theirs)
    return [
        record["case"] + reports.mark(record),
        reports.figure(record["cold"]),
        *(spread(side["first"]["median"], side["first"], 1) for side in sides),
        *(spread(side["later"]["median"], side["later"], 1e3) for side in sides),
        *("-" if side["peak"] is None else f"{side['peak'] / 1e6:.1f}" for side in sides),
        "-" if ratio is None else reports.figure(ratio),
    ]


if __name__ == "__main__":
    main()
