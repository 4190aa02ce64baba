"""Everything that a GPU is asked, in one go: `python benchmarks/gpu.py`, under eight minutes.

The sections run in this order, each in a process of its own and within its share of the time: facts
of the machine; `pytest -m gpu`; NVIDIA's sanitizer over some of these tests; ceilings of the
machine; kernels that wait for the memory; every convolution, and every network, beside PyTorch with
cuDNN. Every figure is in the file as soon as it is known, so a run that is cut off loses nothing:
the same command with the same --out, or with --resume, goes on with what is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import math
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    # Python has put the folder of this script there, whose `conv` or `machine` nobody else means.
    sys.path[0] = str(ROOT)

from benchmarks import machine  # noqa: E402
from benchmarks.device.programs import stop  # noqa: E402
from benchmarks.device.report import is_done, markdown, missing, owed  # noqa: E402
from minicnn import kernels  # noqa: E402
from minicnn.checkpoint import written_whole  # noqa: E402

SECONDS = 460.0  # eight minutes, and some of it to end in
GRACE = 8.0  # [s] that a section may take beyond its time, to end its last item
LEAST = 5.0  # [s] below which a section need not begin: libraries take as long to import
NAME = "gpu"  # of both files


@dataclass(frozen=True)
class Section:
    """One part of the run.

    Parameters
    ----------
    name : str
        Of its file in `benchmarks/device/`.
    share : float
        Its part of the time beside those of the sections after it; the rest of one goes to them.
    patience : float [s]
        How long it may say nothing before it counts as hanging.
    program : sequence of str
        What runs it; it is given the name and the seconds too.
    """

    name: str
    share: float
    patience: float = 90.0
    program: Sequence[str] = (sys.executable, "-m", "benchmarks.device")


SECTIONS = (
    Section("facts", 15),
    Section("tests", 80, math.inf),
    Section("sanitizer", 60, math.inf),
    Section("ceilings", 20),
    Section("memory", 25),
    Section("layers", 90),
    Section("networks", 170),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; return 0 if all is there and nothing is wrong."""
    started = datetime.now(UTC)
    options = _parse(arguments, started)
    try:
        kernels.cuda.availability.cupy()
    except kernels.NoGPUError as error:
        print(f"benchmarks/gpu.py: {error}", file=sys.stderr)
        return 1
    gpus = [gpu.name for gpu in kernels.cuda.availability.survey().driver.gpus]
    has_pytorch = importlib.util.find_spec("torch") is not None
    if has_pytorch and (why := pytorch_without_gpu()):
        print(f"benchmarks/gpu.py: {why}", file=sys.stderr)
        return 1
    report = begin(options, gpus, has_pytorch, started)
    if not has_pytorch:
        print("PyTorch is not installed: minicnn is measured alone")
    chosen = [section for section in SECTIONS if section.name in options.sections]
    run(chosen, report, options.out, options.seconds)
    left = [section.name for section in chosen if _is_owed(report, section)]
    wrong = [f"{section.name} ({text})" for section in chosen for text in wrongs(report, section)]
    print(f"{options.out / NAME}.md")
    if left:
        print(f"incomplete: {', '.join(left)}; go on with --resume {options.out}")
    if wrong:
        print(f"wrong: {', '.join(wrong)}")
    return 1 if left or wrong else 0


def pytorch_without_gpu() -> str:
    """Return why PyTorch, which is installed, cannot compute on the GPU; "" where it can."""
    script = "import torch; print(torch.__version__, torch.version.cuda, torch.cuda.is_available())"
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return f"PyTorch is installed but cannot be imported: {done.stderr.strip()[-300:]}"
    version, cuda, sees_gpu = done.stdout.split()
    if sees_gpu == "True":
        return ""
    made = "without CUDA" if cuda == "None" else f"for CUDA {cuda}"
    return (
        f"PyTorch {version}, built {made}, sees no GPU: install a build for this driver, or "
        "uninstall it, and minicnn is measured alone"
    )


def begin(
    options: argparse.Namespace, gpus: Sequence[str], has_pytorch: bool, started: datetime
) -> dict[str, Any]:
    """Return the report that is to go on, or a new one.

    Raises
    ------
    SystemExit
        If there is none to go on with, or it was begun on another GPU: its figures would be
        compared with ceilings of this one.
    """
    path = options.resume or options.out
    path = path / f"{NAME}.json" if path.suffix != ".json" else path
    if not path.exists():
        if options.resume:
            sys.exit(f"benchmarks/gpu.py: there is no {path} to go on with")
        return {
            "date": started.isoformat(timespec="seconds"),
            "commit": machine.commit(),
            "gpu": list(gpus),
            "pytorch": has_pytorch,
            "sections": {},
        }
    report = json.loads(path.read_text(encoding="utf-8"))
    for key, here in (("gpu", list(gpus)), ("pytorch", has_pytorch)):
        if report[key] != here:
            sys.exit(
                f"benchmarks/gpu.py: {path} was begun with {key} {report[key]}, here it is {here}; "
                "begin anew with another --out"
            )
    return report


