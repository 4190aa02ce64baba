"""The command line: run benchmarks, print a table, and keep every figure in a JSON file."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import report as reports
from benchmarks import tuned

TOPICS = (
    "conv",
    "pool",
    "norm",
    "activation",
    "linear",
    "loss",
    "optim",
    "dropout",
    "models",
    "layers",
)
LIMIT_SIZES = {"full": 2048, "toy": 256}


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run what the command line asks for, and return the report that was written.

    Raises
    ------
    SystemExit
        If PyTorch is missing, or an argument is wrong.
    """
    options = _parse(arguments)
    require("torch", "threadpoolctl")
    started = datetime.now(UTC)
    report = measure(options, started.isoformat(timespec="seconds"))
    if options.tuned:
        tuned.join(report, tuned.measure(_tuned_arguments(options)))
    table = reports.markdown(report)
    reports.write(report, table, options.output, started)
    print(table, end="")
    return report


def require(*libraries: str) -> None:
    """Leave with an explanation where one of these libraries is missing."""
    missing = [name for name in libraries if not importlib.util.find_spec(name)]
    if missing:
        sys.exit(
            f"benchmarks: {' and '.join(missing)} not installed; the comparison with PyTorch needs "
            "pip install -e '.[bench]', or make bench"
        )


def measure(options: argparse.Namespace, date: str) -> dict[str, Any]:
    """Return the report: what was measured on, and a run per number of threads."""
    from benchmarks import harness, machine  # these import PyTorch, whose absence `main` explains

    cases = _cases(options)
    runs = []
    with tqdm(total=len(cases) * len(options.threads), unit="case", dynamic_ncols=True) as bar:
        for threads in options.threads:
            records = []
            with machine.threads(threads):
                watch = machine.Watch()
                limits = machine.measure_limits(threads, LIMIT_SIZES[options.size])
                measured = {"gflops": limits.flops / 1e9, "gbytes": limits.bandwidth / 1e9}
                measured |= machine.company(watch, threads)
                for case in cases:
                    bar.set_description(f"{case.topic}, {case.name}, {case.work}")
                    seconds = case.seconds if options.seconds is None else options.seconds
                    watch = machine.Watch()
                    record = harness.benchmark(
                        case, limits, repeats=options.repeats, seconds=seconds
                    )
                    records.append(record | machine.company(watch, threads))
                    bar.update()
            runs.append({"threads": threads, "limits": measured, "cases": records})
    return {
        "date": date,
        "size": options.size,
        "machine": machine.describe(),
        "versions": machine.versions(),
        "commit": machine.commit(),
        "without": options.without,
        "runs": runs,
    }


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Compare minicnn with PyTorch: verify, then time."
    )
    parser.add_argument("topics", nargs="*", metavar="topic", help=f"of {', '.join(TOPICS)}")
    add = parser.add_argument
    add("--threads", type=int, nargs="+", default=[os.cpu_count()], help="default: all cores")
    add("--repeats", type=int, default=20, help="turns of each side (default: 20)")
    add("--seconds", type=float, help="stop a case after this time (default: 10, layers 1)")
    add("--size", choices=("full", "toy"), default="full", help="toy: all cases in a few seconds")
    add("--only", default="", metavar="TEXT", help="only cases with this in their name")
    add("--without", nargs="+", metavar="TEXT", help="no cases with all of these in name and work")
    add("--compile", action="store_true", help="models: torch.compile too, minutes for each")
    add("--tuned", action="store_true", help="models: once more against tuned PyTorch")
    add("--in-tuned-process", action="store_true", help=argparse.SUPPRESS)
    add("--output", type=Path, default=Path(__file__).parent / "results", metavar="DIR")
    options = parser.parse_args(arguments)
    if unknown := set(options.topics) - set(TOPICS):
        parser.error(f"no topic {', '.join(sorted(unknown))}; there are {', '.join(TOPICS)}")
    if min(options.threads) < 1 or options.repeats < 1:
        parser.error("--threads and --repeats take whole numbers from 1")
    options.topics = options.topics or TOPICS
    if (options.tuned or options.compile) and "models" not in options.topics:
        parser.error("--tuned and --compile are about the topic models")
    if options.tuned and not tuned.available():
        parser.error("--tuned needs the malloc of glibc")
    return options


def _tuned_arguments(options):
    """Return the same command line for the tuned process."""
    arguments = ["models", "--in-tuned-process", "--size", options.size, "--only", options.only]
    arguments += ["--repeats", str(options.repeats), "--threads", *map(str, options.threads)]
    if options.without is not None:
        arguments += ["--without", *options.without]
    return arguments + ([] if options.seconds is None else ["--seconds", str(options.seconds)])


def _cases(options):
    """Return the cases that are asked for; their arrays do not exist yet."""
    special = {"models": dict(tuned=options.in_tuned_process, compiled=options.compile)}
    cases = [
        case
        for topic in options.topics
        for case in importlib.import_module(f"benchmarks.{topic}").cases(
            options.size, **special.get(topic, {})
        )
        if options.only.lower() in case.name.lower() and not _left_out(case, options.without)
    ]
    if not cases:
        sys.exit(f"benchmarks: no case of {', '.join(options.topics)} is named {options.only!r}")
    return cases


def _left_out(case, texts):
    """Return whether there are texts, and all of them are in the name and the work of a case."""
    described = f"{case.name}, {case.work}".lower()
    return bool(texts) and all(text.lower() in described for text in texts)


if __name__ == "__main__":
    main()
