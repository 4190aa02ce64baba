"""What a user waits for at first, measured in fresh processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("threadpoolctl")

from benchmarks import machine, probe, startup

ROOT = Path(__file__).parents[1]
linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux tells memory")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return where a run over one network left its files."""
    output = tmp_path_factory.mktemp("results")
    options = ["--size", "toy", "--threads", "1", "--repeats", "1", "--only", "crepe tiny"]
    startup.main([*options, "--output", str(output)])
    return output


@pytest.fixture(scope="module")
def report(folder):
    (path,) = folder.glob("*-startup.json")
    return json.loads(path.read_text())


def test_a_report_has_imports_and_a_record_for_each_network(report):
    assert report["size"] == "toy"
    assert report["versions"].keys() >= {"minicnn", "torch"}
    (run,) = report["runs"]
    assert run["imports"].keys() == {"minicnn", "torch"}
    assert all(0 < library["median"] < 60 for library in run["imports"].values())
    (record,) = run["networks"]
    assert record["case"] == "crepe tiny"
    for side in (record["ours"], record["pytorch"]):
        assert 0 < side["first"]["lower"] <= side["first"]["upper"]
        assert len(side["later"]["seconds"]) == probe.LATER


def test_an_empty_cache_is_told_from_one_that_a_process_has_filled(report):
    (record,) = report["runs"][0]["networks"]
    assert record["cold"] > 2 * record["ours"]["first"]["median"]


@linux
def test_training_takes_gradients_and_averages_at_least(report):
    (record,) = report["runs"][0]["networks"]
    for side in (record["ours"], record["pytorch"]):
        assert 3 * 4 * 486_552 < side["peak"] < 1e9
    assert record["memory_ratio"] == record["ours"]["peak"] / record["pytorch"]["peak"]


def test_the_table_shows_the_figures(folder, report):
    (path,) = folder.glob("*-startup.md")
    (run,) = report["runs"]
    text = path.read_text()
    assert f"- `import torch`: {run['imports']['torch']['median']:.3g}"[:20] in text
    assert len([line for line in text.splitlines() if line.startswith("| crepe tiny")]) == 1


@linux
def test_the_peak_is_what_a_step_takes_beside_what_was_there():
    kept = np.ones(4_000_000)

    def step():
        def run():
            np.ones(8_000_000).sum()

        return run

    peak = probe.measure(step)["peak"]
    assert kept.nbytes < peak == pytest.approx(64e6, rel=0.1)


def test_without_a_system_that_tells_there_is_no_memory(monkeypatch, report):
    monkeypatch.setattr(probe, "_resident", lambda: None)
    assert probe.measure(lambda: lambda: None)["peak"] is None
    (record,) = report["runs"][0]["networks"]
    sides = {name: {**record[name], "peak": None} for name in ("ours", "pytorch")}
    assert startup._row({**record, **sides, "memory_ratio": None})[-3:] == ["-", "-", "-"]


def test_our_process_does_not_import_pytorch():
    script = (
        "import sys; sys.argv[1:] = ['minicnn', 'lenet5 modern', 'toy', '1']; "
        "from benchmarks import probe; probe.main(); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout).keys() == {"first", "later", "peak"}


def test_processes_that_were_started_here_are_no_others(monkeypatch):
    others, children = iter([10, 10, 17, 17]), iter([0, 6])
    monkeypatch.setattr(machine, "_seconds_of_others", lambda: next(others))
    monkeypatch.setattr(
        os, "times", lambda: SimpleNamespace(children_user=next(children), children_system=0)
    )
    monkeypatch.setattr(machine.time, "perf_counter", iter([0, 0, 10, 10]).__next__)
    watches = machine.Watch(), machine.Watch(with_children=True)
    assert [watch.cores() for watch in watches] == [0.7, 0.1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threads", "0"], "--threads and --repeats take whole numbers from 1"),
        (["--repeats", "0"], "--threads and --repeats take whole numbers from 1"),
        (["--only", "transformer"], "no network is named 'transformer'"),
    ],
)
def test_a_wrong_argument_is_explained(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        startup.main(arguments)
    assert message in capsys.readouterr().err + str(stopped.value.code)
