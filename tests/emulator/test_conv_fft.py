"""Convolutions through the Fourier transform, with SciPy and NumPy for cuFFT and cuBLAS."""

import importlib
import re
import sys
from math import inf
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from minicnn.kernels import geometry, reference
from minicnn.kernels.cuda import conv_direct, conv_fft, launch, module
from minicnn.kernels.cuda.source import FOLDER

from minicnn import kernels
from tests.emulator.cublas import COMPUTE_TYPES, Cublas
from tests.emulator.cufft import CufftError, Fourier
from tests.emulator.emulator import SANITIZE, SCHEDULES
from tests.emulator.test_cases import assert_agree, by_the_reference
from tests.kernels.cases import CASES, assert_close

conv = importlib.import_module("minicnn.kernels.cuda.conv")
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])
transforms = {"cut_signals", "turn_spectra", "join_signals"}

SHAPES = {  # x, w, stride, padding before and behind, groups
    "one tap": ((1, 1, 1), (1, 1, 1), 3, (0, 2), 1),
    "odd": ((2, 3, 41), (5, 3, 9), 1, (4, 4), 1),
    "stride": ((2, 1, 300), (9, 1, 64), 4, (31, 32), 1),
    "stride and a rest": ((3, 4, 50), (2, 4, 7), 3, (0, 2), 1),
    "stride longer than the filter": ((2, 3, 30), (4, 3, 3), 5, (0, 0), 1),
    "groups": ((3, 8, 17), (12, 2, 6), 2, (3, 2), 4),
    "filter longer than the signal": ((2, 3, 8), (33, 3, 64), 1, (31, 32), 1),
    "much padding": ((2, 3, 9), (4, 3, 12), 2, (40, 30), 1),
    "tiles": ((3, 11, 70), (40, 11, 30), 1, (3, 0), 1),
}
every_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def draw(shape, dtype, seed=0):
    """Return x, w, b, dy, a bias of x, and the options of a convolution."""
    (n, c, size), (o, per_group, taps), stride, padding, groups = shape
    options = dict(
        stride=(1, stride), padding=((0, 0), padding), dilation=(1, 1), groups=groups
    )  # fmt: skip
    windows = geometry.output_size(size, taps, stride, padding, 1)
    shapes = (n, c, 1, size), (o, per_group, 1, taps), (o,), (n, o, 1, windows), (c,)
    rng = np.random.default_rng(seed)
    return *(rng.standard_normal(shape).astype(dtype) for shape in shapes), options


def passes(floor, x, w, b, dy, bias, options):
    """Return what all passes over a layer give."""
    size = x.shape[2:]
    return (
        floor.conv2d(x, w, b, **options, slope=0.3),
        floor.conv2d(x, w, None, **options, slope=0.0),
        floor.conv2d_input_grad(dy, w, size, **options),
        floor.conv_transpose2d(dy, w, bias, size=size, **options),
        floor.conv2d_weight_grad(dy, x, w.shape[2:], **options),
    )


def turned(arrays):
    """Return the same layer with its axes exchanged."""
    *arrays, options = arrays
    options = options | {name: options[name][::-1] for name in ("stride", "padding", "dilation")}
    return *(a.swapaxes(2, 3).copy() if a.ndim == 4 else a for a in arrays), options


def assert_same(arrays):
    x, w, _, dy, *_ = arrays
    terms = max(x.size, w.size, dy.size)
    pairs = zip(passes(kernels.cuda, *arrays), passes(reference, *arrays), strict=True)
    for ours, expected in pairs:
        assert ours.dtype == expected.dtype
        assert_close(ours, expected, terms)


@pytest.fixture(params=SCHEDULES)
def emulator(request, emulate, everything_by_fourier):
    """Do everything by transforms, in this order of threads and blocks."""
    return emulate(request.param, **everything_by_fourier)


@pytest.fixture
def _without_the_definition(monkeypatch):
    """Make nothing again by the definition: what a transform leaves out stays NaN."""
    for name in ("convolve", "convolve_back", "correlate"):
        done = lambda *arguments: arguments[-2] if arguments[-1] == 0 else None  # noqa: E731
        monkeypatch.setattr(conv_direct, name, done)


