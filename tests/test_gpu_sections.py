"""What the sections of `benchmarks/gpu.py` do, with the CPU in place of the GPU."""

import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import minicnn as mc  # noqa: E402
from benchmarks import layer as one_layer  # noqa: E402
from benchmarks import networks as steps  # noqa: E402
from benchmarks import pytorch  # noqa: E402
from benchmarks.device import (  # noqa: E402
    ceilings,
    facts,
    graphs,
    lanes,
    layers,
    memory,
    networks,
    programs,
    sanitizer,
    tests,
    turns,
)
from benchmarks.device import gpu as device  # noqa: E402
from benchmarks.device.items import NotAvailable  # noqa: E402
from benchmarks.harness import WrongResult  # noqa: E402
from minicnn import kernels  # noqa: E402
from tests.emulator.cublas import Cublas  # noqa: E402

ROOT = Path(__file__).parents[1]


class Cpu(device.Device):
    """What stands for the GPU, with a clock that every call moves by what it says it takes."""

    name = "cpu"

    def __init__(self):
        self.called = []

    def seconds(self, call, count=1, *, flushed=False):
        self.called.append((getattr(call, "label", None), count, flushed))
        for _ in range(count):
            call()
        return getattr(call, "takes", 1e-2)

    def synchronize(self):
        pass

    def release(self):
        pass


@pytest.fixture
def cpu():
    return Cpu()


def side(label, takes):
    def call():
        pass

    call.label, call.takes = label, takes
    return lambda: call


def item(section, cpu, key, size="toy"):
    (found,) = (each for each in section.items(cpu, size) if each.key == key)
    return found


def test_arrays_repeat_numbers_but_not_each_other(cpu):
    arrays = cpu.draw(x=(3, 500_000), w=(7,))
    assert [array.shape for array in arrays.values()] == [(3, 500_000), (7,)]
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float32)}
    flat = arrays["x"].ravel()
    assert (flat[: 1_500_000 - device.BLOCK] == flat[device.BLOCK :]).all()
    assert not (flat[:7] == arrays["w"]).any()
    assert not (cpu.draw(seed=1, dy=(7,))["dy"] == flat[:7]).any()
    assert abs(flat.mean()) < 0.01
    assert abs(flat.std() - 1) < 0.01


class Cupy:
    """As much of CuPy as the clock uses, with a note of what the stream is given."""

    def __init__(self):
        self.stream = []
        self.cuda = SimpleNamespace(
            Event=self.event,
            get_elapsed_time=lambda start, end: 1500.0,
            runtime=SimpleNamespace(
                getDevice=lambda: 0,
                getDeviceProperties=lambda device: {"l2CacheSize": 1 << 27},
                deviceSynchronize=lambda: self.stream.append("synchronize"),
            ),
        )

    def event(self):
        return SimpleNamespace(record=lambda: self.stream.append("event"), synchronize=lambda: None)

    def empty(self, size, dtype):
        fill = lambda value: self.stream.append(f"{size >> 20} MiB")  # noqa: E731
        return SimpleNamespace(fill=fill)


def test_between_two_events_stands_the_call_and_the_cache_is_flushed_before(monkeypatch):
    cupy = Cupy()
    monkeypatch.setattr(kernels.cuda.availability, "cupy", lambda: cupy)
    gpu = device.Gpu()
    assert gpu.seconds(lambda: cupy.stream.append("call"), 3) == 0.5
    assert cupy.stream == ["event", "call", "call", "call", "event"]
    cupy.stream.clear()
    assert gpu.seconds(lambda: cupy.stream.append("call"), flushed=True) == 1.5
    assert cupy.stream == ["2048 MiB", "event", "call", "event"]
    gpu.synchronize()
    assert cupy.stream[-1] == "synchronize"


def test_sides_take_turns_and_short_calls_follow_each_other(cpu):
    readings = turns.alternate(
        cpu, {"a": side("a", 1e-3), "b": side("b", 1.0)}, seconds=1e9, flushed=False
    )
    assert readings == {"a": [1e-3] * turns.TURNS, "b": [1.0] * turns.TURNS}
    warming = [("a", 1, False)] * turns.WARMING + [("b", 1, False)] * turns.WARMING
    assert cpu.called == warming + [("a", 5, False), ("b", 1, False)] * turns.TURNS


