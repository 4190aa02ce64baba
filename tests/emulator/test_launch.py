"""Launches: what is checked of their arguments, and what the engine for CuPy makes of them."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from minicnn.kernels.cuda import driver, launch, module, nvrtc
from minicnn.kernels.cuda.source import FOLDER, Source

from minicnn import kernels
from tests.kernels.cases import CASES
from tests.kernels.test_cases import forward_and_gradients


class Checker:
    """An engine that runs nothing, and notes what it is asked to run."""

    most_blocks = 8
    is_wide = False

    def __init__(self):
        self.calls, self.blas, self.transforms = [], None, None

    def cublas(self):
        return self.blas and self.blas.library()

    def fourier(self):
        return self.transforms

    def empty(self, like, shape, dtype):
        return np.zeros(shape, dtype)

    def run(self, call, index, grid, block, shared):
        values = call.packed(index, lambda array, is_constant: array.ctypes.data)
        self.calls.append(SimpleNamespace(**vars(call), index=index, grid=grid, values=values))


@pytest.fixture
def checker():
    with launch.use(Checker()) as _, kernels.use(kernels.cuda):
        yield launch.engine()


@pytest.fixture
def relu():
    """Return a function that launches relu on these arguments."""
    launcher = launch.Launcher("activation.cu")
    return lambda *arguments, threads=4: launcher("relu", *arguments, threads=threads)


x = np.ones(4, np.float32)


def test_every_launch_of_the_case_table_fits_the_declaration_of_its_kernel(
    checker, set_precision, everything_by_fourier
):
    cublas, fourier = everything_by_fourier.values()
    for checker.blas, checker.transforms, precision in (
        (None, None, "tf32"), (None, None, "bfloat16"), (cublas, None, "float32"),
        (cublas, fourier, "float32"),
    ):  # fmt: skip
        set_precision(precision)
        for case in CASES:
            for dtype in (np.float32, np.float64):
                forward_and_gradients(case, case.draw(dtype))
    launched = {call.kernel for call in checker.calls}
    assert launched == {name for source in kernels.cuda.sources() for name in source.kernels}


def test_kernels_have_names_of_their_own():
    names = [name for source in kernels.cuda.sources() for name in source.kernels]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((x, x), r"relu: 2 arguments for 3 parameters \(x, y, count\)"),
        ((x, x.astype(np.float64), 4), "argument y: float64 where float32 is taken"),
        ((x[::2], x, 4), "argument x: the array has gaps"),
        ((x, 1.0, 4), "argument y: float where an array is taken"),
        ((x, x, x), "argument count: ndarray where int32 is taken"),
        ((x, x, 4.0), "argument count: float where int32 is taken"),
        ((x, x, 2**31), "argument count: 2147483648 is no int32"),
        (
            (np.zeros(17, np.uint8)[1:].view(np.float32), x, 4),
            "argument x: the array does not begin at a multiple of float32",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused(checker, relu, arguments, message):
    with pytest.raises(TypeError, match=message):
        relu(*arguments)
    assert not checker.calls


def test_structs_must_be_complete_and_their_arrays_must_fit(checker):
    rows = dict(count=1, length=4, inner=1)
    with pytest.raises(TypeError, match=r"argument rows: fields \['lanes'\] are missing or unk"):
        launch.Launcher("activation.cu")("softmax", x, x, rows, threads=1)
    arrays = dict.fromkeys(("w", "dw", "m", "v"), [x] * 25)
    arrays |= dict(size=[4] * 25, end=[1] * 25)
    with pytest.raises(TypeError, match="argument w: 25 entries where 24 fit"):
        launch.Launcher("optim.cu")("adam", arrays, {}, None, grid=(1, 25))


def test_numbers_of_numpy_are_numbers(checker):
    kernels.cuda.leaky_relu(x, np.float64(0.25))
    (call,) = checker.calls
    assert (call.kernel, call.values[1]) == ("leaky_relu", np.float32(0.25))


def test_no_array_is_a_null_pointer(checker, relu):
    relu(None, x, 4)
    assert checker.calls[0].values[0] == 0


def test_nothing_is_launched_where_there_is_nothing_to_do(checker, relu):
    relu(x[:0], x[:0], 0, threads=0)
    assert not checker.calls


def test_large_arrays_are_counted_in_64_bits(checker, relu):
    relu(x, x, 4)
    relu(x, x, 4, threads=2**31)
    relu(None, x, 2**31, threads=2**31)
    assert [call.index for call in checker.calls] == [np.int32, np.int64, np.int64]
    assert [call.grid for call in checker.calls] == [(1,), (8,), (8,)]
    huge = np.broadcast_to(x[:1], 2**30)
    call = launch.Call(Source(FOLDER / "activation.cu"), "relu", (huge, x, 4))
    assert call.largest >= launch.WIDE


@pytest.fixture
def compiler(monkeypatch, tmp_path):
    """Put a compiler in place that notes what it compiles, and a cache that is empty."""
    compiled = []

    def compile_source(path, architecture, options):
        compiled.append((path.name, architecture, tuple(options)))
        return nvrtc.Compiled(b"machine code", {})

    monkeypatch.setattr(nvrtc, "version", lambda: (13, 0))
    monkeypatch.setattr(nvrtc, "compile_source", compile_source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    module._folder.cache_clear()
    yield compiled
    module._folder.cache_clear()


def test_machine_code_is_compiled_once_for_what_it_depends_on(compiler, monkeypatch, tmp_path):
    (tmp_path / "own.cuh").write_text("// first")
    (tmp_path / "own.cu").write_text('#include "own.cuh"\n')

    def cubin(real="float32", architecture="sm_90a"):
        return module.cubin(Source(tmp_path / "own.cu"), real, "int32", architecture)

    first = cubin()
    assert first.read_bytes() == b"machine code"
    assert first.parent == tmp_path / "cache" / "minicnn" / "cubin"
    assert cubin() == first
    assert len(compiler) == 1
    others = [cubin("float64"), cubin(architecture="sm_80")]
    (tmp_path / "own.cuh").write_text("// second")
    others.append(cubin())
    monkeypatch.setattr(nvrtc, "version", lambda: (13, 1))
    others.append(cubin())
    assert len({first, *others}) == len(compiler) == 5
    assert sorted(first.parent.iterdir()) == sorted([first, *others])


def test_a_cache_that_cannot_be_written_is_done_without(compiler, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    path = module.cubin(Source(FOLDER / "optim.cu"), "float32", "int64", "sm_80")
    assert path.read_bytes() == b"machine code"
    ((name, architecture, options),) = compiler
    assert (name, architecture) == ("optim.cu", "sm_80")
    assert options == ("-DREAL=float", "-DINDEX=long long", f"-I{FOLDER}")


class Device:
    """What this project asks of CuPy, and a note of it."""

    def __init__(self, capability):
        self.launched, self.paths = [], []
        self.cuda = SimpleNamespace(Device=lambda: SimpleNamespace(compute_capability=capability))

    def RawModule(self, path):  # noqa: N802
        self.paths.append(path)
        return SimpleNamespace(get_function=lambda name: Function(name, self.launched))


class Function:
    max_dynamic_shared_size_bytes = 0

    def __init__(self, name, launched):
        self.name, self.launched = name, launched

    def __call__(self, grid, block, arguments, shared_mem):
        limit = self.max_dynamic_shared_size_bytes
        self.launched.append((self.name, grid, block, arguments, shared_mem, limit))


def array_on_device(address):
    flags = SimpleNamespace(c_contiguous=True)
    data = SimpleNamespace(ptr=address)
    return SimpleNamespace(dtype=np.dtype(np.float32), size=1000, flags=flags, data=data)


@pytest.mark.parametrize(
    ("capability", "architecture"), [("80", "sm_80"), ("90", "sm_90a"), ("120", "sm_120")]
)
def test_cupy_is_given_machine_code_and_all_arguments_by_value(
    compiler, monkeypatch, capability, architecture
):
    monkeypatch.setitem(sys.modules, "cupy", device := Device(capability))
    launcher = launch.Launcher("activation.cu")
    arguments = array_on_device(512), array_on_device(1024), 1000
    launcher("relu", *arguments, threads=1000)
    launcher("relu", *arguments, grid=(2, 3), shared=50_000)
    assert [path.rpartition("-")[0][-len(architecture) :] for path in device.paths] == [
        architecture
    ]
    (name, grid, block, values, shared, limit), (_, second_grid, *_, more, opted) = device.launched
    assert (name, grid, block, shared, limit) == ("relu", (4,), (256,), 0, 0)
    assert (second_grid, more, opted) == ((2, 3), 50_000, 50_000)
    assert values == (512, 1024, 1000)
    assert [value.dtype for value in values] == [np.uint64, np.uint64, np.int32]


def test_results_have_no_gaps_whatever_the_order_of_the_input():
    turned = np.ones((3, 4), np.float32).T
    y = module.CupyEngine().empty(turned, turned.shape, np.float64)
    assert y.flags.c_contiguous
    assert (y.shape, y.dtype) == ((4, 3), np.float64)


@pytest.mark.parametrize(
    ("cuda", "first"), [((12, 8), "12"), ((13, 0), "13"), ((13, 2), "13"), (None, "13")]
)
def test_the_compiler_is_one_whose_code_the_driver_loads(monkeypatch, cuda, first):
    found = [Path(f"a/libnvrtc.so.{version}") for version in ("13", "12", "11.2")]
    monkeypatch.setattr(nvrtc, "_everywhere", lambda: iter(found))
    monkeypatch.setattr(driver, "find", lambda: cuda and driver.Driver(cuda))
    assert nvrtc._candidates()[0].name == f"libnvrtc.so.{first}"


def test_without_nvrtc_it_says_what_was_looked_for(monkeypatch):
    monkeypatch.setattr(nvrtc, "_everywhere", lambda: iter(()))
    nvrtc.library.cache_clear()
    with pytest.raises(ImportError, match=r"need NVRTC.*CUDA_PATH.*pip install nvidia-cuda-nvrtc"):
        nvrtc.library()
    nvrtc.library.cache_clear()


LOG = """
ptxas info    : Compiling entry function 'first' for 'sm_90'
ptxas info    : Function properties for first
    0 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 80 registers, used 1 barriers, 8704 bytes smem
ptxas info    : Compiling entry function 'second' for 'sm_90'
ptxas info    : Used 24 registers, used 0 barriers
"""


def test_the_assemblers_figures_are_read():
    figures = nvrtc.read_figures(LOG)
    assert figures == {"first": nvrtc.Figures(80, 20, 8704), "second": nvrtc.Figures(24, 0, 0)}