def run(
    sections: Sequence[Section],
    report: dict[str, Any],
    folder: Path,
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run the sections that are not complete, one after the other, within these seconds."""
    end = clock() + seconds
    for place, section in enumerate(sections):
        if is_complete(report, section):
            print(f"{section.name}: complete")
            continue
        later = [each for each in sections[place:] if not is_complete(report, each)]
        budget = (end - clock()) * section.share / sum(each.share for each in later)
        attempt = Attempt(section, _entry(report, section), lambda: save(report, folder), clock)
        attempt.run(budget)
        save(report, folder)
        _write(folder / f"{NAME}.md", markdown(report))
        done = attempt.entry["runs"][-1]
        print(f"{section.name}: {done['end']}, {done['seconds']:.0f} of {budget:.0f} s", flush=True)


def is_complete(report: dict[str, Any], section: Section) -> bool:
    """Return whether all items of a section are known and measured, and none is wrong."""
    entry = report["sections"].get(section.name)
    return entry is not None and entry["items"] is not None and not missing(entry)


def _is_owed(report, section):
    """Return whether a section lacks anything that could be measured on this machine."""
    entry = report["sections"].get(section.name)
    return entry is None or entry["items"] is None or bool(owed(entry))


def wrongs(report: dict[str, Any], section: Section) -> list[str]:
    """Return what a section has found to be wrong: failing tests, and what the sanitizer says."""
    entry = report["sections"].get(section.name, {})
    return [r["wrong"] for r in entry.get("records", {}).values() if r.get("wrong")]


def save(report: dict[str, Any], folder: Path) -> None:
    """Write the figures, all or nothing."""
    # In one line: with line breaks it would take Python's own encoder, a tenth of a second at last.
    _write(folder / f"{NAME}.json", json.dumps(report, allow_nan=False))


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


@dataclass
class Attempt:
    """A section during this run: it is started again where an item took its process along.

    Parameters
    ----------
    section : Section
    entry : dict
        Its part of the report: "items" (their keys, None until they are known), "records" by key,
        and "runs".
    save : callable
        Called after every record.
    clock : callable
    """

    section: Section
    entry: dict[str, Any]
    save: Callable[[], None]
    clock: Callable[[], float]
    begun: str | None = None
    failed: set[str] = field(default_factory=set)

    def run(self, seconds: float) -> None:
        """Measure what is missing, and note how it ended."""
        started = self.clock()
        end = "no time left"
        if seconds >= LEAST:
            while (end := self._process(started + seconds)) == "again":
                pass
        self.entry["runs"].append(
            {
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "commit": machine.commit(),
                "seconds": self.clock() - started,
                "end": end,
            }
        )

    def _process(self, ends):
        """Run one process; return how the section ended, or "again"."""
        left = ends - self.clock()
        if left < LEAST:
            return "out of time"
        command = [*self.section.program, self.section.name, f"{left:.1f}"]
        with tempfile.TemporaryFile("w+", errors="replace") as said:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
            )
            known = len(self.failed)
            try:
                with contextlib.suppress(BrokenPipeError), process.stdin:
                    json.dump(self._done(), process.stdin)
                trouble = self._listen(process, ends + GRACE)
            finally:
                stop(process)
            said.seek(0)
            trouble = trouble or self._trouble(process.returncode, said.read())
        return self._ended(trouble, len(self.failed) > known)

    def _done(self):
        """Return the keys of what need not be measured, or has failed in this run."""
        good = (key for key, record in self.entry["records"].items() if is_done(record))
        return sorted({*good, *self.failed})

    def _listen(self, process, last):
        """Take what the section says until it ends; return what is wrong if it had to be ended."""
        lines: queue.Queue = queue.Queue()

        def read():
            with process.stdout:
                for line in process.stdout:
                    lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        while True:
            left = last - self.clock()
            try:
                line = lines.get(timeout=max(min(left, self.section.patience), 0))
            except queue.Empty:
                if self.clock() >= last:
                    return "out of time"
                return f"no result for {self.section.patience:.0f} s"
            if line is None:
                process.wait()
                return ""
            self._take(json.loads(line))

    def _take(self, message):
        """Take one line of what the section says."""
        if "items" in message:
            self.entry["items"] = message["items"]
        elif "begun" in message:
            self.begun = message["begun"]
        else:
            self._record(message.pop("key"), message)

    def _record(self, key, record):
        self.entry["records"][key] = record
        self.begun = None
        if not is_done(record):
            self.failed.add(key)
        self.save()

    def _trouble(self, status, said):
        """Return what is wrong with a process that has ended by itself."""
        if status == 0:
            return ""
        return f"the process ended with status {status}: {' '.join(said.split()[-40:])}"

    def _ended(self, trouble, has_failed):
        """Return how a process ended, once the item that it was at has a record of that."""
        if trouble == "out of time":
            return trouble
        if not trouble:
            left = missing(self.entry)
            if set(left) - self.failed:
                return "out of time"
            return f"{len(left)} items to repeat" if left else "complete"
        if self.begun is not None:
            self._record(self.begun, {"error": trouble})
        elif not has_failed:
            return f"failed: {trouble}"
        return "again"


def _entry(report, section):
    return report["sections"].setdefault(section.name, {"items": None, "records": {}, "runs": []})


def _parse(arguments, started):
    names = [section.name for section in SECTIONS]
    parser = argparse.ArgumentParser(
        prog="python benchmarks/gpu.py",
        description="Test and measure minicnn on a GPU, beside PyTorch; what is there is kept.",
    )
    add = parser.add_argument
    known = dict(choices=names, default=names, metavar="NAME", help=", ".join(names))
    add("--sections", nargs="+", **known)
    add("--out", type=Path, metavar="DIR", help="default: a new one in benchmarks/results")
    add("--resume", type=Path, metavar="PATH", help="go on with this run: its folder or its JSON")
    add("--seconds", type=float, default=SECONDS, help=f"for all sections (default: {SECONDS:.0f})")
    options = parser.parse_args(arguments)
    if not options.seconds > 0:
        parser.error("--seconds takes a positive number")
    if options.out is None:
        name = started.strftime("%Y-%m-%dT%H-%M-%SZ") + f"-{NAME}"
        options.out = ROOT / "benchmarks" / "results" / name
        if options.resume is not None:
            is_file = options.resume.suffix == ".json"
            options.out = options.resume.parent if is_file else options.resume
    return options


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # and stop the section too
    sys.exit(main())