def test_from_an_empty_cache_every_call_is_timed_alone(cpu):
    turns.alternate(cpu, {"a": side("a", 1e-6)}, seconds=1e9, flushed=True)
    assert set(cpu.called) == {("a", 1, True)}


def test_the_time_of_an_item_ends_it_but_not_before_the_fifth_turn(cpu):
    clock = iter(range(100))
    readings = turns.alternate(
        cpu, {"a": side("a", 1.0)}, seconds=7, flushed=True, clock=lambda: next(clock)
    )
    assert len(readings["a"]) == turns.FEWEST + 6
    readings = turns.alternate(cpu, {"a": side("a", 1.0)}, seconds=0, flushed=True)
    assert len(readings["a"]) == turns.FEWEST


def test_the_fastest_ways_are_compared_and_likes_with_likes(cpu):
    ours = {"eager": side("", 2.0), "graph": "not available"}
    theirs = {
        "NCHW eager": side("", 6.0),
        "NHWC eager": side("", 4.0),
        "NHWC graph": side("", 1.0),
    }
    found = turns.compare(cpu, ours, theirs, seconds=0, flushed=True)
    assert found["fastest"] == {"ours": "eager", "pytorch": "NHWC graph"}
    assert found["ratio"] == 0.5
    assert found["paired"] == {"lower": 0.5, "median": 0.5, "upper": 0.5}
    assert found["alike"] == {"eager": 2.0, "graph": None}
    assert found["missing"] == {"graph": "not available"}
    assert found["pytorch"]["NCHW eager"]["median"] == 6.0


def test_without_a_rival_there_is_no_ratio(cpu):
    found = turns.compare(cpu, {"eager": side("", 2.0)}, {}, seconds=0, flushed=True)
    assert (found["ratio"], found["fastest"]) == (None, None)
    assert found["ours"]["eager"]["median"] == 2.0


def test_results_are_as_far_apart_as_the_norm_of_their_difference():
    ours = [np.array([3.0, 4.1], np.float32), np.float32([0.0])]
    theirs = [torch.tensor([3.0, 4.0]), torch.tensor([0.0])]
    assert turns.apart(ours, theirs) == pytest.approx(0.1 / 5, rel=1e-5)
    half = torch.tensor([3.0, 4.0], dtype=torch.bfloat16, requires_grad=True)
    assert turns.apart([np.float32([3, 4])], [half]) == 0
    assert turns.apart([np.array([1 + 1e-12])], [torch.ones(1, dtype=torch.float64)]) > 0


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        ([np.float32([1, 3])], r"here: the norm of the difference is 0.45 of the result's; 0.1"),
        ([np.float32([1, np.nan])], "is nan of"),
        ([np.float32([1])], r"shapes \[\(1,\)\], expected are \[\(2,\)\]"),
        ([], r"shapes \[\], expected are"),
    ],
)
def test_what_is_too_far_apart_is_wrong(ours, message):
    with pytest.raises(WrongResult, match=message):
        turns.verify("here", ours, [torch.tensor([1.0, 2.0])], 0.1)


def switches():
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    return mc.get_matmul_precision(), matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark


@pytest.mark.parametrize(
    ("lane", "held"),
    [
        (lanes.FLOAT32, ("float32", False, False, True)),
        (lanes.TF32, ("tf32", True, True, True)),
        (lanes.BFLOAT16, ("bfloat16", True, True, True)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_lane_sets_both_sides_inside_its_block_only(lane, held):
    before = switches()
    with lane.held():
        assert switches() == held
        assert torch.is_autocast_enabled("cpu") is False
        with lane.cast("cpu"):
            assert torch.is_autocast_enabled("cpu") is lane.autocast
    assert switches() == before


def test_the_default_lane_says_nothing_to_either_side():
    before = switches()
    with lanes.DEFAULT.held():
        assert switches() == before
    assert lanes.DEFAULT.is_default
    assert not any(lane.is_default for lane in lanes.LANES if lane is not lanes.DEFAULT)


def test_lanes_are_matched_by_name_and_allow_more_the_fewer_bits_they_have():
    assert [lane.name for lane in lanes.LANES] == ["float32", "default", "TF32", "bfloat16"]
    for figure in ("layer", "outputs", "gradients"):
        allowed = [getattr(lane, figure) for lane in lanes.LANES]
        assert allowed == sorted(allowed)


def test_every_network_has_a_batch_and_those_with_targets_come_first(cpu):
    keys = [each.key for each in networks.items(cpu)]
    assert len(keys) == len(set(keys)) == len(steps.NETWORKS) * 2 * len(lanes.LANES)
    assert {key.rsplit(", ")[-1] for key in keys[: len(keys) // 2]} == {"float32", "TF32"}
    assert keys[:2] == [
        "lenet5 modern, training step, float32",
        "lenet5 modern, inference, float32",
    ]


@pytest.mark.parametrize("lane", ["float32", "bfloat16"])
@pytest.mark.parametrize("work", ["training step", "inference"])
def test_a_network_is_verified_and_timed_in_every_way(cpu, work, lane):
    record = item(networks, cpu, f"lenet5 modern, {work}, {lane}").run(1.0)
    assert record["shape"] == [4, 1, 32, 32]
    assert list(record["ours"]) == ["eager"]
    assert list(record["pytorch"]) == ["NCHW eager", "NHWC eager"]
    assert list(record["missing"]) == ["graph", "NCHW graph", "NHWC graph"]
    compared = {"outputs"} if work == "inference" else {"loss", "gradients"}
    assert record["errors"]["NCHW"].keys() == record["errors"]["NHWC"].keys() == compared
    exact = work == "training step" and lane == "float32"
    assert ("float64" in record["errors"]) == exact
    assert record["ratio"] == 1


def test_a_network_that_computes_something_else_is_not_timed(cpu, monkeypatch):
    right = pytorch.build

    def build(network, state):
        twin = right(network, state)
        last = list(twin.parameters())[-1]
        last.data[0] += 1
        return twin

    monkeypatch.setattr(pytorch, "build", build)
    for work, what in (("training step", "loss"), ("inference", "outputs")):
        with pytest.raises(WrongResult, match=f"NCHW, {what}: the norm of the difference"):
            item(networks, cpu, f"lenet5 modern, {work}, float32").run(1.0)
    assert cpu.called == []


def test_gradients_are_compared_in_float64(cpu, monkeypatch):
    network = steps.NETWORKS[0]
    model, x, target = networks._start(network.name, 4, "toy")
    errors = networks.check_gradients(cpu, network, model, x, target)
    assert max(errors.values()) < 1e-12
    monkeypatch.setitem(
        pytorch.LOSSES, "classes", lambda y, t: torch.nn.functional.cross_entropy(1.0001 * y, t)
    )
    with pytest.raises(WrongResult, match="float64, loss"):
        networks.check_gradients(cpu, network, model, x, target)


@pytest.fixture(scope="module")
def convolutions():
    with pytest.MonkeyPatch.context() as patch:  # their shapes alone are asked for
        patch.setattr(mc.nn.init, "draw", lambda how, shape, *, rng=None: np.zeros(shape, "f4"))
        return layers.items(Cpu(), "toy")


def test_every_convolution_has_its_passes_in_every_lane(convolutions):
    keys = [each.key for each in convolutions]
    assert len(keys) == len(set(keys))
    layer = "vgg16: 64 to 64, 3x3 on 16x224x224"
    found = [key.removeprefix(f"{layer}, ") for key in keys if key.startswith(layer)]
    assert found == [f"{work}, {lane.name}" for lane in layers.LANES for work in layers.WORKS]


@pytest.mark.parametrize("work", layers.WORKS)
@pytest.mark.parametrize("lane", layers.LANES, ids=lambda lane: lane.name)
def test_a_layer_is_verified_and_timed_in_both_layouts(cpu, convolutions, work, lane):
    key = f"alexnet paper: 96 to 256, 5x5, 2 groups on 64x27x27, {work}, {lane.name}"
    (found,) = (each for each in convolutions if each.key == key)
    record = found.run(1.0)
    assert list(record["errors"]) == list(record["pytorch"]) == ["NCHW eager", "NHWC eager"]
    assert (max(record["errors"].values()) > 1e-4) == lane.autocast
    assert record["ratio"] == 1
    assert record["flop"] > 0


@pytest.fixture
def without_pytorch(monkeypatch):
    for module in (one_layer, device, lanes, layers, networks):
        monkeypatch.setattr(module, "torch", None)


def test_without_pytorch_our_side_is_verified_by_the_reference(cpu, convolutions, without_pytorch):
    works = [item(networks, cpu, f"lenet5 modern, {work}, TF32") for work in networks.WORKS]
    works += [each for each in convolutions if each.key.startswith("lenet5 modern: 1 to 6")][:2]
    for each in works:
        record = each.run(1.0)
        assert list(record["errors"]) == ["reference"]
        assert list(record["ours"]) == ["eager"]
        assert record["pytorch"] == {}
        assert record["ratio"] is None


def test_without_pytorch_everything_can_be_imported():
    script = (
        "import sys; sys.modules['torch'] = None; import benchmarks.gpu; "
        "from benchmarks.device import facts, layers, memory, networks, sanitizer, tests; "
        "assert facts.pytorch() == {'version': None}"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_script_itself_does_not_wait_for_pytorch():
    script = "import sys, benchmarks.gpu; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("each", memory.PASSES, ids=lambda each: each.name)
def test_a_kernel_that_waits_for_the_memory_is_verified_and_held_against_a_copy(cpu, each):
    record = item(memory, cpu, each.name).run(1.0)
    assert record["error"] < memory.ALLOWED
    assert record["bytes"] == each.moved * 4 * 2 * 4 * 14 * 14
    assert record["fraction"] == pytest.approx(each.moved / 2)  # this clock says the same of both


def test_a_wrong_kernel_is_not_timed(cpu):
    wrong = memory.Pass("ReLU", lambda k, a: k.relu(a["x"]) + (k is kernels.cpu), 2)
    with pytest.raises(WrongResult, match="ReLU: the norm"):
        memory.measure(cpu, wrong, memory.SHAPES["toy"], 1.0)
    assert cpu.called == []


def test_a_copy_counts_what_it_reads_and_writes(cpu):
    record = ceilings.copy(cpu, 1000)
    assert record["gbytes"] == pytest.approx(8000 / 1e-2 / 1e9)


@pytest.mark.parametrize("name", [name for name in ceilings.PRODUCTS if name != "bfloat16"])
def test_a_product_is_called_as_cublas_takes_it(cpu, name):
    library = Cublas()
    drawn = cpu.draw

    def draw(**shapes):
        arrays = drawn(**shapes)
        for array in arrays.values():
            library.address(array)
        return arrays

    cpu.draw = draw
    record = ceilings.product(cpu, library.library(), name, 16)
    assert record["tflops"] == pytest.approx(2 * 16**3 / 1e-2 / 1e12)
    assert record["error"] > 0
    assert (record["error"] < 1e-5) == (name == "float32")


def test_a_bfloat16_is_the_upper_half_of_a_float32(cpu):
    class Library(Cublas):
        def gemmEx(self, handle, *arguments):  # noqa: N802
            """Multiply as told, in NumPy."""
            kinds = arguments[7], arguments[10], arguments[14]
            assert kinds == (ceilings.BFLOAT16, ceilings.BFLOAT16, 0)
            b, a, c = (self.arrays[arguments[place]] for place in (6, 9, 13))
            wide = [(x.astype(np.uint32) << 16).view(np.float32) for x in (a, b)]
            c[:] = wide[0] @ wide[1]

    assert ceilings.product(cpu, Library().library(), "bfloat16", 16)["error"] < 1e-6


def test_a_missing_cublas_is_said(cpu, monkeypatch):
    monkeypatch.setattr(ceilings.cublas, "of_cupy", lambda: None)
    with pytest.raises(NotAvailable, match="cuBLAS"):
        ceilings.items(cpu)[1].run(1.0)


VERBOSE = """\
tests/kernels/test_cases.py::test_x[float32-a b] PASSED        [ 10%]
tests/kernels/test_cases.py::test_x[float64-conv2d] FAILED     [ 20%]
tests/test_summary.py::test_y SKIPPED (no GPU)                 [ 30%]
/x/tests/kernels/test_cases.py:190: AssertionError: 1 > 0
=========================== short test summary info ============================
FAILED tests/kernels/test_cases.py::test_x[float64-conv2d] - AssertionError: 1 > 0
ERROR tests/audio/test_sound.py - ModuleNotFoundError: No module named 'librosa'
"""


def test_what_pytest_says_is_counted_and_what_failed_is_named():
    record = tests.record(programs.Outcome(1, VERBOSE))
    assert record["counts"] == {"passed": 1, "failed": 1, "skipped": 1}
    assert [reason.split()[0] for reason in record["reasons"]] == ["FAILED", "ERROR"]
    assert record["wrong"] == "1 failed, 0 errors, status 1"
    assert not record["stopped"]


def test_tests_that_were_stopped_count_as_far_as_they_came():
    passing = VERBOSE.splitlines(keepends=True)[0]
    record = tests.record(programs.Outcome(None, passing))
    assert (record["counts"], record["wrong"], record["stopped"]) == ({"passed": 1}, "", True)
    assert tests.record(programs.Outcome(0, passing))["wrong"] == ""
    assert tests.record(programs.Outcome(5, ""))["wrong"] == "no test has passed"


def test_the_results_of_the_real_pytest_are_read(tmp_path):
    (tmp_path / "test_three.py").write_text(
        "import pytest\ndef test_good(): pass\ndef test_bad(): assert 0\n"
        "@pytest.mark.skip\ndef test_other(): pass\n"
    )
    command = [*tests.PYTEST[:3], *tests.PYTEST[5:], str(tmp_path), "-c", "/dev/null"]
    record = tests.record(programs.run(command, 60))
    assert record["counts"] == {"passed": 1, "failed": 1, "skipped": 1}
    assert "test_bad" in record["reasons"][0]


def test_a_program_beyond_its_time_is_stopped():
    started = time.monotonic()
    outcome = programs.run([sys.executable, "-c", "import time; time.sleep(100)"], 1)
    assert outcome == programs.Outcome(None, "")
    assert time.monotonic() - started < 50


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells so")
def test_with_a_program_all_that_it_started_is_stopped():
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(100)"
    script = (
        f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {child!r}]); "
        "print(p.pid, flush=True); p.wait()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        stat = Path(f"/proc/{int(process.stdout.readline())}/stat")
        assert stat.exists()
        programs.stop(process)
    started = time.monotonic()
    while stat.exists() and ") Z" not in stat.read_text():  # a kill takes effect a moment later
        assert time.monotonic() - started < 50
        time.sleep(0.01)


def test_the_sanitizer_watches_tests_that_exist():
    command = [*tests.PYTEST, "--collect-only", "-q", "-q", *sanitizer.TESTS]
    found = programs.run(command, 120).printed
    (cases,) = re.findall(r"test_cases\.py: (\d+)", found) or re.findall(r"(\d+)/\d+ tests", found)
    assert int(cases) >= 15


@pytest.mark.parametrize(
    ("tool", "status", "printed", "found", "wrong"),
    [
        ("memcheck", 0, "ERROR SUMMARY: 0 errors", 0, ""),
        ("memcheck", 99, "ERROR SUMMARY: 3 errors", 3, "3 found"),
        ("racecheck", 0, "RACECHECK SUMMARY: 0 hazards displayed (0 errors)", 0, ""),
        ("racecheck", 99, "RACECHECK SUMMARY: 1 hazard displayed (1 error)", 1, "1 found"),
        ("memcheck", 1, "it does not start", None, "status 1, 1 tests passed"),
        ("memcheck", None, "", None, ""),
    ],
)
def test_what_the_sanitizer_finds_is_wrong(tool, status, printed, found, wrong):
    passing = VERBOSE.splitlines(keepends=True)[0]
    record = sanitizer.record(tool, programs.Outcome(status, passing + "===== " + printed))
    assert (record["found"], record["wrong"]) == (found, wrong)
    assert record["stopped"] == (status is None)


def test_a_sanitizer_that_is_not_there_is_said_with_where_it_was_looked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    monkeypatch.delenv("CUDA_PATH", raising=False)
    with pytest.raises(NotAvailable, match=r"looked for in PATH, .*cuda/bin, /usr/local/cuda/bin"):
        sanitizer.command("memcheck")
    program = tmp_path / "cuda" / "bin" / "compute-sanitizer"
    program.parent.mkdir(parents=True)
    program.write_text("")
    program.chmod(0o755)
    assert sanitizer.command("memcheck")[:3] == [str(program), "--tool", "memcheck"]


def test_pytorch_s_defaults_are_among_the_facts():
    found = facts.pytorch()
    assert found["version"] == torch.__version__
    assert found["defaults"].keys() >= {"cuda.matmul.allow_tf32", "cudnn.allow_tf32"}


def test_nvidia_smi_answers_what_it_can(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\ncase "$1" in *=name) echo "a GPU";; *) echo no; exit 2;; esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert facts.nvidia_smi() == {"answers": {"name": "a GPU"}}
    monkeypatch.setenv("PATH", "")
    assert facts.nvidia_smi() == {"answers": None}


def test_graphs_are_captured_on_a_gpu_only():
    assert graphs.ours(lambda x: x, [np.ones(2)], "cpu") == "not available: graphs are CUDA's"
    assert graphs.theirs(lambda: None, "cpu") == "not available: graphs are CUDA's"


def test_a_step_that_cannot_be_captured_is_said(monkeypatch):
    class Refuses:
        def __init__(self, step):
            self.calls = 0

        def __call__(self, x):
            self.calls += 1
            if self.calls == 2:
                raise RuntimeError("it looks\nat numbers")

    monkeypatch.setattr(kernels.cuda.graph, "ByShape", Refuses)
    found = graphs.ours(lambda x: x, [np.ones(2)], "cuda")
    assert found == "not captured: it looks at numbers"


def test_a_graph_of_ours_is_held_against_the_step_before_it_is_timed(cpu, monkeypatch):
    network = steps.NETWORKS[0]
    (found,) = (
        each
        for each in networks.items(cpu, "toy")
        if each.key.startswith(f"{network.name}, training step, float32")
    )
    graph = lambda step, arrays, device: lambda: (step(*arrays),)  # noqa: E731
    monkeypatch.setattr(graphs, "ours", graph)
    record = found.run(1.0)
    assert list(record["ours"]) == ["eager", "graph"]
    assert record["errors"]["graph"]["loss"] < 1e-6
    wrong = lambda step, arrays, device: lambda: (2 * step(*arrays),)  # noqa: E731
    monkeypatch.setattr(graphs, "ours", wrong)
    with pytest.raises(WrongResult, match="graph, loss"):
        found.run(1.0)


@pytest.mark.parametrize("work", ["training step", "inference"])
def test_a_graph_of_pytorch_is_held_against_ours_before_it_is_timed(cpu, monkeypatch, work):
    found = item(networks, cpu, f"{steps.NETWORKS[0].name}, {work}, float32")
    monkeypatch.setattr(graphs, "theirs", lambda step, device: step)
    errors = found.run(1.0)["errors"]
    assert errors["NCHW graph"].keys() == {"loss" if work == "training step" else "outputs"}
    monkeypatch.setattr(graphs, "theirs", lambda step, device: lambda: (2 * step()[0],))
    with pytest.raises(WrongResult, match="NCHW graph"):
        found.run(1.0)


@pytest.mark.parametrize("network", steps.NETWORKS, ids=lambda network: network.name)
def test_a_twin_has_all_its_numbers_from_our_model(network):
    twin = pytorch.build(network, network.build().state_dict())
    assert not any(tensor.is_meta for tensor in (*twin.parameters(), *twin.buffers()))
