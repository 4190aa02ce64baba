"""Steps captured as CUDA graphs have the same bits, though Python stands still in between."""

import sys
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from minicnn.kernels.cuda import launch, module
from minicnn.kernels.cuda.graph import ByShape

import minicnn as mc
from benchmarks import networks
from benchmarks.device import graphs
from minicnn import kernels, nn, ops, optim
from minicnn.data import ArrayDataset, DataLoader
from minicnn.models.lenet5 import map_loss
from tests.emulator import tapes
from tests.emulator.cublas import Cublas
from tests.emulator.emulator import Emulator
from tests.emulator.tapes import Taped
from tests.models.entries import every_entry


class Small(nn.Network):
    """Convolutions, batch norm, dropout of elements and channels, noise, and dense layers."""

    input_shape = (2, 8, 8)
    chance = 0.4

    def __init__(self):
        self.conv = nn.Conv2d(2, 4, 3, padding=1, rng=0)
        self.pointwise = nn.Conv2d(4, 4, 1, rng=3)
        self.norm = nn.BatchNorm2d(4)
        self.drop, self.spatial = nn.Dropout(self.chance, rng=1), nn.Dropout2d(self.chance)
        self.noise = nn.GaussianNoise(self.chance)
        self.dense, self.last = nn.Linear(64, 5, rng=2), nn.Linear(5, 3, rng=4)

    def forward(self, x):
        x = self.norm(self.pointwise(self.conv(self.noise(x))))
        x = self.drop(self.spatial(ops.max_pool2d(ops.relu(x), 2)))
        return self.last(self.dense(x.reshape(len(x), -1)))


