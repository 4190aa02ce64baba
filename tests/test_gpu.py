"""`benchmarks/gpu.py`: sections in processes of their own, a report that loses nothing, targets."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import gpu
from benchmarks.device import items, report, targets
from benchmarks.gpu import Section
from minicnn import kernels

ROOT = Path(__file__).parents[1]
HERE = ["a GPU"]

# A section that has three items and does with each what its name says.
FAKE = """
import json, os, sys, time
done = json.load(sys.stdin)
keys = {keys}
tell = lambda **message: print(json.dumps(message), flush=True)
print("a library talks", file=sys.stderr)
tell(items=keys)
for key in keys:
    if key in done:
        continue
    tell(begun=key)
    if key.startswith("crash"):
        print("illegal address", file=sys.stderr)
        os.abort()
    if key.startswith("hang"):
        time.sleep(30)
    if key.startswith("fail"):
        tell(key=key, error="ValueError: no")
    elif key.startswith("wrong"):
        tell(key=key, wrong="3 failed", figure=len(done))
    elif key.startswith("lacks"):
        tell(key=key, error="not available: a program", is_available=False)
    else:
        tell(key=key, figure=len(done), seconds=float(sys.argv[2]), name=sys.argv[1])
"""


def fake(name, *keys, share=1.0, patience=60.0, script=FAKE):
    program = (sys.executable, "-c", script.replace("{keys}", json.dumps(list(keys))))
    return Section(name, share, patience, program)


def begun(tmp_path, *arguments):
    options = gpu._parse(["--out", str(tmp_path), *arguments], gpu.datetime.now(gpu.UTC))
    return gpu.begin(options, HERE, True, gpu.datetime.now(gpu.UTC))


def run(sections, tmp_path, *arguments, seconds=60):
    """Run sections, beginning or going on, and return the report as the file has it."""
    gpu.run(sections, begun(tmp_path, *arguments), tmp_path, seconds)
    return json.loads((tmp_path / "gpu.json").read_text())


def ends(found):
    return {name: entry["runs"][-1]["end"] for name, entry in found["sections"].items()}


def test_every_section_is_a_file_that_lists_its_items():
    for section in gpu.SECTIONS:
        path = ROOT / "benchmarks/device" / f"{section.name}.py"
        assert "\ndef items(gpu: Gpu" in path.read_text()
    assert gpu.SECONDS + gpu.GRACE < 8 * 60


def test_sections_run_in_order_and_every_figure_is_in_the_file(tmp_path):
    found = run([fake("one", "a", "b"), fake("two", "c")], tmp_path)
    assert list(found["sections"]) == ["one", "two"]
    assert list(found["sections"]["one"]["records"]) == ["a", "b"]
    assert ends(found) == {"one": "complete", "two": "complete"}
    assert found["sections"]["two"]["records"]["c"]["name"] == "two"
    assert "| one | 2 of 2 | 0 |" in (tmp_path / "gpu.md").read_text()


def test_what_is_complete_is_not_measured_again(tmp_path, capsys):
    sections = [fake("one", "a", "b")]
    first = run(sections, tmp_path)
    assert run(sections, tmp_path) == first
    assert capsys.readouterr().out.endswith("one: complete\n")


def test_a_run_that_was_cut_off_goes_on_with_what_is_missing(tmp_path):
    run([fake("one", "a", "b")], tmp_path)
    longer = fake("one", "a", "b", "c"), fake("two", "d")
    path = tmp_path / "gpu.json"
    cut = json.loads(path.read_text())
    cut["sections"]["one"]["items"].append("c")
    path.write_text(json.dumps(cut))
    found = run(longer, tmp_path)
    records = found["sections"]["one"]["records"]
    assert [records[key]["figure"] for key in "abc"] == [0, 0, 2]
    assert len(found["sections"]["one"]["runs"]) == 2
    assert ends(found)["two"] == "complete"


def test_the_file_has_what_was_known_when_the_whole_run_was_killed(tmp_path):
    script = (
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit()); "
        "from pathlib import Path; from tests import test_gpu; "
        f"test_gpu.run([test_gpu.fake('one', 'a', 'hang')], Path({str(tmp_path)!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    path = tmp_path / "gpu.json"
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.terminate()
    process.wait()
    assert list(json.loads(path.read_text())["sections"]["one"]["records"]) == ["a"]


def test_one_run_can_go_on_in_another_folder(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    run([fake("one", "a")], old)
    for path in (old, old / "gpu.json"):
        found = run([fake("one", "a"), fake("two", "b")], new, "--resume", str(path))
        assert list(found["sections"]) == ["one", "two"]
    assert list(json.loads((old / "gpu.json").read_text())["sections"]) == ["one"]


def test_without_another_folder_it_goes_on_where_it_was(tmp_path):
    for path in (tmp_path, tmp_path / "gpu.json"):
        options = gpu._parse(["--resume", str(path)], gpu.datetime.now(gpu.UTC))
        assert options.out == tmp_path


def test_figures_of_two_gpus_are_not_mixed(tmp_path):
    run([fake("one", "a")], tmp_path)
    path = tmp_path / "gpu.json"
    path.write_text(path.read_text().replace("a GPU", "another GPU"))
    message = r"begun with gpu \['another GPU'\], here it is \['a GPU'\]; begin anew"
    with pytest.raises(SystemExit, match=message):
        begun(tmp_path)


def test_there_must_be_something_to_go_on_with(tmp_path):
    with pytest.raises(SystemExit, match=r"there is no .*gpu\.json to go on with"):
        begun(tmp_path, "--resume", str(tmp_path / "nothing"))


def test_an_item_that_fails_is_recorded_and_tried_again_next_time(tmp_path):
    found = run([fake("one", "fail", "a"), fake("two", "b")], tmp_path)
    entry = found["sections"]["one"]
    assert entry["records"]["fail"] == {"error": "ValueError: no"}
    assert entry["records"]["a"]["figure"] == 0
    assert ends(found) == {"one": "1 items to repeat", "two": "complete"}
    assert "| one | 1 of 2 | 1 |" in (tmp_path / "gpu.md").read_text()
    again = run([fake("one", "fail", "a")], tmp_path)
    assert len(again["sections"]["one"]["runs"]) == 2


def test_an_item_that_takes_its_process_along_costs_no_other_item(tmp_path):
    found = run([fake("one", "a", "crash", "b")], tmp_path)
    records = found["sections"]["one"]["records"]
    assert "status -6" in records["crash"]["error"]
    assert "illegal address" in records["crash"]["error"]
    assert (records["a"]["figure"], records["b"]["figure"]) == (0, 2)


def test_an_item_that_hangs_is_ended_and_costs_no_other_item(tmp_path):
    found = run([fake("one", "a", "hang", "b", patience=1.0)], tmp_path)
    records = found["sections"]["one"]["records"]
    assert records["hang"] == {"error": "no result for 1 s"}
    assert "figure" in records["b"]


def test_a_section_that_does_not_begin_says_why_and_the_next_one_runs(tmp_path):
    broken = fake("one", script="import nothing_of_this_name")
    found = run([broken, fake("two", "a")], tmp_path)
    assert ends(found)["two"] == "complete"
    assert "No module named 'nothing_of_this_name'" in ends(found)["one"]
    assert not gpu.is_complete(found, broken)


def test_a_section_beyond_its_time_is_ended_and_keeps_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "GRACE", 0.0)
    monkeypatch.setattr(gpu, "LEAST", 0.5)
    found = run([fake("one", "a", "hang", "b"), fake("two", "c")], tmp_path, seconds=4)
    assert list(found["sections"]["one"]["records"]) == ["a"]
    assert ends(found)["one"] == "out of time"
    assert report.missing(found["sections"]["one"]) == ["hang", "b"]
    assert found["sections"]["one"]["runs"][-1]["seconds"] < 4


def test_time_that_a_section_leaves_goes_to_those_after_it(tmp_path):
    sections = [fake("one", "a", share=9), fake("two", "b", share=1)]
    found = run(sections, tmp_path, seconds=1000)
    given = {
        key: record["seconds"]
        for entry in found["sections"].values()
        for key, record in entry["records"].items()
    }
    assert 850 < given["a"] <= 900 < given["b"] <= 1000  # sections are told tenths of seconds


def test_a_section_for_which_nothing_is_left_does_not_begin(tmp_path):
    found = run([fake("one", "a")], tmp_path, seconds=1)
    assert ends(found) == {"one": "no time left"}
    assert found["sections"]["one"]["items"] is None


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_section_measures_item_after_item_until_its_time_is_up():
    clock, told = Clock(), []

    def measured(left):
        clock.now += 4
        return {"left": left}

    chosen = [items.Item(key, measured) for key in "abcde"]
    items.measure(
        chosen, done=["b"], ends=10, tell=told.append, check_device=lambda: None, clock=clock
    )
    assert told[0] == {"items": list("abcde")}
    assert [message for message in told if "key" in message] == [
        {"key": "a", "left": 10},
        {"key": "c", "left": 6},
        {"key": "d", "left": 2},
    ]
    assert told[-2:] == [{"begun": "d"}, {"key": "d", "left": 2}]


def test_after_an_error_the_device_is_asked_whether_it_can_go_on(capsys):
    told, asked = [], []

    def wrong(left):
        raise ValueError("two\nlines")

    def missing(left):
        raise items.NotAvailable("a program")

    chosen = [items.Item("wrong", wrong), items.Item("missing", missing)]
    options = dict(done=(), ends=1e9, tell=told.append, clock=Clock())
    items.measure(chosen, check_device=lambda: asked.append(True), **options)
    assert [message["error"] for message in told if "error" in message] == [
        "ValueError: two lines",
        "not available: a program",
    ]
    assert asked == [True]

    def dead():
        raise RuntimeError("the context is lost")

    with pytest.raises(RuntimeError, match="lost"):
        items.measure(chosen, check_device=dead, **options)
    assert told[-1]["key"] == "wrong"


def test_without_a_gpu_one_sentence_says_what_is_missing_and_nothing_is_written(
    tmp_path, monkeypatch, capsys
):
    def nothing():
        raise kernels.NoGPUError("device 'cuda' needs CuPy, which is not installed")

    monkeypatch.setattr(kernels.cuda.availability, "cupy", nothing)
    assert gpu.main(["--out", str(tmp_path / "new")]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "benchmarks/gpu.py: device 'cuda' needs CuPy, which is not installed\n"
    assert not list(tmp_path.iterdir())


def test_the_script_itself_is_found_wherever_it_is_started_from(tmp_path):
    if not kernels.cuda.availability.survey().missing:
        pytest.skip("there is a GPU")
    command = [sys.executable, str(ROOT / "benchmarks/gpu.py")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("benchmarks/gpu.py: device 'cuda' needs ")
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def with_gpu(monkeypatch):
    """A GPU, and two sections that do nothing with it."""
    found = SimpleNamespace(driver=SimpleNamespace(gpus=[SimpleNamespace(name="a GPU")]))
    monkeypatch.setattr(kernels.cuda.availability, "cupy", lambda: None)
    monkeypatch.setattr(kernels.cuda.availability, "survey", lambda: found)
    monkeypatch.setattr(gpu, "pytorch_without_gpu", lambda: "")
    monkeypatch.setattr(gpu, "SECTIONS", (fake("one", "a"), fake("two", "b", "fail")))


def test_the_command_line_says_what_is_incomplete_and_how_to_go_on(with_gpu, tmp_path, capsys):
    assert gpu.main(["--out", str(tmp_path), "--sections", "one"]) == 0
    assert gpu.main(["--out", str(tmp_path)]) == 1
    assert f"incomplete: two; go on with --resume {tmp_path}" in capsys.readouterr().out


def test_failing_tests_are_no_success_and_run_again(with_gpu, tmp_path, capsys, monkeypatch):
    arguments = ["--out", str(tmp_path), "--sections", "one"]
    monkeypatch.setattr(gpu, "SECTIONS", (fake("one", "a", "wrong"),))
    assert gpu.main(arguments) == 1
    assert "wrong: one (3 failed)" in capsys.readouterr().out
    mended = fake("one", "a", "wrong", script=FAKE.replace('wrong="3 failed", ', ""))
    monkeypatch.setattr(gpu, "SECTIONS", (mended,))
    assert gpu.main(arguments) == 0
    records = json.loads((tmp_path / "gpu.json").read_text())["sections"]["one"]["records"]
    assert (records["a"]["figure"], records["wrong"]["figure"]) == (0, 1)


def test_what_this_machine_lacks_is_said_and_owed_by_nobody(with_gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "SECTIONS", (fake("sanitizer", "lacks"),))
    assert gpu.main(["--out", str(tmp_path)]) == 0
    assert "- lacks: not available: a program" in (tmp_path / "gpu.md").read_text()


def test_every_commit_that_a_figure_is_from_is_named(with_gpu, tmp_path, monkeypatch):
    for commit in "old", "new":
        monkeypatch.setattr(gpu.machine, "commit", lambda commit=commit: commit)
        gpu.main(["--out", str(tmp_path)])
    assert "commit old, commit new" in (tmp_path / "gpu.md").read_text()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("2.13.0 13.0 True", ""),
        ("2.13.0 13.0 False", "PyTorch 2.13.0, built for CUDA 13.0, sees no GPU: install a build"),
        ("2.13.0+cpu None False", "PyTorch 2.13.0+cpu, built without CUDA, sees no GPU: install"),
    ],
)
def test_a_pytorch_that_sees_no_gpu_is_told_from_one_that_does(monkeypatch, said, why):
    done = SimpleNamespace(returncode=0, stdout=said)
    monkeypatch.setattr(gpu.subprocess, "run", lambda *command, **options: done)
    assert gpu.pytorch_without_gpu().startswith(why)
    assert bool(gpu.pytorch_without_gpu()) == bool(why)


def test_with_a_pytorch_that_sees_no_gpu_nothing_is_measured(
    with_gpu, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: "wherever it is")
    monkeypatch.setattr(gpu, "pytorch_without_gpu", lambda: "PyTorch sees no GPU")
    assert gpu.main(["--out", str(tmp_path / "new")]) == 1
    assert capsys.readouterr().err == "benchmarks/gpu.py: PyTorch sees no GPU\n"
    assert not list(tmp_path.iterdir())


def test_a_missing_pytorch_is_said_plainly(with_gpu, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    gpu.main(["--out", str(tmp_path), "--sections", "one"])
    assert "PyTorch is not installed: minicnn is measured alone\n" in capsys.readouterr().out
    assert "**PyTorch is not installed" in (tmp_path / "gpu.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sections", "speed"], "invalid choice: 'speed'"),
        (["--seconds", "0"], "--seconds takes a positive number"),
    ],
)
def test_a_wrong_argument_is_explained(arguments, message, capsys):
    with pytest.raises(SystemExit):
        gpu.main(arguments)
    assert message in capsys.readouterr().err


def figures(median):
    return {"lower": 0.9 * median, "median": median, "upper": 1.1 * median, "seconds": [median]}


def network(name, work, lane, ratio):
    """Return an item and its record where PyTorch takes so many times our 2 ms."""
    key = f"{name}, {work}, {lane}"
    return key, {
        "network": name,
        "work": work,
        "lane": lane,
        "shape": [32, 3, 224, 224],
        "errors": {},
        "ours": {"eager": figures(2e-3)},
        "pytorch": {"NCHW eager": figures(4e-3), "NHWC graph": figures(2e-3 * ratio)},
        "missing": {"graph": "not available: minicnn captures no step as a CUDA graph"},
        "fastest": {"ours": "eager", "pytorch": "NHWC graph"},
        "ratio": ratio,
        "paired": {"lower": ratio, "median": ratio, "upper": ratio},
        "alike": {"eager": 2.0, "graph": None},
    }


def entry(*pairs, more=()):
    records = dict(pairs)
    ended = {"date": "", "commit": None, "seconds": 12.0, "end": "complete"}
    return {"items": [*records, *more], "records": records, "runs": [ended]}


@pytest.fixture
def recorded():
    """A report as its file has it."""
    kernel = figures(1e-4) | {"gbytes": 3600.0, "copy_gbytes": 4000.0, "fraction": 0.9}
    layer = {
        **network("", "", "TF32", 1.5)[1],
        "layer": "vgg16: 3 to 64",
        "work": "forward",
        "flop": 4e9,
    }
    tests = {
        "counts": {"passed": 90, "failed": 1},
        "reasons": ["FAILED tests/kernels/test_cases.py::test_x - AssertionError"],
        "wrong": "1 failed, 0 errors, status 1",
        "stopped": False,
    }
    watched = {"found": 0, "passed": 26, "wrong": "", "stopped": True}
    found = {
        "date": "2026-12-01T10:00:00+00:00",
        "commit": "0123abc",
        "gpu": HERE,
        "pytorch": True,
        "sections": {
            "facts": entry(
                ("GPU", {"driver": [13, 0], "runtime": [13, 0]}),
                ("machine", {"cpu": "a CPU", "cores": 16, "versions": {"numpy": "2.4"}}),
                ("PyTorch", {"cudnn": 91000, "defaults": {"cudnn.allow_tf32": True}}),
                ("nvidia-smi", {"answers": {"power.limit": "700 W"}}),
            ),
            "tests": entry(("pytest -m gpu", tests)),
            "sanitizer": entry(("memcheck", watched), ("racecheck", {"error": "not available: x"})),
            "ceilings": entry(
                ("copy", figures(1e-3) | {"gbytes": 4000.0}),
                ("TF32", figures(1e-3) | {"tflops": 400.0}),
            ),
            "memory": entry(("ReLU", kernel)),
            "layers": entry(("vgg16: 3 to 64, forward, TF32", layer)),
            "networks": entry(
                network("crepe full", "inference", "float32", 2.5),
                network("vgg16", "inference", "float32", 0.97),
                network("crepe full", "inference", "TF32", 2.1),
                network("vgg16", "inference", "TF32", 0.81),
                more=["vgg16, inference, bfloat16"],
            ),
        },
    }
    return json.loads(json.dumps(found))


def test_the_table_says_of_every_target_whether_it_is_met(recorded):
    lines = report.markdown(recorded).splitlines()
    start, worst = lines.index("## Targets"), "vgg16, inference"
    assert [line.strip("| ").split(" | ") for line in lines[start + 4 : start + 9]] == [
        ["every network, float32: 1.0 x PyTorch", "no", f"0.970 ({worst}, float32)", "2 of 2"],
        ["every network, TF32: 0.8 x PyTorch", "yes", f"0.810 ({worst}, TF32)", "2 of 2"],
        ["CREPE, float32: 2 x PyTorch", "yes", "2.50 (crepe full, inference, float32)", "1 of 1"],
        ["CREPE, TF32: 2 x PyTorch", "yes", "2.10 (crepe full, inference, TF32)", "1 of 1"],
        ["memory-bound kernels: 85 % of a copy's bandwidth", "yes", "0.900 (ReLU)", "1 of 1"],
    ]


def test_a_target_is_open_while_something_is_not_measured_and_nothing_misses_it(recorded):
    (target,) = (t for t in targets.TARGETS if t.text.startswith("every network, TF32"))
    recorded["sections"]["networks"]["items"].append("fcn4, inference, TF32")
    found = targets.verdict(target, recorded)
    assert (found.met, found.measured, found.items) == (None, 2, 3)
    recorded["sections"]["networks"]["records"]["vgg16, inference, TF32"]["ratio"] = 0.79
    assert targets.verdict(target, recorded).met is False


def test_nothing_is_met_by_what_has_not_begun_or_has_no_rival(recorded):
    for target in targets.TARGETS:
        assert targets.verdict(target, {"sections": {}}).met is None
    for record in recorded["sections"]["networks"]["records"].values():
        record["ratio"] = None
    found = targets.verdict(targets.TARGETS[0], recorded)
    assert (found.met, found.worst, found.measured, found.items) == (None, None, 0, 2)


def test_every_figure_stands_in_its_table(recorded):
    text = report.markdown(recorded)
    assert "a GPU, driver for CUDA 13.0, CUDA 13.0, a CPU, 16 cores, numpy 2.4, cuDNN 91000" in text
    assert "- power.limit: 700 W" in text
    assert "- PyTorch's default: cudnn.allow_tf32 True" in text
    assert "- pytest -m gpu: 90 passed, 1 failed; 1 failed, 0 errors, status 1" in text
    assert "  - `FAILED tests/kernels/test_cases.py::test_x - AssertionError`" in text
    assert "- memcheck: 0 found, 26 passed; stopped, the time was up" in text
    assert "- racecheck: not available: x" in text
    assert "| copy | 4000 GB/s | 1.00 (0.900 - 1.10) |" in text
    assert "| TF32 | 400 TFLOP/s |" in text
    assert "| ReLU | 100 (90.0 - 110) | 3600 | 4000 | 90% | yes (0.900 of 0.85) |" in text
    assert (
        "| vgg16 | inference | 32x3x224x224 | 2.00 (1.80 - 2.20) | - | 4.00 (3.60 - 4.40) | - | - "
        "| 1.94 (1.75 - 2.13) | 0.970 (0.970 - 0.970) | 2.00 | - | no (0.970 of 1.0) |" in text
    )
    assert "\n- inference, graph: not available: minicnn captures no step as a CUDA graph\n" in text
    assert "| vgg16: 3 to 64 | forward | 2000 (1800 - 2200) |" in text
    assert "| networks | 4 of 5 | 0 | 12 | complete |" in text


def test_without_pytorch_there_are_our_figures_alone(recorded):
    recorded["pytorch"] = False
    for name in ("networks", "layers"):
        for record in recorded["sections"][name]["records"].values():
            alone = dict(pytorch={}, fastest=None, ratio=None, paired=None)
            record |= alone | {"alike": {"eager": None, "graph": None}}
    text = report.markdown(recorded)
    assert "| vgg16 | inference | 32x3x224x224 | 2.00 (1.80 - 2.20) | - | - | - | - | - |" in text
    assert "| every network, float32: 1.0 x PyTorch | open | - | 0 of 2 |" in text


def test_a_report_that_has_only_begun_is_shown_too():
    begun = {"date": "now", "commit": None, "gpu": HERE, "pytorch": True, "sections": {}}
    text = report.markdown(begun)
    assert "| every network, float32: 1.0 x PyTorch | open | - | none |" in text