@both_dtypes
@every_shape
@pytest.mark.usefixtures("_without_the_definition")
def test_all_passes_agree_with_the_reference(emulator, shape, dtype):
    assert_same(draw(shape, dtype))
    assert_same(turned(draw(shape, dtype)))
    assert emulator.launched == transforms


@both_dtypes
@every_shape
@pytest.mark.usefixtures("_without_the_definition")
def test_long_signals_and_little_room_change_nothing_but_the_rounding(
    emulate, everything_by_fourier, monkeypatch, shape, dtype
):
    emulate("shuffled", **everything_by_fourier)
    monkeypatch.setattr(conv_fft, "LONGEST", 8)
    conv_fft.cut_of.cache_clear()
    for room in (conv_fft.WORKSPACE, 30_000):
        monkeypatch.setattr(conv_fft, "WORKSPACE", room)
        assert_same(draw(shape, dtype))
    conv_fft.cut_of.cache_clear()


@pytest.mark.usefixtures("_without_the_definition")
def test_any_geometry_agrees_with_the_reference(emulate, everything_by_fourier):
    emulate("reverse", **everything_by_fourier)
    rng, left = np.random.default_rng(0), 40
    while left:
        n, c, o, groups, stride = map(int, rng.integers(1, 5, 5))
        size, taps = map(int, rng.integers(1, 40, 2))
        padding = tuple(map(int, rng.integers(0, 20, 2)))
        if geometry.output_size(size, taps, stride, padding, 1) > 0:
            shape = (n, groups * c, size), (groups * o, c, taps), stride, padding, groups
            assert_same(draw(shape, np.float64, left))
            left -= 1


cases = [case for case in CASES if str(case).startswith("conv") and "1d" in str(case)]


@both_dtypes
@pytest.mark.parametrize("case", cases, ids=str)
def test_the_case_table_agrees_with_the_reference(emulator, case, dtype):
    arrays = case.draw(dtype)
    assert_agree(case, arrays, by_the_reference(case, arrays))
    assert transforms <= emulator.launched


@every_shape
@pytest.mark.usefixtures("_without_the_definition")
def test_gradients_are_adjoint_to_the_convolution(emulate, everything_by_fourier, shape):
    emulate("shuffled", **everything_by_fourier)
    x, w, _, dy, _, options = draw(shape, np.float64)
    y = kernels.cuda.conv2d(x, w, None, **options)
    dx = kernels.cuda.conv2d_input_grad(dy, w, x.shape[2:], **options)
    dw = kernels.cuda.conv2d_weight_grad(dy, x, w.shape[2:], **options)
    for one, other in ((x, dx), (w, dw)):
        assert_close(np.sum(y * dy), np.sum(one * other), x.size * w.size)


