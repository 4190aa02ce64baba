"""The compiled kernels: the same bits for any number of threads, from anywhere, and in bounds."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
from minicnn import kernels

WINDOWS = dict(kernel_size=(3, 3), stride=(2, 2), padding=((1, 1), (1, 1)))


def images(seed=0):
    return np.random.default_rng(seed).standard_normal((4, 24, 61, 67), np.float32)


def everything(x):
    """Return what all compiled kernels make of some images."""
    cpu, c = kernels.cpu, x.shape[1]
    w, b = np.linspace(1, 2, c, dtype=np.float32), np.linspace(-1, 1, c, dtype=np.float32)
    y, mean, variance = cpu.batch_norm(x, w, b, 1e-5)
    largest, index = cpu.max_pool2d(x, **WINDOWS, dilation=(1, 1))
    average = cpu.avg_pool2d(x, **WINDOWS, counted=((0, 0), (0, 0)))
    size = x.shape[2:]
    weights, m, v = ([np.zeros_like(x), np.zeros(7, np.float32)] for _ in range(3))
    slopes = [x, np.ones(7, np.float32)]
    cpu.adam_step(
        weights, slopes, m, v,
        step=1, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1, decoupled=False,
    )  # fmt: skip
    moved = [np.ones_like(x)]
    cpu.sgd_step(
        moved, [x], [x.copy()], lr=0.1, momentum=0.9, dampening=0, weight_decay=0, nesterov=True
    )
    response = dict(size=5, alpha=0.1, beta=0.75, k=2.0)
    return [
        cpu.local_response_norm(x, **response), cpu.local_response_norm_grad(y, x, **response),
        *of_windows(cpu, x), *elements(cpu, x), *losses(cpu, x),
        y, mean, variance, largest, index, average, *weights, *m, *v, *moved,
        *cpu.batch_norm(x, w, b, 1e-5, y, 0.0),
        *cpu.batch_norm_grad(y, x, w, mean, variance, 1e-5),
        *cpu.batch_norm_grad(y, x, w, mean, variance, 1e-5, y, 0.1),
        *cpu.batch_norm_inference_grad(y, x, w, mean, variance, 1e-5),
        cpu.max_pool2d_grad(largest, index, size, **WINDOWS, dilation=(1, 1)),
        cpu.avg_pool2d_grad(average, size, **WINDOWS, counted=((0, 0), (0, 0))),
    ]  # fmt: skip


def of_windows(cpu, x):
    """Return what the compiled pools of adaptive and of rarer kinds make of some images."""
    size, windows = x.shape[2:], (5, 7)
    largest, index = cpu.adaptive_max_pool2d(x, windows)
    average, lp = cpu.adaptive_avg_pool2d(x, windows), cpu.adaptive_lp_pool2d(x, windows, 2)
    std, strided = cpu.adaptive_std_pool2d(x, windows), cpu.lp_pool2d(x, p=3, **WINDOWS)
    deviation = cpu.std_pool2d(x, **WINDOWS)
    return [
        largest, index, average, lp, std, strided, deviation,
        cpu.adaptive_max_pool2d_grad(largest, index, size),
        cpu.adaptive_avg_pool2d_grad(average, size),
        cpu.adaptive_lp_pool2d_grad(largest, x, lp, 2),
        cpu.adaptive_std_pool2d_grad(largest, x, std),
        cpu.lp_pool2d_grad(deviation, x, strided, p=3, **WINDOWS),
        cpu.std_pool2d_grad(strided, x, deviation, **WINDOWS),
    ]  # fmt: skip


def elements(cpu, x):
    """Return what the compiled activations, and dropout, make of some images."""
    names = ("relu", "sigmoid", "tanh")
    options = (("leaky_relu", 0.2), ("elu", 1.3), ("softplus", 2.0), ("softmax", -1))
    of_output = {"relu", "sigmoid", "tanh", "softmax", "log_softmax", "scaled_tanh"}
    results = []
    for name, *constants in (
        *((name,) for name in names), *options, ("log_softmax", -1), ("scaled_tanh", 1.7, 0.6)
    ):  # fmt: skip
        y = getattr(cpu, name)(x, *constants)
        known = y if name in of_output else x
        results += [y, getattr(cpu, f"{name}_grad")(x, known, *constants)]
    for name in ("dropout", "dropout_grad", "spatial_dropout", "gaussian_noise"):
        results.append(getattr(cpu, name)(x, 0.4, 7))
    return results


def losses(cpu, x):
    """Return what the compiled losses make of some images as logits."""
    target, slopes, rows = np.float32(0.5) * x, x[::-1].copy(), x.reshape(-1, x.shape[-1])
    classes, weight = np.arange(len(rows)) % rows.shape[1], np.full(1, 2, np.float32)
    results = [
        cpu.squared_error(x, target), cpu.squared_error_grad(slopes, x, target),
        cpu.huber(x, target, 0.3), cpu.huber_grad(slopes, x, target, 0.3),
        cpu.sigmoid_cross_entropy(x, target, None, weight),
        cpu.sigmoid_cross_entropy_grad(slopes, x, target, None, weight),
    ]  # fmt: skip
    for aim in (classes, target.reshape(rows.shape)):
        loss, log_probability = cpu.softmax_cross_entropy(rows, aim, 0.1)
        results += [loss, log_probability]
        results.append(cpu.softmax_cross_entropy_grad(loss, log_probability, aim, 0.1))
    return results


@pytest.fixture
def threads():
    before = mc.get_num_threads()
    yield mc.set_num_threads
    mc.set_num_threads(before)


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_number_of_threads_does_not_change_a_bit(threads, monkeypatch):
    from minicnn.kernels.cpu import parallel

    monkeypatch.setattr(parallel, "LEAST", 1)  # as if it paid to use all of them
    x = images()
    threads(1)
    alone = everything(x)
    for count in (2, 3, 7):
        threads(count)
        assert equal(everything(x), alone)


def test_several_python_threads_may_call_at_once(threads):
    threads(2)
    inputs = [images(seed) for seed in range(4)]
    expected = [everything(x) for x in inputs]
    wrong = []

    def work(i):
        for _ in range(3):
            if not equal(everything(inputs[i]), expected[i]):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_a_child_that_forks_has_threads_of_its_own():
    script = """
