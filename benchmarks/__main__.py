"""The command line: run benchmarks, print a table, and keep every figure in a JSON file."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import statistics
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minicnn.checkpoint import written_whole

TOPICS = ("conv", "pool", "norm", "activation", "linear", "loss", "optim", "dropout", "models")
LIMIT_SIZES = {"full": 2048, "toy": 256}
COLUMNS = (
    "case",
    "work",
    "minicnn [ms]",
    "PyTorch [ms]",
    "layout",
    "PyTorch / minicnn",
    "GFLOP/s",
    "GB/s",
    "of the limit",
)
NOTES = """\
Medians, with the quartiles in brackets; in pairs, minicnn stands first. PyTorch is its fastest \
layout. A ratio above 1 says that minicnn is faster; its quartiles are those of the ratio turn by \
turn. The limit is the nearer one of multiply-adds and memory, as measured with NumPy: a kernel \
that beats NumPy's matrix product, or stays in the cache, exceeds it. BUSY marks what other \
programs left too few cores for: do not trust it, least of all with several threads."""
BUSY = 0.25  # [cores] that others may take of those in use


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run what the command line asks for, and return the report that was written.

    Raises
    ------
    SystemExit
        If PyTorch is missing, or an argument is wrong.
    """
    options = _parse(arguments)
    missing = [name for name in ("torch", "threadpoolctl") if not importlib.util.find_spec(name)]
    if missing:
        sys.exit(
            f"benchmarks: {' and '.join(missing)} not installed; the comparison with PyTorch needs "
            "pip install -e '.[bench]', or make bench"
        )
    started = datetime.now(UTC)
    report = measure(options, started.isoformat(timespec="seconds"))
    table = markdown(report)
    name = started.strftime("%Y-%m-%dT%H-%M-%SZ")
    _write(options.output / f"{name}.json", json.dumps(report, indent=1, allow_nan=False) + "\n")
    _write(options.output / f"{name}.md", table)
    print(table, end="")
    return report


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
                measured |= _company(watch, threads)
                for case in cases:
                    bar.set_description(f"{case.topic}, {case.name}, {case.work}")
                    budget = dict(repeats=options.repeats, seconds=options.seconds)
                    watch = machine.Watch()
                    record = harness.benchmark(case, limits, **budget)
                    records.append(record | _company(watch, threads))
                    bar.update()
            runs.append({"threads": threads, "limits": measured, "cases": records})
    return {
        "date": date,
        "size": options.size,
        "machine": machine.describe(),
        "versions": machine.versions(),
        "commit": machine.commit(),
        "runs": runs,
    }


def markdown(report: dict[str, Any]) -> str:
    """Return the report as Markdown: one table per number of threads and topic."""
    computer = report["machine"]
    facts = [computer["cpu"], f"{computer['cores']} cores"]
    facts += [f"{computer['memory'] / 2**30:.0f} GiB"] if computer["memory"] else []
    facts += [*computer["blas"], *(" ".join(pair) for pair in report["versions"].items())]
    facts += [f"commit {report['commit']}"] if report["commit"] else []
    lines = [f"# Benchmarks, {report['size']} size, {report['date']}"]
    lines += ["", ", ".join(facts), "", NOTES]
    for run in report["runs"]:
        limits, cases = run["limits"], run["cases"]
        lines += ["", f"## Threads: {run['threads']}", ""]
        lines += [
            f"Limits: {limits['gflops']:.0f} GFLOP/s, {limits['gbytes']:.1f} GB/s{_mark(limits)}"
        ]
        for topic in dict.fromkeys(case["topic"] for case in cases):
            lines += _table(topic, [case for case in cases if case["topic"] == topic])
    return "\n".join(lines) + "\n"


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Compare minicnn with PyTorch: verify, then time."
    )
    parser.add_argument("topics", nargs="*", metavar="topic", help=f"of {', '.join(TOPICS)}")
    add = parser.add_argument
    add("--threads", type=int, nargs="+", default=[os.cpu_count()], help="default: all cores")
    add("--repeats", type=int, default=20, help="turns of each side (default: 20)")
    add("--seconds", type=float, default=10.0, help="stop a case after this time (default: 10)")
    add("--size", choices=("full", "toy"), default="full", help="toy: all cases in a few seconds")
    add("--only", default="", metavar="TEXT", help="only cases with this in their name")
    add("--output", type=Path, default=Path(__file__).parent / "results", metavar="DIR")
    options = parser.parse_args(arguments)
    if unknown := set(options.topics) - set(TOPICS):
        parser.error(f"no topic {', '.join(sorted(unknown))}; there are {', '.join(TOPICS)}")
    if min(options.threads) < 1 or options.repeats < 1:
        parser.error("--threads and --repeats take whole numbers from 1")
    options.topics = options.topics or TOPICS
    return options


def _cases(options):
    """Return the cases that are asked for; their arrays do not exist yet."""
    topics = [importlib.import_module(f"benchmarks.{topic}") for topic in options.topics]
    cases = [case for topic in topics for case in topic.cases(options.size)]
    cases = [case for case in cases if options.only.lower() in case.name.lower()]
    if not cases:
        sys.exit(f"benchmarks: no case of {', '.join(options.topics)} is named {options.only!r}")
    return cases


def _company(watch, threads):
    """Return how many cores other programs used, and whether these were missing here."""
    others = watch.cores()
    spare = max(os.cpu_count() - threads, 0)
    return {"others": others, "busy": others is not None and others > spare + BUSY}


def _mark(measured):
    return " BUSY" if measured["busy"] else ""


def _table(topic, cases):
    """Return the lines of one table, under the geometric mean of its ratios."""
    mean = statistics.geometric_mean(case["ratio"] for case in cases)
    header = [f"| {' | '.join(COLUMNS)} |", "|---|---|---:|---:|---|---:|---:|---:|---:|"]
    return ["", f"### {topic}: ratio {mean:.2f} (geometric mean)", "", *header, *map(_row, cases)]


def _row(case):
    ours, theirs, paired = case["ours"], case["pytorch"][case["fastest"]], case["paired"]
    cells = [
        case["case"] + _mark(case),
        case["work"],
        _spread(ours["median"], ours, 1e3),
        _spread(theirs["median"], theirs, 1e3),
        case["fastest"],
        _spread(case["ratio"], paired, 1),
        f"{_figure(ours['gflops'])} / {_figure(theirs['gflops'])}",
        f"{_figure(ours['gbytes'])} / {_figure(theirs['gbytes'])}",
        f"{ours['fraction']:.0%} / {theirs['fraction']:.0%} {case['bound']}",
    ]
    return f"| {' | '.join(cells)} |"


def _spread(value, quartiles, scale):
    """Return a value and the quartiles around it, scaled to the unit of its column."""
    value, lower, upper = (
        _figure(scale * number) for number in (value, quartiles["lower"], quartiles["upper"])
    )
    return f"{value} ({lower} - {upper})"


def _figure(value):
    """Return three digits of a number, or all those before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
