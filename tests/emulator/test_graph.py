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
from tests.emulator.cublas import Cublas
from tests.emulator.emulator import Emulator
from tests.emulator.tapes import Taped
from tests.models.entries import every_entry


class Small(nn.Network):
    """A convolution, batch norm, dropout of elements and channels, noise, and a dense layer."""

    input_shape = (2, 8, 8)
    chance = 0.4

    def __init__(self):
        self.conv = nn.Conv2d(2, 4, 3, padding=1, rng=0)
        self.norm = nn.BatchNorm2d(4)
        self.drop, self.spatial = nn.Dropout(self.chance, rng=1), nn.Dropout2d(self.chance)
        self.noise = nn.GaussianNoise(self.chance)
        self.dense = nn.Linear(64, 3, rng=2)

    def forward(self, x):
        x = ops.max_pool2d(ops.relu(self.norm(self.conv(self.noise(x)))), 2)
        return self.dense(self.drop(self.spatial(x)).reshape(len(x), -1))


def on_the_device(model):
    """Make the arrays of a model those of the emulated device."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.data.view(Taped)
    return model


def train(optimizer=None, *, cuda_graph, loss=ops.cross_entropy, samples=22, **options):
    """Train for three epochs, of two whole batches and a smaller one; return what came out."""
    mc.manual_seed(3)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((samples, 2, 8, 8)).astype(np.float32)
    data = DataLoader(ArrayDataset(x, rng.integers(0, 3, samples)), 8, shuffle=True, rng=0)
    model = on_the_device(Small())
    optimizer = (optimizer or (lambda p: optim.Adam(p, lr=1e-2)))(model.parameters())
    options = dict(epochs=3, schedule=optim.cosine_decay(3)) | options
    history = mc.fit(model, data, loss, optimizer, progress=False, cuda_graph=cuda_graph, **options)
    losses = [record["train_loss"] for record in history]
    arrays = {name: np.array(x) for name, x in model.state_dict().items()}
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
    plain, captured, free = (
        train(cuda_graph=graph, max_grad_norm=norm, optimizer=OPTIMIZERS["sgd"])[1]
        for graph, norm in ((False, 0.05), (True, 0.05), (True, None))
    )
    assert all(np.array_equal(captured[key], plain[key]) for key in plain)
    assert not np.array_equal(captured["conv.weight"], free["conv.weight"])


def test_cublas_has_no_part_in_it_not_even_in_the_first_step(emulate):
    cublas = Cublas()
    emulate(cublas=cublas)
    plain = train(OPTIMIZERS["sgd"], cuda_graph=False)
    assert cublas.calls
    cublas.calls.clear()
    captured = train(OPTIMIZERS["sgd"], cuda_graph=True)
    assert not cublas.calls
    assert captured[0] == pytest.approx(plain[0], rel=1e-5)


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
        self.notes, self.complaint, self.capturing = notes, complaint, False

    def __enter__(self):
        self.notes.append("enter")

    def __exit__(self, *error):
        self.notes.append("leave")

    def synchronize(self):
        self.notes.append("synchronize")

    def begin_capture(self):
        self.notes.append("begin")
        self.capturing = True

    def is_capturing(self):
        return self.capturing

    def end_capture(self):
        self.notes.append("end")
        self.capturing = False
        if self.complaint:
            raise RuntimeError(self.complaint)
        return SimpleNamespace(launch=lambda: self.notes.append("launch"))


@pytest.fixture
def cupy(monkeypatch):
    """Return a function that puts a CuPy in place, which only notes what it is asked."""

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
        monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
        return notes

    return put


def test_cupy_captures_on_a_stream_and_in_memory_of_its_own(cupy):
    notes = cupy()
    result, replay = module.CupyEngine().capture(lambda: notes.append("step") or "result")
    before, after = (
        ["synchronize", "enter", "own memory", "begin"],
        ["end", "usual memory", "leave"],
    )
    assert (result, notes) == ("result", [*before, "step", *after])
    replay()
    replay()
    assert notes[-2:] == ["launch", "launch"]


@pytest.mark.parametrize("complaint", [None, "the capture is not valid"])
def test_a_capture_that_fails_leaves_the_stream_as_it_was(cupy, complaint):
    def step():
        if not complaint:
            raise NotImplementedError("cuBLAS is not captured")

    notes = cupy(complaint)
    with pytest.raises(RuntimeError, match=f"cannot be captured.*: {complaint or 'cuBLAS is not'}"):
        module.CupyEngine().capture(step)
    assert notes.count("end") == 1
    assert notes[-1] == "leave"


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