import os, sys, warnings
import numpy as np
import minicnn as mc
from minicnn import kernels
warnings.simplefilter("ignore")  # of a fork beside threads, which is what is tried here
mc.set_num_threads(2)
x, one = np.ones((4, 64, 64, 64), np.float32), np.ones(64, np.float32)
norm = lambda: kernels.cpu.batch_norm_inference(x, one, one, one, one, 0.0)
assert (norm() == 1).all()
child = os.fork()
if child == 0:
    os._exit(0 if (norm() == 1).all() else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_numba_is_imported_with_the_first_kernel_that_needs_it():
    script = """
import sys
import numpy as np
import minicnn as mc
mc.ops.pad(np.ones((2, 3), np.float32), ((1, 1), (0, 0)))
assert "numba" not in sys.modules
mc.ops.max_pool2d(np.ones((1, 1, 4, 4), np.float32), 2)
assert "numba" in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_a_kernel_with_the_name_of_its_file_is_the_kernel_whichever_comes_first():
    script = """
from minicnn import kernels
kernels.cpu.dropout_grad
assert callable(kernels.cpu.dropout)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_arrays_with_gaps_are_updated_in_place():
    w, dw, m, v = (np.ones((4, 6), np.float32)[:, ::2] for _ in range(4))
    options = dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0, decoupled=False)
    kernels.cpu.adam_step([w], [dw], [m], [v], step=1, **options)
    assert (w < 1).all()
    assert (w.base[:, 1::2] == 1).all()


def test_what_cannot_be_kept_on_disk_is_compiled_all_the_same(monkeypatch):
    from minicnn.kernels.cpu import compiled

    def without_disk(function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(compiled, "_Cache", without_disk)
    assert compiled.compiled()(lambda x: x + 1)(2) == 3


def test_a_full_disk_keeps_nothing_and_stops_nothing(monkeypatch):
    from minicnn.kernels.cpu import compiled
    from numba.core.caching import FunctionCache

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.delenv("MINICNN_SIMD", raising=False)
    monkeypatch.setattr(FunctionCache, "save_overload", full)
    assert compiled.compiled()(lambda x: x + 2)(2) == 4


@pytest.mark.parametrize("x", [[np.nan, 1, np.nan, 2], [-np.inf] * 4, [1, 3, 3, 2], [-1, np.nan]])
def test_the_maximum_is_the_first_of_the_largest_or_of_nan(x):
    x = np.array(x, np.float32)[None, None, None]
    options = dict(kernel_size=(1, x.size), stride=(1, 1), padding=((0, 0), (0, 0)))
    for implementation in (kernels.cpu, kernels.reference):
        y, index = implementation.max_pool2d(x, **options, dilation=(1, 1))
        assert np.array_equal(y.ravel(), [x.max()], equal_nan=True)
        assert index.ravel().tolist() == [int(x.argmax())]


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_tap_that_meets_nothing_but_padding_is_left_out(stride, dilation):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5), np.float32)
    sides = 6 * dilation
    windows = dict(
        kernel_size=(13, 13), stride=(stride, stride), padding=((sides, sides), (sides, sides))
    )
    y, index = kernels.cpu.max_pool2d(x, **windows, dilation=(dilation, dilation))
    expected, place = kernels.reference.max_pool2d(x, **windows, dilation=(dilation, dilation))
    assert np.array_equal(y, expected)
    assert np.array_equal(index, place)
    if dilation == 1:
        counted = ((0, 0), (0, 0))
        y = kernels.cpu.avg_pool2d(x, **windows, counted=counted)
        expected = kernels.reference.avg_pool2d(x, **windows, counted=counted)
        assert np.allclose(y, expected, rtol=1e-5)


ADAM = dict(
    step=1, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0, decoupled=False
)  # fmt: skip
SGD = dict(lr=0.1, momentum=0.0, dampening=0, weight_decay=0, nesterov=False)


