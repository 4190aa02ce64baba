"""Show what the examples can do: run each as it stands, and write the results into README.md.

Figures and pictures are kept in docs/gallery, and the table in README.md is written from there,
again after every script. A script that fails is named, and keeps its old row.

    make gallery
    python examples/gallery.py --only onset instruments
"""

import ast
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

from minicnn import experiment
from minicnn.checkpoint import written_whole

from PIL import Image
from tqdm import tqdm

WIDTH = 900  # of pictures, at most [pixels]
BEGIN, END = "<!-- gallery -->", "<!-- /gallery -->"
ABOUT = """\
Each script with its own options, judged by what it did not learn from. Music is generated on the
spot: results on it say that a network learns its task, not that it matches a paper. Times are of
everything, from the import to the last picture. {made}.

| example | a picture of it | result | for comparison | parameters | time |
|---|---|---|---|---:|---:|
{rows}
"""


def main(
    *,
    only: Annotated[tuple[str, ...], "the scripts to run; all by default"] = (),
    root: Annotated[Path, "where examples/, docs/ and README.md are"] = Path(__file__).parents[1],
) -> None:
    """Run scripts one after the other, and write down what each did."""
    there = scripts(root)
    if unknown := [name for name in only if name not in there]:
        raise ValueError(f"there is no {', '.join(unknown)}; there are {', '.join(there)}")
    write(root)  # better to learn now than after an hour that there is no place for the table
    failed, wanted = [], only or there
    bar = tqdm(wanted, unit="script", dynamic_ncols=True)
    for done, name in enumerate(bar):
        bar.set_description(name)
        try:
            keep(name, root, *run(name, root))
            write(root)
        except KeyboardInterrupt:
            rest = " ".join(wanted[done:])
            raise SystemExit(f"gallery: interrupted; go on with --only {rest}") from None
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            reason = f"its results lack {error}" if isinstance(error, KeyError) else error
            failed.append(f"{name} failed: {reason}")
            tqdm.write(failed[-1])
    if failed:
        raise SystemExit("\n".join(failed))


def scripts(root):
    """Return the names of all examples."""
    return sorted({path.stem for path in (root / "examples").glob("*.py")} - {"gallery"})


def run(name, root):
    """Run a script in a process of its own; return its folder, and how long it took [s]."""
    folder = root / "runs" / "gallery" / name
    shutil.rmtree(folder, ignore_errors=True)  # of the last time
    command = [sys.executable, root / "examples" / f"{name}.py", "--out", folder]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seconds = time.perf_counter() - started
    if done.returncode:
        lines = done.stdout.decode(errors="replace").strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"it ended with {done.returncode}")
    return folder, seconds


def keep(name, root, folder, seconds):
    """Keep the figures and the picture of a run in docs/gallery."""
    figures = json.loads((folder / "results.json").read_text())
    figures |= {"task": task(root / "examples" / f"{name}.py"), "whole_seconds": round(seconds)}
    figures |= {"machine": machine(), "date": time.strftime("%Y-%m-%d")}
    row(name, figures)  # fails where something is missing
    kept = root / "docs" / "gallery"
    kept.mkdir(parents=True, exist_ok=True)
    with Image.open(folder / figures["picture"]) as drawn:
        picture = drawn.convert("RGB")
    picture.thumbnail((WIDTH, picture.height), Image.Resampling.LANCZOS)
    with written_whole(kept / f"{name}.png") as temporary:
        picture.save(temporary, format="PNG", optimize=True)
    with written_whole(kept / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(figures, indent=2) + "\n")


def task(script):
    """Return the first sentence of a script's docstring."""
    about = ast.get_docstring(ast.parse(script.read_text())) or ""
    return " ".join(re.split(r"(?<=[.?!])\s", about, maxsplit=1)[0].split())


def machine():
    """Return the processor, and how many cores there are."""
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"model name\s*: (.*)", told)
    name = found[1] if found else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def write(root):
    """Write README.md again, with what is in docs/gallery between the two marks."""
    readme = root / "README.md"
    before, begin, rest = readme.read_text().partition(f"{BEGIN}\n")
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md takes a line {BEGIN}, and below it a line {END}")
    with written_whole(readme) as temporary:
        temporary.write_text(before + begin + section(root) + end + after)


def section(root):
    """Return what is said of all examples whose results there are."""
    kept = {name: root / "docs" / "gallery" / f"{name}.json" for name in scripts(root)}
    found = {name: json.loads(path.read_text()) for name, path in kept.items() if path.exists()}
    made = {}
    for name, figures in found.items():
        made.setdefault(f"{figures['date']}: {figures['machine']}", []).append(name)
    machines = [f"{key} ({', '.join(names)})" for key, names in made.items()]
    made = "; ".join(machines if len(made) > 1 else made)
    rows = "\n".join(row(name, figures) for name, figures in found.items())
    return ABOUT.format(made=made, rows=rows) if found else ""


def row(name, figures):
    """Return the row of an example."""
    minutes, seconds = divmod(figures["whole_seconds"], 60)
    cells = (
        f"[`{name}`](examples/{name}.py)<br>{figures['task']}",
        f'<img src="docs/gallery/{name}.png" width="400" alt="{figures["picture"]}">',
        numbers(figures["metrics"]),
        numbers(figures["baselines"]),
        f"{figures['parameters']:,}" if figures["parameters"] else "",
        f"{minutes} min {seconds:02d} s",
    )
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def numbers(values):
    """Return figures and what they are, one below the other."""
    return "<br>".join(f"{name.replace('_', ' ')} {short(values[name])}" for name in values)


def short(value):
    """Return a number as short as one reads it: a count, a share, a time."""
    whole = value > 1 and value == round(value)
    return f"{value:,.{0 if whole else 3 if abs(value) < 10 else 1}f}"


if __name__ == "__main__":
    experiment.command_line(main)
