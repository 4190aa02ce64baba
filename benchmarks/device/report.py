"""The report of a GPU as Markdown: the targets first, then every figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.device import targets
from benchmarks.report import figure, rows, spread

NOTES = """\
Medians by CUDA events, with the quartiles in brackets, both sides in turns in one process; a \
ratio is PyTorch's time by minicnn's, above 1 where minicnn is faster, with its quartiles turn by \
turn. Both compute the same: batch, weights and results, which are compared before anything is \
timed. minicnn's images are NCHW; PyTorch runs in both layouts, and in all lanes but "default" \
with cuDNN's search for the fastest algorithm and a fused Adam. "graph" is a step as one CUDA \
graph. The ratio that counts is between the fastest way of each side; those among steps run \
eagerly and among graphs stand beside it. In bfloat16 PyTorch's layers are given numbers in it, \
as they come from the layer before. Steps of networks follow each other as in training, \
Python included; layers and kernels start from an L2 cache that was overwritten, while what they \
launch lines up, so that Python is hardly on their clock."""
LANES = {
    "float32": "both in strict float32",
    "TF32": "factors in TF32 on both sides",
    "default": "as either library comes: minicnn multiplies in float32, PyTorch convolves in TF32",
    "bfloat16": "minicnn rounds factors, PyTorch (autocast) keeps activations in bfloat16 too",
}
OURS = [("ours", "eager"), ("ours", "graph")]
THEIRS = [("pytorch", f"{way} {kind}") for kind in ("eager", "graph") for way in ("NCHW", "NHWC")]
WAYS = OURS + THEIRS
WORDS = {True: "yes", False: "no", None: "open"}