def on_the_device(model):
    """Make the arrays of a model those of the emulated device."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.view(Taped)
    return model


def train(
    optimizer=None,
    *,
    cuda_graph,
    place=on_the_device,
    loss=ops.cross_entropy,
    samples=22,
    **options,
):
    """Train for three epochs, of two whole batches and a smaller one; return what came out."""
    mc.manual_seed(3)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, 2, 8, 8)).astype(np.float32)
    data = DataLoader(ArrayDataset(x, rng.integers(0, 3, samples)), 8, shuffle=True, rng=0)
    model = place(Small())
    optimizer = (optimizer or (lambda p: optim.Adam(p, lr=1e-2)))(model.parameters())
    options = dict(epochs=3, schedule=optim.cosine_decay(3)) | options
    history = mc.fit(model, data, loss, optimizer, progress=False, cuda_graph=cuda_graph, **options)
    losses = [record["train_loss"] for record in history]
    arrays = {name: np.array(kernels.to(x, "cpu")) for name, x in model.state_dict().items()}
    return losses, arrays, optimizer.state_dict()


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.05),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.1, weight_decay=1e-3),
    "adam": lambda p: optim.Adam(p, lr=1e-2),
    "adamw": lambda p: optim.AdamW(p, lr=1e-2, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_captured_training_has_the_same_bits(emulate, name):
    emulate()
    plain = train(OPTIMIZERS[name], cuda_graph=False)
    captured = train(OPTIMIZERS[name], cuda_graph=True)
    assert captured[0] == plain[0]
    for one, other in zip(captured[1:], plain[1:], strict=True):
        assert one.keys() == other.keys()
        for key, value in other.items():
            assert np.array_equal(one[key], value), key


def test_gradients_are_clipped_in_a_capture(emulate):
    emulate()
    assert len(list(Small().parameters())) > tapes.MOST_JOINED
    plain, captured, free = (
        train(cuda_graph=graph, max_grad_norm=norm, optimizer=OPTIMIZERS["sgd"])[1]
        for graph, norm in ((False, 0.05), (True, 0.05), (True, None))
    )
    assert all(np.array_equal(captured[key], plain[key]) for key in plain)
    assert not np.array_equal(captured["conv.weight"], free["conv.weight"])


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_cublas_multiplies_in_a_capture_as_it_does_outside(emulate, set_precision, precision):
    set_precision(precision)
    calls = []
    for graph in (False, True):
        cublas = Cublas()
        emulator = emulate(cublas=cublas)
        losses, arrays, _ = train(OPTIMIZERS["sgd"], cuda_graph=graph)
        assert "multiply" not in emulator.launched
        calls.append((losses, arrays["dense.weight"].tolist(), set(cublas.calls)))
    assert calls[0] == calls[1]


def test_the_fourier_transform_convolves_in_a_capture(emulate, everything_by_fourier):
    rng = np.random.default_rng(0)
    batch = [rng.standard_normal((2, 3, 40)).astype(np.float32), rng.standard_normal((2, 4, 33))]
    batch[1] = batch[1].astype(np.float32)
    weights = []
    for graph in (False, True):
        emulator = emulate(**everything_by_fourier)
        model = on_the_device(nn.Sequential(nn.Conv1d(3, 4, 8, rng=0)))
        sgd = optim.SGD(model.parameters(), lr=0.1)
        mc.fit(model, [batch], ops.mse_loss, sgd, epochs=4, progress=False, cuda_graph=graph)
        weights.append(np.array(model.state_dict()["0.weight"]))
        assert {"cut_signals", "join_signals"} <= emulator.launched
    assert np.array_equal(*weights)
    assert not np.array_equal(weights[0], nn.Conv1d(3, 4, 8, rng=0).weight.data)


def test_python_runs_twice_for_each_shape(emulate):
    emulate()
    shapes = []

    def loss(logits, target):
        shapes.append(len(logits))
        return ops.cross_entropy(logits, target)

    train(cuda_graph=True, loss=loss)
    assert sorted(shapes) == [6, 6, 8, 8]


@pytest.mark.parametrize("changes", ["seeds", "learning rate"])
def test_a_number_that_stands_still_makes_a_difference(changes, emulate, monkeypatch):
    emulate()
    if changes == "seeds":
        options = dict(optimizer=OPTIMIZERS["sgd"], schedule=None)
    else:
        monkeypatch.setattr(Small, "chance", 0)
        options = dict(optimizer=OPTIMIZERS["adam"])
    plain = train(cuda_graph=False, **options)[1]
    monkeypatch.setattr(kernels, "changing", lambda compute: compute())
    frozen = train(cuda_graph=True, **options)[1]
    assert not np.array_equal(frozen["conv.weight"], plain["conv.weight"])


def test_the_step_that_is_timed_on_a_gpu_is_captured_with_the_same_bits(emulate):
    (network,) = (each for each in networks.NETWORKS if each.name == "lenet5 modern")
    emulate()

    def third_loss(made):
        model = network.build()
        arrays = [array.view(Taped) for array in networks.drawn(network, model, "toy")]
        call = made(networks.step(network, on_the_device(model)), arrays)
        return np.array(call()[0])

    def plain(step, arrays):
        for _ in range(2):
            step(*arrays)
        return lambda: (step(*arrays),)

    assert third_loss(lambda step, arrays: graphs.ours(step, arrays, "cuda")) == third_loss(plain)


def test_the_inference_that_is_timed_on_a_gpu_is_captured_with_the_same_bits(emulate):
    (network,) = (each for each in networks.NETWORKS if each.name == "lenet5 modern")
    emulate()
    model = network.build()
    x = networks.drawn(network, model, "toy")[0].view(Taped)
    infer = networks.inferred(on_the_device(model))
    expected = np.array(infer(x))
    assert np.array_equal(graphs.ours(infer, [x], "cuda")()[0], expected)


class Idle(Emulator):
    """Runs nothing: what is computed has any content."""

    def run(self, *call):
        pass


@every_entry
def test_no_network_looks_at_a_number_in_its_step(entry, undrawn):
    model = on_the_device(entry.build())
    optimizer = optim.AdamW(model.parameters())

    def step(x, target):
        value = entry.loss(model(mc.Tensor(x)), target)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.data

    x = entry.x(model)
    output = model.eval()(mc.Tensor(x))
    outputs = (output[0] if isinstance(output, tuple) else output).shape
    model.train()
    target = np.asarray(entry.target(outputs))
    with launch.use(Idle()), kernels.use(kernels.cuda):
        twice = ByShape(step)
        assert twice(x, target).shape == twice(x, target).shape == ()
    assert all(p.grad.shape == p.shape for p in model.parameters() if p.grad is not None)


def test_to_look_at_a_number_in_a_capture_is_an_error(emulate):
    emulate()

    def loss(logits, target):
        value = ops.cross_entropy(logits, target)
        return value * 2 if float(value) > 0 else value

    with pytest.raises(RuntimeError, match="the step cannot be captured, it may look at numbers"):
        train(cuda_graph=True, loss=loss)


def test_a_wrong_label_in_a_captured_step_is_a_loss_that_is_not_finite(emulate):
    emulate()
    x, right, wrong = np.ones((2, 3), np.float32).view(Taped), [0, 2], [0, 3]
    step = ByShape(lambda x, labels: ops.cross_entropy(mc.Tensor(x), labels).data)
    labels = np.array(right).view(Taped)
    assert [float(step(x, labels)) for _ in range(3)] == pytest.approx([np.log(3)] * 3)
    labels[...] = wrong
    assert np.isnan(float(step(x, labels)))


class Stream:
    """What is asked of CuPy's streams, and a note of it."""

    def __init__(self, notes, complaint=None):
        self.notes, self.complaint = notes, complaint

    def __enter__(self):
        self.notes.append("enter")

    def __exit__(self, *error):
        self.notes.append("leave")

    def synchronize(self):
        self.notes.append("synchronize")

    def begin_capture(self):
        self.notes.append("begin")

    def end_capture(self):
        self.notes.append("end")
        if self.complaint:
            raise RuntimeError(self.complaint)
        return SimpleNamespace(launch=lambda: self.notes.append("launch"))