def test_an_optimiser_state_of_another_size_is_refused_and_nothing_else_is_touched():
    memory = np.zeros((3, 4), np.float32)
    with pytest.raises(ValueError, match="broadcast"):
        kernels.cpu.adam_step(
            [np.ones(8, np.float32)], [np.ones(8, np.float32)], [memory[0]], [memory[1]], **ADAM
        )
    assert not memory[2].any()


def test_a_gradient_of_another_shape_is_broadcast_as_in_the_reference():
    w = np.ones((2, 3), np.float32)
    kernels.cpu.sgd_step([w], [np.ones((1, 3), np.float32)], None, **SGD)
    assert np.allclose(w, 0.9)


def test_a_gradient_may_be_read_only():
    w, dw = np.ones(3, np.float32), np.ones(3, np.float32)
    dw.flags.writeable = False
    kernels.cpu.sgd_step([w], [dw], None, **SGD)
    assert np.allclose(w, 0.9)


def test_without_decay_an_infinite_weight_stays_infinite():
    for step, state, options in (("sgd_step", [None], SGD), ("adam_step", [[0], [0]], ADAM)):
        w, dw = np.array([np.inf, 1], np.float32), np.ones(2, np.float32)
        slots = [None if slot is None else [np.zeros(2, np.float32)] for slot in state]
        getattr(kernels.cpu, step)([w], [dw], *slots, **options)
        assert w[0] == np.inf
        assert w[1] < 1


def test_an_infinite_value_spoils_its_own_gradient_only():
    x = np.zeros((3, 2, 4, 4), np.float32)
    dy, one = np.ones_like(x), np.ones(2, np.float32)
    x[0, 0, 0, 0], dy[1, 1, 2, 2] = np.inf, np.inf
    dx, _, _ = kernels.cpu.batch_norm_inference_grad(dy, x, one, 0 * one, one, 0.0)
    assert np.isinf(dx).sum() == 1
    assert np.isfinite(dx).sum() == dx.size - 1


@pytest.mark.parametrize("side", range(1, 16))
def test_the_average_of_ones_is_one(side):
    x = np.ones((1, 1, side, 7), np.float32)
    options = dict(kernel_size=(side, 7), stride=(1, 1), padding=((0, 0), (0, 0)))
    assert kernels.cpu.avg_pool2d(x, **options, counted=((0, 0), (0, 0))).item() == 1


def test_a_stride_beyond_the_image_costs_no_memory():
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    options = dict(kernel_size=(2, 2), stride=(2**45, 2**45), padding=((0, 0), (0, 0)))
    y, index = kernels.cpu.max_pool2d(x, **options, dilation=(1, 1))
    assert (y.item(), index.item()) == (5, 5)


def test_a_thread_that_outlives_the_main_one_still_computes():
    script = """
import threading, time
import numpy as np
import minicnn as mc
from minicnn import kernels
mc.set_num_threads(2)
x, one = np.ones((4, 64, 64, 64), np.float32), np.ones(64, np.float32)
def late():
    time.sleep(0.5)
    y = kernels.cpu.batch_norm_inference(x, one, one, one, one, 0.0)
    print("right" if (y == 1).all() else "wrong")
kernels.cpu.batch_norm_inference(x, one, one, one, one, 0.0)
threading.Thread(target=late).start()
"""
    run = subprocess.run(
        [sys.executable, "-c", script], check=True, timeout=60, capture_output=True, text=True
    )
    assert run.stdout == "right\n"
    assert not run.stderr


def test_code_is_compiled_anew_when_any_file_beside_it_changes(tmp_path):
    shutil.copytree(Path(kernels.__file__).parent, tmp_path / "room", ignore=_no_caches)
    folder = tmp_path / "room" / "cpu"
    script = """
import sys, types
sys.path.insert(0, sys.argv[1])
room = types.ModuleType("room")
room.__path__ = [sys.argv[1] + "/room"]
sys.modules["room"] = room
from room.cpu import caller
x = caller.np.full(1, 2.0)
caller.twice(x, count=1, elements=1)
print(x[0])
"""
    (folder / "caller.py").write_text(
        "import numpy as np\nfrom .parallel import parallel\nfrom .called import factor\n\n\n"
        "@parallel()\ndef twice(x, start, stop):\n"
        "    for i in range(start, stop):\n        x[i] *= factor()\n"
    )
    called = "from .compiled import linked\n\n\n@linked()\ndef factor():\n    return {}\n"
    environment = {
        k: v for k, v in os.environ.items() if k not in ("MINICNN_SIMD", "NUMBA_CACHE_DIR")
    }
    printed = []
    for value in ("2.0", "3.25"):
        (folder / "called.py").write_text(called.format(value))
        command = [sys.executable, "-c", script, str(tmp_path)]
        run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        printed.append(run.stdout.strip())
    assert printed == ["4.0", "6.5"]
    assert list(folder.glob("__pycache__/*.nbi"))


def _no_caches(folder, names):
    return [name for name in names if name == "__pycache__"]
