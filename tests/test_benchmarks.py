"""Benchmarks verify before they time, take turns, and report what they measured."""

import dataclasses
import itertools
import json
import math
import os
import re
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("threadpoolctl")

import minicnn  # noqa: E402
from benchmarks import __main__ as command_line  # noqa: E402
from benchmarks import (  # noqa: E402
    conv,
    dropout,
    harness,
    layers,
    machine,
    models,
    networks,
    onnx_runtime,
    optim,
    pytorch,
    tuned,
)
from benchmarks import report as reports  # noqa: E402
from benchmarks.harness import Case, Problem, WrongResult  # noqa: E402
from benchmarks.layer import Layer  # noqa: E402
from benchmarks.machine import Limits  # noqa: E402
from minicnn import ops  # noqa: E402

TOY = ("--size", "toy", "--threads", "1", "--repeats", "3", "--seconds", "0.1")
LIMITS = Limits(flops=100.0, bandwidth=10.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return where one run of all benchmarks left its files."""
    output = tmp_path_factory.mktemp("results")
    command_line.main([*TOY, "--output", str(output)])
    return output


@pytest.fixture(scope="module")
def report(folder):
    (path,) = folder.glob("*.json")
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def records(report):
    return report["runs"][0]["cases"]


class Clock:
    """A clock that stands still, except for what `advance` adds."""

    def __init__(self):
        self.now, self.readings = 0.0, 0

    def __call__(self):
        self.readings += 1
        return self.now

    def advance(self, seconds):
        self.now += seconds


def problem(ours, theirs, **options):
    """Return the problem whose two sides return these arrays."""
    return Problem(
        ours=lambda: lambda: [np.asarray(ours, np.float32)],
        theirs={"default": lambda: lambda: [torch.tensor(theirs)]},
        **{"terms": {"y": 1}, "flop": 50.0, "traffic": 20.0, "shapes": {"x": (2, 3)}, **options},
    )


def case(built):
    return Case("conv", "a layer", "forward", lambda: built)


def test_every_case_of_every_topic_is_in_the_report_and_in_the_table(folder, records):
    cases = [
        (topic, each.name, each.work)
        for topic in command_line.TOPICS
        for each in sys.modules[f"benchmarks.{topic}"].cases("toy")
    ]
    assert [(r["topic"], r["case"], r["work"]) for r in records] == cases
    (path,) = folder.glob("*.md")
    rows = [line.split(" | ")[:2] for line in path.read_text().splitlines() if line[:2] == "| "]
    shown = [(name.strip("| ").removesuffix(" BUSY"), work) for name, work in rows]
    shown = [row for row in shown if row != ("case", "work")]
    assert shown == [(name, work) for _, name, work in cases]


def test_every_file_with_cases_is_a_topic():
    files = Path(command_line.__file__).parent.glob("*.py")
    assert {f.stem for f in files if "\ndef cases(" in f.read_text()} == set(command_line.TOPICS)


def test_full_size_has_the_same_cases_as_toy_size_but_for_heavy_networks():
    heavy = {network.name for network in networks.NETWORKS if not network.light}
    for topic in command_line.TOPICS:
        module = sys.modules[f"benchmarks.{topic}"]
        full, toy = ([(c.name, c.work) for c in module.cases(size)] for size in ("full", "toy"))
        assert [case for case in full if topic != "models" or case[0] not in heavy] == toy


def test_a_report_says_what_was_measured_on(report):
    assert report["size"] == "toy"
    assert report["machine"]["cpu"]
    assert report["machine"]["cores"] >= 1
    assert report["versions"]["torch"] == torch.__version__
    assert report["versions"].keys() >= {"python", "minicnn", "numpy", "torch"}
    (run,) = report["runs"]
    assert run["threads"] == 1
    assert min(run["limits"]["gflops"], run["limits"]["gbytes"]) > 0


def test_all_figures_are_finite_and_positive(records):
    for record in records:
        assert 0 <= record["tolerance_used"] <= 1
        sides = [record["ours"], *record["pytorch"].values()]
        figures = [v for side in sides for k, v in side.items() if k != "seconds"]
        figures += [second for side in sides for second in side["seconds"]]
        figures += [record["ratio"], *record["paired"].values(), record["flop"], record["bytes"]]
        assert all(math.isfinite(figure) and figure > 0 for figure in figures), record


def test_the_ratio_is_the_quotient_of_the_medians_against_the_fastest_layout(records):
    for record in records:
        fastest = min(side["median"] for side in record["pytorch"].values())
        assert record["pytorch"][record["fastest"]]["median"] == fastest
        assert record["ratio"] == pytest.approx(fastest / record["ours"]["median"])


def test_medians_and_rates_follow_from_the_raw_seconds(records):
    for record in records:
        for side in (record["ours"], *record["pytorch"].values()):
            assert side["median"] == pytest.approx(statistics.median(side["seconds"]))
            assert side["gflops"] * side["median"] * 1e9 == pytest.approx(record["flop"])
            assert side["gbytes"] * side["median"] * 1e9 == pytest.approx(record["bytes"])


def test_images_are_compared_in_both_layouts_and_sequences_in_one(records):
    layouts = {r["case"]: set(r["pytorch"]) for r in records if r["topic"] == "conv"}
    assert layouts["ResNet stem"] == {"default", "channels_last"}
    assert layouts["CREPE second"] == {"default"}


def test_a_wrong_result_raises_before_the_clock_is_read():
    clock = Clock()
    wrong = case(problem([1.0, 2.1], [1.0, 2.0]))
    message = "conv, a layer, forward: default: y differs by 0.1 from .* whose largest value is 2"
    with pytest.raises(WrongResult, match=message):
        harness.benchmark(wrong, LIMITS, repeats=3, seconds=1, clock=clock)
    assert clock.readings == 0


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        ([1.0], r"y is float32 \(1,\), PyTorch's is float32 \(2,\)"),
        ([1.0, math.nan], "y differs by nan"),
        ([1.0, -2.0], "y differs by 4"),
    ],
)
def test_results_of_another_shape_or_value_are_wrong(ours, message):
    with pytest.raises(WrongResult, match=message):
        problem(ours, [1.0, 2.0]).verify()


def test_a_missing_result_is_wrong():
    with pytest.raises(WrongResult, match="1 results of minicnn and 1 of PyTorch for dx, dw"):
        problem([1.0], [1.0], terms={"dx": 1, "dw": 1}).verify()


def test_more_summed_terms_allow_more_rounding():
    ours, theirs = [1.0, 1.0 + 4e-6], [1.0, 1.0]
    with pytest.raises(WrongResult, match="1 summed terms allow 9.54e-07"):
        problem(ours, theirs).verify()
    assert 0.4 < problem(ours, theirs, terms={"y": 100}).verify() < 0.5


def test_a_wrong_gradient_of_a_layer_raises():
    right = {"x": harness.drawn(x=(3, 4))["x"]}
    layer = Layer(
        ours=lambda x: 2 * x,
        theirs=lambda x: x + x.detach(),  # the same value, half of the gradient
        inputs=right,
        terms={"y": 1, "dx": 1},
        flop=(1, 1),
    )
    assert layer.forward().verify() == 0
    with pytest.raises(WrongResult, match="dx differs by"):
        layer.gradients().verify()


def test_both_sides_of_a_convolution_return_all_three_gradients():
    gradients = next(case for case in conv.cases("toy") if case.work == "gradients").build()
    for side in (gradients.ours, *gradients.theirs.values()):
        assert [tuple(dx.shape) for dx in side()()] == list(gradients.shapes.values())


def test_a_layer_counts_two_operations_per_multiply_add_and_each_array_once():
    layer = conv.Convolution("tiny", ((2, 3, 5, 5), 4), ((2, 3, 5, 5), 4), (3, 3), 1, conv.NONE)
    built = conv.built(layer, "full")
    forward, gradients = built.forward(), built.gradients()
    x, w, b, y = 2 * 3 * 5 * 5, 4 * 3 * 3 * 3, 4, 2 * 4 * 3 * 3
    assert forward.flop == 2 * y * 3 * 3 * 3
    assert gradients.flop == 2 * forward.flop
    assert forward.traffic == 4 * (x + w + b + y)
    assert gradients.traffic == 4 * (2 * (x + w + b) + y)


def test_every_convolution_of_the_networks_has_its_cases_once():
    names = [layer.name for layer in layers.convolutions()]
    assert len(names) == len(set(names)) == len(set(map(layers._shape, layers.convolutions())))
    assert "vgg16: 3 to 64, 3x3 on 2x224x224" in names
    assert "alexnet paper: 96 to 256, 5x5, 2 groups on 8x27x27" in names
    assert "sample_cnn: 1 to 128, 3, stride 3 on 8x59049" in names
    works = {}
    for each in layers.cases("full"):
        works.setdefault(each.name, []).append(each.work)
    assert list(works) == names
    assert works["vgg16: 3 to 64, 3x3 on 2x224x224"] == ["forward", "weight gradient"]
    inner = ["forward", "weight gradient", "input gradient"]
    assert works["vgg16: 64 to 64, 3x3 on 2x224x224"] == inner


def test_the_gradient_of_one_argument_is_that_argument_s_alone():
    layer = next(layer for layer in layers.convolutions() if layer.name.startswith("alexnet paper"))
    whole = conv.built(layer, "toy")
    everything = [tuple(dw.shape) for dw in whole.gradients().ours()()]
    for work, shapes in (("input gradient", everything[:1]), ("weight gradient", everything[1:])):
        alone = layers.problem(layer, "toy", work)
        for side in (alone.ours, *alone.theirs.values()):
            assert [tuple(dx.shape) for dx in side()()] == shapes
        assert alone.flop == whole.flop[0]
        assert alone.verify() < 1


def test_one_gradient_moves_what_it_reads_and_writes():
    layer = conv.Convolution("tiny", ((2, 3, 5, 5), 4), ((2, 3, 5, 5), 4), (3, 3), 1, conv.NONE)
    x, w, b, y = 2 * 3 * 5 * 5, 4 * 3 * 3 * 3, 4, 2 * 4 * 3 * 3
    assert layers.problem(layer, "toy", "input gradient").traffic == 4 * (x + w + b + y)
    assert layers.problem(layer, "toy", "weight gradient").traffic == 4 * (x + w + b + y)


def test_a_case_has_its_own_time_unless_the_command_line_gives_one(monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(layers, "cases", lambda size: [dataclasses.replace(right, seconds=0.5)])
    right = case(problem([1.0], [1.0]))
    benchmark = harness.benchmark

    def spy(case, limits, *, repeats, seconds):
        given.append(seconds)
        return benchmark(case, limits, repeats=repeats, seconds=seconds)

    monkeypatch.setattr(harness, "benchmark", spy)
    options = ["layers", "--size", "toy", "--repeats", "1", "--output", str(tmp_path)]
    command_line.main(options)
    command_line.main([*options, "--seconds", "0.1"])
    assert given == [0.5, 0.1]


def test_dropout_that_does_not_scale_is_wrong():
    with pytest.raises(WrongResult, match="not scaled"):
        dropout._check(lambda x, p, rng: ops.dropout(x, p, rng=rng) * 0.9, (50, 50))


def test_dropout_that_keeps_too_much_is_wrong():
    with pytest.raises(WrongResult, match=r"of 2500 are kept, not 0.5 \+- 0.05"):
        dropout._check(lambda x, p, rng: 2 * x, (50, 50))


def test_an_optimiser_that_takes_another_step_is_wrong():
    nesterov = dataclasses.replace(optim.STEPS[0], their_options={"nesterov": True})
    with pytest.raises(WrongResult, match=r"w\[0\] differs"):
        optim._build(nesterov, [(5, 4)]).verify()


def network(name):
    return next(network for network in networks.NETWORKS if network.name == name)


def test_a_model_that_computes_something_else_is_wrong(monkeypatch):
    class Other(torch.nn.Module):
        def __init__(self, twin):
            super().__init__()
            self.twin = twin

        def forward(self, x):
            return self.twin(x.abs())

    def build(network, state):
        other = Other(right(network, state))
        other.named_parameters = other.twin.named_parameters
        return other

    right = pytorch.build
    monkeypatch.setattr(pytorch, "build", build)
    with pytest.raises(WrongResult, match="float64: loss differs"):
        models.training(network("lenet5 modern"), "toy").verify()
    with pytest.raises(WrongResult, match="logits differs"):
        models.inference(network("lenet5 modern"), "toy").verify()


def test_a_mode_that_trains_another_loss_is_wrong(monkeypatch):
    def in_mode(twin, x, mode):
        return (lambda x: 1.01 * twin(x)) if mode == "channels_last" else twin, torch.from_numpy(x)

    monkeypatch.setattr(pytorch, "_in_mode", in_mode)
    with pytest.raises(WrongResult, match="channels_last: loss differs"):
        models.training(network("crepe tiny"), "toy").verify()


def test_a_gradient_of_nothing_but_rounding_is_held_against_the_others():
    ours, theirs = [np.array([1e-12])], [torch.tensor([2e-12], dtype=torch.float64)]
    with pytest.raises(WrongResult, match="db differs"):
        harness.agree("float64", ours, theirs, {"db": 1})
    assert harness.agree("float64", ours, theirs, {"db": 1}, least=1e3) < 1


def test_dropout_is_off_for_the_comparison_alone():
    model = network("crepe tiny").build()
    with networks.without_dropout(model):
        assert model.dropout.p == 0
    assert model.dropout.p == 0.25
    x = torch.ones(100)
    with pytorch.WithoutDropout():
        assert (torch.nn.functional.dropout(x, 0.9, training=True) == x).all()
    assert (torch.nn.functional.dropout(x, 0.9, training=True) != x).any()


def test_networks_with_images_inside_run_in_both_layouts(records):
    modes = {r["case"]: list(r["pytorch"]) for r in records if r["topic"] == "models"}
    assert modes["onset_cnn"] == ["default", "channels_last"]
    assert pytorch.modes(torch.nn.Linear(2, 3), compiled=True) == ["default", "compiled"]


@pytest.mark.slow
@pytest.mark.parametrize("network", [n for n in networks.NETWORKS if not n.light], ids=str)
def test_heavy_networks_agree_too(network):
    assert models.training(network, "toy").verify() < 1
    assert models.inference(network, "toy").verify() < 1


def test_every_network_of_the_lecture_takes_part():
    families = {model.rstrip("0123456789") for model in minicnn.models.available()}
    assert {n.model.rstrip("0123456789") for n in networks.NETWORKS} == families
    assert {n.task for n in networks.NETWORKS} <= networks.LOSSES.keys() == pytorch.LOSSES.keys()


def test_adam_is_fused_in_the_tuned_process_only(monkeypatch):
    fused = []

    class Adam(torch.optim.Adam):
        def __init__(self, *arguments, **options):
            fused.append(options["fused"])
            super().__init__(*arguments, **options)

    monkeypatch.setattr(torch.optim, "Adam", Adam)
    for case in models.cases("toy", tuned=False), models.cases("toy", tuned=True):
        next(case).build()
    assert set(fused[: len(fused) // 2]) == {None}
    assert set(fused[len(fused) // 2 :]) == {True}


@pytest.mark.skipif(not tuned.available(), reason="needs glibc")
def test_tuned_pytorch_has_a_column_of_its_own(tmp_path, capfd):
    options = ["models", "loss", *TOY, "--tuned", "--only", "lenet"]
    report = command_line.main([*options, "--output", str(tmp_path)])
    cases = report["runs"][0]["cases"]
    assert [case.get("tuned", {}).keys() >= {"ours", "ratio"} for case in cases] == [
        case["topic"] == "models" for case in cases
    ]
    training, inference = (case["tuned"]["ratio"] for case in cases if "tuned" in case)
    printed = capfd.readouterr().out
    assert f"tuned PyTorch {training:#.2f} (worst" in printed
    assert f"| {reports.figure(inference)} (" in printed
    assert "minicnn was measured again beside it, under the same setting" in printed


@pytest.mark.skipif(not tuned.available(), reason="needs glibc")
def test_the_tuned_process_keeps_its_memory():
    script = """
import numpy as np
def faults():
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(10**7)
before = faults()
for _ in range(5): np.ones(10**7)
print(faults() - before)
"""
    counts = [
        int(subprocess.run([sys.executable, "-c", script], env=env, capture_output=True).stdout)
        for env in (dict(os.environ), tuned.environment())
    ]
    assert counts[1] < counts[0] / 10 or counts[1] < 100


def test_tuned_settings_are_added_to_those_of_the_user(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")
    value = tuned.environment()["GLIBC_TUNABLES"]
    assert value == f"glibc.malloc.tcache_count=0:{tuned.TUNABLES}"


def test_onnx_runtime_is_compared_with_where_it_is_installed(records):
    inference = [r for r in records if r["work"] == "inference"]
    for record in inference:
        rival = record["rivals"][onnx_runtime.NAME]
        if onnx_runtime.installed():
            assert rival["ratio"] == pytest.approx(rival["median"] / record["ours"]["median"])
        else:
            assert rival is None


def test_a_rival_that_is_missing_or_does_other_work_is_told_from_one_that_ran(records):
    inference = next(r for r in records if r["work"] == "inference")
    rival = dict(inference["ours"], ratio=1.0, paired=inference["paired"])
    ran, missing, other = {"X": rival}, {"X": None}, {}
    cells = [
        reports._row({**inference, "rivals": rivals}, rivals=["X"])[6:8]
        for rivals in (ran, missing, other)
    ]
    assert cells[0][1].startswith("1.00 (")
    assert cells[1:] == [["not installed", "-"], ["-", "-"]]


def test_a_rival_that_computes_something_else_is_wrong():
    wrong = {"X": lambda: lambda: [torch.tensor([3.0])], "Y": None}
    with pytest.raises(WrongResult, match="X: y differs by 1"):
        problem([2.0], [2.0], rivals=wrong).verify()


def test_sides_take_turns_after_one_call_of_each():
    clock, calls = Clock(), []

    def side(name):
        def call():
            calls.append(name)
            clock.advance(1)

        return lambda: call

    harness.alternate([side("a"), side("b")], 3, 100, clock=clock)
    assert "".join(calls) == "ab" + "ab" * 3


def test_preparation_is_off_the_clock():
    clock = Clock()

    def side():
        clock.advance(100)
        return lambda: clock.advance(2)

    assert harness.alternate([side], 3, math.inf, clock=clock) == [[2, 2, 2]]


def test_a_fast_call_is_repeated_within_one_reading():
    clock, calls = Clock(), itertools.count()

    def call():
        next(calls)
        clock.advance(1e-4)

    (readings,) = harness.alternate([lambda: call], 4, 1, clock=clock)
    assert readings == pytest.approx([1e-4] * 4)
    assert next(calls) == 1 + 4 * (10 + 10)  # as many again in each turn, to warm up


def test_the_time_of_a_case_ends_it_but_not_before_the_third_turn():
    clock = Clock()
    side = lambda: lambda: clock.advance(2)  # noqa: E731
    assert len(harness.alternate([side], 20, 11, clock=clock)[0]) == 6
    assert len(harness.alternate([side], 20, 1, clock=clock)[0]) == 3


def test_quartiles_are_those_of_the_sorted_values():
    assert harness.quartiles([5, 1, 4, 2, 3]) == {"lower": 2, "median": 3, "upper": 4}


def test_figures_come_from_the_seconds_of_each_turn():
    clock, durations = Clock(), {"ours": iter([9, 1, 2, 4]), "theirs": iter([9, 3, 4, 4])}

    def side(name, result):
        def call():
            clock.advance(next(durations[name]) if clock.readings else 0)
            return result

        return lambda: call

    both = problem([1.0], [1.0])
    both = dataclasses.replace(
        both,
        ours=side("ours", both.ours()()),
        theirs={"default": side("theirs", both.theirs["default"]()())},
    )
    record = harness.benchmark(case(both), LIMITS, repeats=3, seconds=math.inf, clock=clock)
    assert record["ours"]["seconds"] == [1, 2, 4]
    assert record["pytorch"]["default"]["seconds"] == [3, 4, 4]
    assert record["ratio"] == 4 / 2
    assert record["paired"] == {"lower": 1.5, "median": 2, "upper": 2.5}
    assert record["bound"] == "memory"  # 20 bytes take 2 s, 50 operations half a second
    assert record["ours"]["fraction"] == 2 / 2
    assert record["pytorch"]["default"]["fraction"] == 2 / 4


def test_the_nearer_limit_under_the_roofline_decides():
    assert LIMITS.bound(flop=50, traffic=20) == ("memory", 2.0)
    assert LIMITS.bound(flop=500, traffic=20) == ("compute", 5.0)


def test_threads_hold_inside_the_block_only():
    before = torch.get_num_threads(), minicnn.get_num_threads()
    with machine.threads(1):
        assert (torch.get_num_threads(), minicnn.get_num_threads()) == (1, 1)
    assert (torch.get_num_threads(), minicnn.get_num_threads()) == before


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="only Linux tells what others do")
def test_another_busy_program_is_noticed():
    watch = machine.Watch()
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert watch.cores() > 0.2


def test_the_time_of_others_is_all_but_waiting_and_our_own(monkeypatch):
    tick = os.sysconf("SC_CLK_TCK")
    fields = [seconds * tick for seconds in (30, 1, 10, 500, 50, 2, 3, 4, 0, 0)]
    stat = SimpleNamespace(
        exists=lambda: True, read_text=lambda: f"cpu {' '.join(map(str, fields))}"
    )
    monkeypatch.setattr(machine, "Path", lambda name: stat)
    monkeypatch.setattr(os, "times", lambda: SimpleNamespace(user=5, system=2))
    assert machine._seconds_of_others() == 30 + 1 + 10 + 2 + 3 + 4 - 5 - 2
    stat.exists = lambda: False
    assert machine.Watch().cores() is None


@pytest.mark.parametrize(
    ("others", "busy"), [(0.1, False), (0.9, True), (1.1, True), (None, False)]
)
def test_busy_is_what_lacks_the_cores_that_others_use(monkeypatch, others, busy):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    watch = SimpleNamespace(cores=lambda: others)
    assert machine.company(watch, threads=4) == {"others": others, "busy": busy}
    assert not machine.company(watch, threads=2)["busy"]


def test_a_busy_case_is_marked(report):
    record = report["runs"][0]["cases"][0]
    assert reports._row({**record, "busy": True})[0].endswith(" BUSY")
    assert "BUSY" not in reports._row({**record, "busy": False})[0]


def test_a_folder_without_git_has_no_commit(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert machine.commit() is None


def test_a_missing_pytorch_is_explained(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(SystemExit) as stopped:
        command_line.main(["conv"])
    assert "torch not installed" in stopped.value.code
    assert "pip install -e '.[bench]'" in stopped.value.code
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convolution"], "no topic convolution; there are conv, pool"),
        (["conv", "--threads", "0"], "--threads and --repeats take whole numbers from 1"),
        (["conv", "--tuned"], "--tuned and --compile are about the topic models"),
        (["conv", "--repeats", "0"], "--threads and --repeats take whole numbers from 1"),
    ],
)
def test_a_wrong_argument_is_explained(arguments, message, capsys):
    with pytest.raises(SystemExit):
        command_line.main(arguments)
    assert message in capsys.readouterr().err


def test_only_the_cases_of_a_name_run_for_each_number_of_threads(tmp_path, capsys):
    options = ["conv", *TOY, "--threads", "1", "2", "--only", "crepe"]
    report = command_line.main([*options, "--output", str(tmp_path)])
    assert [run["threads"] for run in report["runs"]] == [1, 2]
    names = [[record["case"] for record in run["cases"]] for run in report["runs"]]
    assert names == [["CREPE first", "CREPE first", "CREPE second", "CREPE second"]] * 2
    printed = capsys.readouterr()
    assert len(re.findall(r"\| CREPE second( BUSY)? \| gradients \|", printed.out)) == 2
    assert "case/s" in printed.err  # the progress bar


def test_cases_can_be_left_out_by_name_and_work_and_the_table_says_so(tmp_path, capsys):
    options = ["conv", *TOY, "--only", "crepe", "--without", "second", "gradients"]
    report = command_line.main([*options, "--output", str(tmp_path)])
    cases = [(record["case"], record["work"]) for record in report["runs"][0]["cases"]]
    first = [("CREPE first", work) for work in ("forward", "gradients")]
    assert cases == [*first, ("CREPE second", "forward")]
    assert "without second, gradients\n" in capsys.readouterr().out


def test_a_name_that_no_case_has_is_explained(tmp_path):
    with pytest.raises(SystemExit, match="no case of conv is named 'transformer'"):
        command_line.main(["conv", "--only", "transformer", "--output", str(tmp_path)])


def test_nothing_is_written_when_a_result_is_wrong(tmp_path, monkeypatch):
    wrong = case(problem([1.0], [2.0]))
    monkeypatch.setattr(conv, "cases", lambda size: [wrong])
    with pytest.raises(WrongResult):
        command_line.main(["conv", *TOY, "--output", str(tmp_path)])
    assert not list(tmp_path.iterdir())