@pytest.fixture
def cupy(monkeypatch):
    """Return a function that puts a CuPy in place, which only notes what it is asked."""
    monkeypatch.setattr(module, "_plans", lambda: Plans(old=1, new=2))

    def put(complaint=None):
        notes = []

        @contextmanager
        def using_allocator(allocator):
            notes.append(allocator)
            yield
            notes.append("usual memory")

        stream = Stream(notes, complaint)
        cuda = SimpleNamespace(
            MemoryPool=lambda: SimpleNamespace(malloc="own memory"),
            Stream=lambda non_blocking: stream,
            get_current_stream=lambda: stream,
            using_allocator=using_allocator,
        )
        free = SimpleNamespace(free_all_blocks=lambda: notes.append("free"))
        whole = SimpleNamespace(cuda=cuda, get_default_memory_pool=lambda: free)
        monkeypatch.setitem(sys.modules, "cupy", whole)
        return notes

    return put


def test_cupy_captures_on_a_stream_and_in_memory_of_its_own(cupy):
    notes = cupy()
    result, replay = module.CupyEngine().capture(lambda: notes.append("step") or "result")
    before, after = (
        ["synchronize", "free", "enter", "own memory", "begin"],
        ["end", "usual memory", "leave"],
    )
    assert (result, notes) == ("result", [*before, "step", *after])
    replay()
    replay()
    assert notes[-2:] == ["launch", "launch"]


@pytest.mark.parametrize(
    ("error", "complaint", "message"),
    [
        (None, "it is not valid", "the step cannot be captured.*: it is not valid"),
        (RuntimeError("it waits"), None, "the step cannot be captured.*: it waits"),
        (RuntimeError("it waits"), "it is not valid", "the step cannot be captured.*: it waits"),
        (KeyError("no such layer"), None, "^'no such layer'$"),
        (KeyError("no such layer"), "it is not valid", "^'no such layer'$"),
    ],
)
def test_a_capture_that_fails_says_why_and_leaves_the_stream_as_it_was(
    cupy, error, complaint, message
):
    def step():
        if error:
            raise error

    notes = cupy(complaint)
    with pytest.raises(type(error or RuntimeError()), match=message):
        module.CupyEngine().capture(step)
    assert notes.count("end") == 1
    assert notes[-1] == "leave"


class Plans(dict):
    """A cache of plans as CuPy has it: it is run through from the plan that was used last on."""

    def __init__(self, **plans):
        super().__init__(plans)
        self.used = list(plans)

    def __iter__(self):
        return iter([(key, object()) for key in reversed(self.used)])

    def __getitem__(self, key):
        self.used.remove(key)
        self.used.append(key)
        return super().__getitem__(key)


def test_a_graph_keeps_the_plans_that_it_uses_and_leaves_their_order(cupy, monkeypatch):
    plans = Plans(old=1, new=2)
    cupy()
    monkeypatch.setattr(module, "_plans", lambda: plans)
    _, replay = module.CupyEngine().capture(lambda: "result")
    assert replay.args[2] == [1, 2]
    assert plans.used == ["old", "new"]


def test_a_model_on_the_cpu_has_no_graph():
    with pytest.raises(ValueError, match="cuda_graph takes a model on a GPU"):
        train(cuda_graph=True)


def test_lenet_5_of_the_paper_learns_the_same_in_a_capture(emulate):
    emulate("reverse")
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((3, 1, 32, 32)).astype(np.float32), np.array([1, 0, 9])

    def weights(cuda_graph):
        model = on_the_device(mc.models.lenet5(rng=0))
        adam = optim.Adam(model.parameters(), lr=1e-3)
        mc.fit(model, [batch], map_loss, adam, epochs=4, progress=False, cuda_graph=cuda_graph)
        return [np.array(x) for x in model.state_dict().values()]

    assert all(map(np.array_equal, weights(True), weights(False)))