@every_shape
def test_results_are_the_same_bits_in_any_order(emulate, everything_by_fourier, shape):
    arrays, results = draw(shape, np.float32), []
    for schedule in ("forward", "shuffled"):
        emulate(schedule, **everything_by_fourier)
        results.append(passes(kernels.cuda, *arrays))
    for one, other in zip(*results, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.skipif(bool(SANITIZE), reason="with a sanitizer a bug ends the process")
@pytest.mark.parametrize("field", ["x", "y", "first", "start", "taps"])
def test_a_cut_that_is_off_by_one_is_noticed(emulate, everything_by_fourier, monkeypatch, field):
    emulate(**everything_by_fourier)
    monkeypatch.setattr(conv_fft, "LONGEST", 8)
    right = conv_fft.cut_of.__wrapped__

    def wrong(*geometry_):
        cut = right(*geometry_)
        return cut._replace(**{field: getattr(cut, field) - 1})

    arrays = draw(SHAPES["tiles"], np.float64)
    monkeypatch.setattr(conv_fft, "cut_of", right)
    assert_same(arrays)
    monkeypatch.setattr(conv_fft, "cut_of", wrong)
    with pytest.raises(AssertionError):
        assert_same(arrays)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("where", ["x", "w", "b", "dy"])
def test_what_is_not_finite_is_where_direct_sums_have_it(
    emulate, everything_by_fourier, where, value
):
    arrays = draw(SHAPES["stride"], np.float32)
    arrays[["x", "w", "b", "dy"].index(where)].reshape(-1)[1] = value
    with np.errstate(all="ignore"):
        for libraries in (everything_by_fourier, {}):
            emulate(**libraries)
            results = passes(kernels.cuda, *arrays)
            if libraries:
                ours = results
        # In the reference no infinite weight is multiplied by the zeros beside an output.
        expected = results if where == "w" else passes(reference, *arrays)
        for one, other in zip(ours, expected, strict=True):
            assert np.allclose(one, other, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_spectra_are_multiplied_strictly_whatever_is_set(
    emulate, everything_by_fourier, set_precision
):
    cublas = emulate(**everything_by_fourier).cublas().binding
    set_precision("tf32")
    for dtype in (np.float32, np.float64):
        passes(kernels.cuda, *draw(SHAPES["odd"], dtype))
    computed = [sizes[8] for _, sizes in cublas.calls]
    assert computed == [COMPUTE_TYPES["32F"]] * 5 + [COMPUTE_TYPES["64F"]] * 5


CREPE = {  # the layer, and the precisions in which the transform takes less time
    "first": ((32, 1, 1024), (1024, 1, 512), 4, (254, 254), {"float32"}),
    "second": ((32, 1024, 128), (128, 1024, 64), 1, (31, 32), {"float32", "tf32", "bfloat16"}),
    "third": ((32, 128, 64), (128, 128, 64), 1, (31, 32), {"float32"}),
    "first of the smallest": ((32, 1, 1024), (128, 1, 512), 4, (254, 254), set()),
    "of SampleCNN": ((32, 128, 19683), (128, 128, 3), 1, (1, 1), set()),
    "without samples": ((0, 1, 1024), (1024, 1, 512), 4, (254, 254), set()),
}


def layer_of(x, w, stride, padding, **options):
    options = dict(padding=((0, 0), padding), dilation=(1, 1), groups=1) | options
    sizes = (*x[:2], 1, x[2]), (*w[:2], 1, w[2])
    return conv._layer(*sizes, stride=(1, stride), **options)


@pytest.mark.parametrize("name", CREPE)
def test_long_filters_are_for_transforms_where_the_sums_take_longer(emulate, set_precision, name):
    emulate(cublas=Cublas(), fourier=Fourier())
    *shape, wanted = CREPE[name]
    layer, chosen = layer_of(*shape), set()
    for precision in ("float32", "tf32", "bfloat16"):
        set_precision(precision)
        if conv._algorithm(layer, np.dtype(np.float32)) is conv_fft:
            chosen.add(precision)
    assert chosen == wanted


@pytest.mark.parametrize("missing", ["cublas", "fourier"])
def test_without_a_library_sums_are_direct(emulate, everything_by_fourier, missing):
    emulator = emulate(**everything_by_fourier | {missing: None})
    assert_same(draw(SHAPES["odd"], np.float32))
    assert emulator.launched == {"convolve_strict", "correlate_strict"}


def test_two_axes_dilation_and_taps_in_padding_alone_are_left_to_others():
    shape = (2, 3, 9), (4, 3, 5), 1, (0, 0)
    assert conv_fft.seconds(layer_of(*shape), np.dtype(np.float32)) < inf
    others = [layer_of(*shape, dilation=(1, 2))]
    options = dict(stride=(1, 1), dilation=(1, 1), groups=1)
    for rows, taps, padding in ((4, 1, (0, 0)), (1, 2, (1, 0)), (1, 1, (0, 1))):
        sizes = (2, 3, rows, 9), (4, 3, taps, 5)
        others.append(conv._layer(*sizes, padding=(padding, (0, 0)), **options))
    sizes = (2, 3, 1, 9), (4, 3, 1, 5), (1, 1)
    others.append(conv._layer(*sizes, padding=((0, 0), (5, 0)), **options))
    assert {conv_fft.seconds(layer, np.dtype(np.float32)) for layer in others} == {inf}


def test_lengths_are_even_and_have_small_factors():
    lengths = [conv_fft._smooth(least) for least in (1, 2, 11, 13, 159, 161, 395)]
    assert lengths == [2, 2, 12, 14, 160, 162, 400]


WRONG = {
    "float64 of integers": lambda fft, x: fft.rfft(x.astype(np.int32)),
    "a view": lambda fft, x: fft.rfft(x[1:]),
    "gaps": lambda fft, x: fft.rfft(np.asfortranarray(x)),
    "another length": lambda fft, x: fft.rfft(x, 9),
    "another axis": lambda fft, x: fft.rfft(x, axis=0),
    "nothing": lambda fft, x: fft.rfft(x[:0].copy()),
    "frequencies": lambda fft, x: fft.irfft(fft.rfft(x), 12, overwrite_x=True),
    "a copy": lambda fft, x: fft.irfft(fft.rfft(x)),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_emulated_transforms_refuse_what_cupy_would_copy(name):
    with pytest.raises(CufftError):
        WRONG[name](Fourier(), np.ones((3, 8), np.float32))


@both_dtypes
def test_the_emulated_transforms_keep_the_precision_and_destroy_what_they_may(dtype):
    fft, x = Fourier(), np.random.default_rng(0).standard_normal((3, 8)).astype(dtype)
    spectra = fft.rfft(x)
    assert np.allclose(spectra, np.fft.rfft(x))
    samples = fft.irfft(spectra, 8, norm="forward", overwrite_x=True)
    assert (spectra.dtype.kind, samples.dtype, spectra.itemsize) == ("c", dtype, 2 * x.itemsize)
    assert np.allclose(samples / 8, x, atol=1e-6)
    assert np.isnan(spectra).all()


@pytest.mark.parametrize(("size", "kept"), [(16, 64), (100, 100), (-1, -1), (0, 0)])
def test_the_engine_for_cupy_gives_its_transforms_room_for_their_plans(monkeypatch, size, kept):
    sizes = [size]
    cache = SimpleNamespace(get_size=lambda: sizes[-1], set_size=sizes.append)
    names = "cupy", "cupy.fft", "cupy.fft.config", "cupyx", "cupyx.scipy", "cupyx.scipy.fft"
    modules = {name: ModuleType(name) for name in names}
    for name, imitation in modules.items():
        monkeypatch.setitem(sys.modules, name, imitation)
    modules["cupy.fft.config"].get_plan_cache = lambda: cache
    modules["cupyx.scipy"].fft = modules["cupyx.scipy.fft"]
    assert module.CupyEngine().fourier() is modules["cupyx.scipy.fft"]
    assert sizes[-1] == kept


def test_the_launcher_has_the_numbers_of_the_source():
    text = (FOLDER / "conv_fft.cu").read_text()
    tile, lines = (int(re.search(rf"\b{name} = (\d+)", text)[1]) for name in ("TILE", "LINES"))
    assert (tile, tile * lines) == (conv_fft.TILE, conv_fft.BLOCK) == (32, launch.BLOCK)


def test_zeros_are_zeros(emulate):
    emulate()
    zeros = launch.zeros(np.ones(3, np.float32), (2, 3), np.int32)
    assert (zeros.dtype, zeros.shape, zeros.any()) == (np.int32, (2, 3), False)


@pytest.mark.usefixtures("_without_the_definition")
def test_where_there_is_no_room_one_signal_is_done_after_the_other(
    emulate, everything_by_fourier, monkeypatch
):
    emulator = emulate(**everything_by_fourier)
    monkeypatch.setattr(conv_fft, "WORKSPACE", 1)
    arrays = draw(SHAPES["groups"], np.float32)
    assert_same(arrays)
    rows = {shape[0] for _, shape, _ in emulator.fourier().calls}
    assert max(rows) == 4  # the phases of both channels
