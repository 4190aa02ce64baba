"""Reports as files: every figure as JSON, and a table as Markdown."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from minicnn.checkpoint import written_whole

COLUMNS = (
    "case",
    "work",
    "minicnn [ms]",
    "PyTorch [ms]",
    "mode",
    "PyTorch / minicnn",
    "GFLOP/s",
    "GB/s",
    "of the limit",
)
WORDS = (0, 1, 4)  # the columns that are not numbers
NOTES = """\
Medians, with the quartiles in brackets; in pairs, minicnn stands first. PyTorch is its fastest \
mode with default settings: as it comes, in its second layout, or compiled where that was asked \
for. A ratio above 1 says that minicnn is faster; its quartiles are those of the ratio turn by \
turn. The limit is the nearer one of multiply-adds and memory, as measured with NumPy: a kernel \
that beats NumPy's matrix product, or stays in the cache, exceeds it. BUSY marks what other \
programs left too few cores for: do not trust it, least of all with several threads."""
TUNED_NOTES = """\
Tuned PyTorch has its fused Adam and a malloc that keeps its memory. Such a malloc is a setting of \
the whole process, so minicnn was measured again beside it, under the same setting: this pair has \
a column of its own."""


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown: one table per number of threads and topic."""
    cases = [case for run in report["runs"] for case in run["cases"]]
    lines = [*heading(report, "Benchmarks"), "", NOTES]
    lines += ["", TUNED_NOTES] if any("tuned" in case for case in cases) else []
    for run in report["runs"]:
        limits, cases = run["limits"], run["cases"]
        lines += ["", f"## Threads: {run['threads']}", ""]
        lines += [
            f"Limits: {limits['gflops']:.0f} GFLOP/s, {limits['gbytes']:.1f} GB/s{mark(limits)}"
        ]
        for topic in dict.fromkeys(case["topic"] for case in cases):
            lines += _topic(topic, [case for case in cases if case["topic"] == topic])
    return "\n".join(lines) + "\n"


def heading(report: Mapping[str, Any], title: str) -> list[str]:
    """Return the lines that tell what was measured, when, and on what."""
    computer = report["machine"]
    facts = [computer["cpu"], f"{computer['cores']} cores"]
    facts += [f"{computer['memory'] / 2**30:.0f} GiB"] if computer["memory"] else []
    facts += [*computer["blas"], *(" ".join(pair) for pair in report["versions"].items())]
    facts += [f"commit {report['commit']}"] if report["commit"] else []
    facts += [f"without {', '.join(report['without'])}"] if report.get("without") else []
    return [f"# {title}, {report['size']} size, {report['date']}", "", ", ".join(facts)]


def write(
    report: Mapping[str, Any], table: str, folder: Path, started: datetime, kind: str = ""
) -> None:
    """Write both files, whole or not at all, named by the time of the start and the kind."""
    name = started.strftime("%Y-%m-%dT%H-%M-%SZ") + kind
    text = json.dumps(report, indent=1, allow_nan=False) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in ((f"{name}.json", text), (f"{name}.md", table)):
        with written_whole(folder / path) as temporary:
            temporary.write_text(content, encoding="utf-8")


def rows(columns: Sequence[str], words: Sequence[int], cells: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table, all columns but those of words set to the right."""
    rule = "".join("---|" if i in words else "---:|" for i in range(len(columns)))
    return [_line(columns), f"|{rule}", *map(_line, cells)]


def mark(measured: Mapping[str, Any]) -> str:
    """Return the mark of what was measured beside busy programs."""
    return " BUSY" if measured["busy"] else ""


def spread(value: float, quartiles: Mapping[str, float], scale: float) -> str:
    """Return a value and the quartiles around it, scaled to the unit of its column."""
    middle, lower, upper = (
        figure(scale * number) for number in (value, quartiles["lower"], quartiles["upper"])
    )
    return f"{middle} ({lower} - {upper})"


def figure(value: float) -> str:
    """Return three digits of a number, or all those before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}"


def _topic(topic, cases):
    """Return the lines of a topic: geometric means of the ratios by work, and the table."""
    mean = statistics.geometric_mean(case["ratio"] for case in cases)
    rivals = list(dict.fromkeys(name for case in cases for name in case.get("rivals", {})))
    tuned = any("tuned" in case for case in cases)
    columns = [*COLUMNS[:6]]
    columns += ["tuned: minicnn / PyTorch [ms]", "tuned PyTorch / minicnn"] if tuned else []
    columns += [f"{name}{end}" for name in rivals for end in (" [ms]", " / minicnn")]
    columns += COLUMNS[6:]
    lines = ["", f"### {topic}: ratio {mean:.2f} (geometric mean)", "", *_means(cases, rivals), ""]
    return lines + rows(columns, WORDS, [_row(case, tuned, rivals) for case in cases])


def _means(cases, rivals):
    """Return a line per work: the geometric mean and the worst of every ratio."""
    lines = []
    for work in dict.fromkeys(case["work"] for case in cases):
        own = [case for case in cases if case["work"] == work]
        compared = {"PyTorch": own, "tuned PyTorch": [c["tuned"] for c in own if "tuned" in c]}
        for name in rivals:
            compared[name] = [c["rivals"][name] for c in own if c.get("rivals", {}).get(name)]
        parts = [
            f"{name} {statistics.geometric_mean(ratios):.2f} (worst {min(ratios):.2f})"
            for name, figures in compared.items()
            if (ratios := [each["ratio"] for each in figures])
        ]
        lines.append(f"- {work}: {', '.join(parts)}")
    return lines


def _row(case, tuned=False, rivals=()):
    """Return the cells of a case."""
    ours, theirs = case["ours"], case["pytorch"][case["fastest"]]
    return [
        case["case"] + mark(case),
        case["work"],
        spread(ours["median"], ours, 1e3),
        spread(theirs["median"], theirs, 1e3),
        case["fastest"],
        spread(case["ratio"], case["paired"], 1),
        *(_tuned(case.get("tuned")) if tuned else ()),
        *(cell for name in rivals for cell in _rival(case.get("rivals", {}), name)),
        f"{figure(ours['gflops'])} / {figure(theirs['gflops'])}",
        f"{figure(ours['gbytes'])} / {figure(theirs['gbytes'])}",
        f"{ours['fraction']:.0%} / {theirs['fraction']:.0%} {case['bound']}",
    ]


def _tuned(measured):
    """Return the two cells about tuned PyTorch."""
    if measured is None:
        return "-", "-"
    sides = measured["ours"], measured["pytorch"][measured["fastest"]]
    seconds = " / ".join(figure(1e3 * side["median"]) for side in sides)
    return seconds + mark(measured), spread(measured["ratio"], measured["paired"], 1)


def _rival(rivals, name):
    """Return the two cells about a rival; it may not do this work, or not be installed."""
    if name not in rivals:
        return "-", "-"
    if (theirs := rivals[name]) is None:
        return "not installed", "-"
    return spread(theirs["median"], theirs, 1e3), spread(theirs["ratio"], theirs["paired"], 1)


def _line(cells):
    return f"| {' | '.join(cells)} |"