def markdown(report: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    sections = report["sections"]
    lines = [f"# Benchmarks on a GPU, {report['date']}", "", _heading(report), "", NOTES]
    lines += ["", "## Targets", "", *_targets(report)]
    lines += ["", "## Sections", "", *_sections(sections)]
    for name, table in TABLES.items():
        if records := sections.get(name, {}).get("records"):
            lines += ["", f"## {name.capitalize()}", "", *table(records), *_errors(records)]
    return "\n".join(lines)


def missing(section: Mapping[str, Any]) -> list[str]:
    """Return the keys of the items that are to be measured, or measured again."""
    return [key for key in section.get("items") or () if not is_done(section["records"].get(key))]


def is_done(record: Mapping[str, Any] | None) -> bool:
    """Return whether an item has been measured to its end, and nothing was found to be wrong."""
    return record is not None and not any(map(record.get, ("error", "stopped", "wrong")))


def owed(section: Mapping[str, Any]) -> list[str]:
    """Return the keys of the missing items that this machine has all the means for."""
    records = section["records"]
    return [key for key in missing(section) if records.get(key, {}).get("is_available", True)]


def _heading(report):
    """Return what was measured on, as far as it is known yet."""
    facts = report["sections"].get("facts", {}).get("records", {})
    found = [*report["gpu"]]
    machine, gpu, torch = (facts.get(name, {}) for name in ("machine", "GPU", "PyTorch"))
    if gpu.get("runtime"):
        found += [f"driver for CUDA {_dotted(gpu['driver'])}, CUDA {_dotted(gpu['runtime'])}"]
    if machine.get("versions"):
        found += [f"{machine['cpu']}, {machine['cores']} cores"]
        found += [" ".join(pair) for pair in machine["versions"].items()]
    if torch.get("cudnn"):
        found += [f"cuDNN {torch['cudnn']}"]
    if not report["pytorch"]:
        found += ["**PyTorch is not installed: minicnn alone was measured**"]
    runs = [run for section in report["sections"].values() for run in section["runs"]]
    commits = dict.fromkeys([report["commit"], *(run["commit"] for run in runs)])
    return ", ".join([*found, *(f"commit {commit}" for commit in commits if commit)])


def _targets(report):
    cells = []
    for target in targets.TARGETS:
        found = targets.verdict(target, report)
        worst = "-" if found.worst is None else f"{figure(found.worst[1])} ({found.worst[0]})"
        count = f"{found.measured} of {found.items}" if found.items else "none"
        cells.append([target.text, WORDS[found.met], worst, count])
    return rows(("target", "met", "worst", "measured"), (0, 1, 2), cells)


def _sections(sections):
    cells = []
    for name, section in sections.items():
        total, left = len(section["items"] or ()), len(missing(section))
        errors = sum("error" in record for record in section["records"].values())
        seconds = sum(run["seconds"] for run in section["runs"])
        end = section["runs"][-1]["end"] if section["runs"] else "not begun"
        cells.append([name, f"{total - left} of {total}", str(errors), f"{seconds:.0f}", end])
    return rows(("section", "measured", "errors", "time [s]", "end"), (0, 4), cells)


def _facts(records):
    """Return what nvidia-smi and PyTorch say of themselves."""
    answers = records.get("nvidia-smi", {}).get("answers") or {}
    lines = [f"- {question}: {answer}" for question, answer in answers.items()]
    defaults = records.get("PyTorch", {}).get("defaults", {})
    return lines + [f"- PyTorch's default: {name} {value}" for name, value in defaults.items()]


def _programs(records):
    """Return a line for each program that was run, and what is wrong."""
    lines = []
    for key, record in records.items():
        if "error" in record:
            continue
        counts = record.get("counts") or {"found": record.get("found"), "passed": record["passed"]}
        shown = ", ".join(f"{count} {name}" for name, count in counts.items())
        ends = [record["wrong"]] if record["wrong"] else []
        ends += ["stopped, the time was up"] if record["stopped"] else []
        lines.append(f"- {key}: {'; '.join([shown, *ends])}")
        lines += [f"  - `{reason}`" for reason in record.get("reasons", ())]
    return lines


def _ceilings(records):
    cells = []
    for key, record in _good(records):
        rate = (
            f"{figure(record['gbytes'])} GB/s"
            if "gbytes" in record
            else f"{figure(record['tflops'])} TFLOP/s"
        )
        cells.append([key, rate, spread(record["median"], record, 1e3)])
    return rows(("ceiling", "rate", "time [ms]"), (0,), cells)


def _memory(records):
    cells = [
        [
            key,
            spread(record["median"], record, 1e6),
            figure(record["gbytes"]),
            figure(record["copy_gbytes"]),
            f"{record['fraction']:.0%}",
            _met("memory", key, record["fraction"]),
        ]
        for key, record in _good(records)
    ]
    columns = ("kernel", "time [us]", "GB/s", "a copy's GB/s", "of a copy", "target met")
    return rows(columns, (0, 5), cells)


def _networks(records):
    columns = ["network", "work", "input", *(_way(way) for way in WAYS), "PyTorch / minicnn"]
    columns += ["eager", "graphs", "target met"]
    lines = []
    for lane, text in LANES.items():
        found = [pair for pair in _good(records) if pair[1]["lane"] == lane]
        if found:
            cells = [_network(key, record) for key, record in found]
            lines += ["", f"### {lane}: {text}", "", *rows(columns, (0, 1, 2), cells)]
            lines += ["", *_missing(record for _, record in found)]
    return lines


def _missing(records):
    """Return a line for each way that is not there, and why."""
    found = dict.fromkeys(
        f"- {record['work']}, {name}: {why}"
        for record in records
        for name, why in record["missing"].items()
    )
    return list(found)


def _network(key, record):
    return [
        record["network"],
        record["work"],
        "x".join(map(str, record["shape"])),
        *_times(record, WAYS, 1e3),
        _ratio(record),
        *("-" if ratio is None else figure(ratio) for ratio in record["alike"].values()),
        _met("networks", key, record["ratio"]),
    ]


def _layers(records):
    ways = [way for way in WAYS if way[1].endswith("eager")]
    columns = ["layer", "work", *(_way(way, "us") for way in ways), "PyTorch / minicnn", "TFLOP/s"]
    lines = []
    for lane, text in LANES.items():
        found = [record for _, record in _good(records) if record["lane"] == lane]
        if found:
            cells = [
                [
                    record["layer"],
                    record["work"],
                    *_times(record, ways, 1e6),
                    _ratio(record),
                    figure(record["flop"] / record["ours"]["eager"]["median"] / 1e12),
                ]
                for record in found
            ]
            lines += ["", f"### {lane}: {text}", "", *rows(columns, (0, 1), cells)]
    return lines


TABLES = {
    "facts": _facts,
    "tests": _programs,
    "sanitizer": _programs,
    "ceilings": _ceilings,
    "memory": _memory,
    "networks": _networks,
    "layers": _layers,
}


def _errors(records):
    """Return a line for each item that has an error instead of figures."""
    lines = [f"- {key}: {r['error']}" for key, r in records.items() if "error" in r]
    return ["", "Errors:", "", *lines] if lines else []


def _good(records):
    return [(key, record) for key, record in records.items() if "error" not in record]


def _way(way, unit="ms"):
    side, name = way
    return f"{'minicnn' if side == 'ours' else 'PyTorch'} {name} [{unit}]"


def _times(record, ways, scale):
    found = [record[side].get(name) for side, name in ways]
    return ["-" if each is None else spread(each["median"], each, scale) for each in found]


def _ratio(record):
    return "-" if record["ratio"] is None else spread(record["ratio"], record["paired"], 1)


def _met(section, key, value):
    least = targets.least(section, key)
    if least is None or value is None:
        return "-"
    return f"{WORDS[value >= least]} ({figure(value)} of {least})"


def _dotted(version):
    return ".".join(map(str, version))
