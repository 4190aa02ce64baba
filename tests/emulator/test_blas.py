"""Matrix products by cuBLAS: what it is asked, and that it is asked only what it can."""

import importlib
import inspect
import subprocess
import sys
import threading

import numpy as np
import pytest
from minicnn.kernels import geometry
from minicnn.kernels.cuda import blas, module

import minicnn as mc
from minicnn import kernels
from tests.emulator.cublas import COMPUTE_TYPES, HANDLE, Cublas, CublasError
from tests.emulator.test_cases import assert_agree, by_the_reference
from tests.emulator.test_shapes import SHAPES, assert_same
from tests.kernels.cases import CASES

conv = importlib.import_module("minicnn.kernels.cuda.conv")
products = [case for case in CASES if str(case).startswith(("linear", "conv"))]
# What takes windows wider than a sample is not for cuBLAS.
direct = {"convolve_strict", "correlate_strict"}
every_product = pytest.mark.parametrize("case", products, ids=str)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def everything_by_cublas(monkeypatch):
    """Let cuBLAS make small products too where they take several calls."""
    monkeypatch.setattr(blas, "LEAST", 0)


@pytest.fixture
def emulator(emulate, everything_by_cublas):
    return emulate("shuffled", cublas=Cublas())


@pytest.fixture
def calls(emulator):
    """Return the calls of cuBLAS: the name, and transposition, sizes and types."""
    return emulator.cublas().binding.calls


@every_product
@both_dtypes
def test_layers_agree_with_the_reference(emulator, calls, case, dtype):
    arrays = case.draw(dtype)
    assert_agree(case, arrays, by_the_reference(case, arrays))
    assert calls or direct & emulator.launched
    assert "multiply" not in emulator.launched


@every_product
def test_strided_and_read_only_inputs_give_the_same(emulator, calls, case):
    arrays = case.draw(np.float64)
    views = [np.repeat(array[..., None], 3, axis=-1)[..., 1] for array in arrays]
    for view in views:
        view.flags.writeable = False
    assert_agree(case, views, by_the_reference(case, arrays))
    assert calls or direct & emulator.launched


@pytest.mark.parametrize("case", [case for case in products if case.empty], ids=str)
def test_an_empty_batch_gives_an_empty_result_and_zero_gradients(emulator, calls, case):
    arrays = zip(case.arrays, case.draw(np.float32), strict=True)
    arrays = [array[:0] if name == "x" else array for name, array in arrays]
    assert_agree(case, arrays, by_the_reference(case, arrays))
    assert not calls


@both_dtypes
@pytest.mark.parametrize(
    "sizes",
    [(1, 1, 1), (1, 7, 1), (7, 1, 1), (1, 1, 7), (5, 1, 3), (1, 5, 3), (5, 3, 1), (65, 63, 17)],
)
def test_the_three_passes_of_a_dense_layer_are_one_call_each(emulator, calls, rng, sizes, dtype):
    n, o, i = sizes
    x, w, b, dy = (rng.standard_normal(s).astype(dtype) for s in ((n, i), (o, i), o, (n, o)))
    assert_same("linear", x, w, b, terms=4 * i)
    assert_same("linear", x, w, None, terms=4 * i)
    assert_same("linear_input_grad", dy, w, terms=4 * o)
    assert_same("linear_weight_grad", dy, x, terms=4 * n)
    assert [name for name, _ in calls] == ["gemmEx"] * 4
    assert emulator.launched == {"add_bias"}


@both_dtypes
@pytest.mark.parametrize("sizes", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)])
def test_products_of_nothing_do_not_reach_cublas(emulator, calls, rng, sizes, dtype):
    n, o, i = sizes
    x, w, b, dy = (rng.standard_normal(s).astype(dtype) for s in ((n, i), (o, i), o, (n, o)))
    assert_same("linear", x, w, b)
    assert_same("linear_input_grad", dy, w)
    assert_same("linear_weight_grad", dy, x)
    assert not calls


@both_dtypes
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_convolutions_of_any_geometry(emulator, calls, rng, shape, dtype):
    x_shape, w_shape, stride, padding, dilation, groups = shape
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    windows = (x_shape[2:], w_shape[2:], stride, padding, dilation)
    dy_shape = x_shape[0], w_shape[0], *map(geometry.output_size, *windows)
    shapes = x_shape, w_shape, w_shape[:1], dy_shape
    x, w, b, dy = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    terms = 4 * max(x.size, dy.size)
    assert_same("conv2d", x, w, b, **options, slope=0.0, terms=terms)
    assert_same("conv2d", x, w, None, **options, slope=0.3, terms=terms)
    assert_same("conv2d_input_grad", dy, w, x.shape[2:], **options, terms=terms)
    assert_same("conv2d_weight_grad", dy, x, w.shape[2:], **options, terms=terms)
    bias = rng.standard_normal(x.shape[1]).astype(dtype)
    assert_same("conv_transpose2d", dy, w, bias, size=x.shape[2:], **options, terms=terms)
    assert calls or direct & emulator.launched
    assert "multiply" not in emulator.launched


@both_dtypes
def test_the_three_passes_of_a_pointwise_convolution_are_one_call_each(emulator, calls, rng, dtype):
    options = dict(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1)
    x, w, b = (rng.standard_normal(s).astype(dtype) for s in ((6, 5, 3, 7), (9, 5, 1, 1), 9))
    dy = rng.standard_normal((6, 9, 3, 7)).astype(dtype)
    assert_same("conv2d", x, w, b, **options, slope=0.0, terms=100)
    assert_same("conv2d_input_grad", dy, w, (3, 7), **options, terms=100)
    assert_same("conv2d_weight_grad", dy, x, (1, 1), **options, terms=1000)
    assert [(name, sizes[-1]) for name, sizes in calls] == [("gemmStridedBatchedEx", 6)] * 3
    assert emulator.launched == {"add_bias", "add_pieces"}


@both_dtypes
def test_relu_after_a_product_makes_zero_of_minus_infinity_and_keeps_nan(emulator, calls, dtype):
    options = dict(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1)
    x, w = np.ones((1, 1, 1, 1), dtype), np.ones((4, 1, 1, 1), dtype)
    b = np.array([-np.inf, np.nan, np.inf, -0.5], dtype)
    y = kernels.cuda.conv2d(x, w, b, **options, slope=0.0)
    assert np.array_equal(y.ravel(), [0, np.nan, np.inf, 0.5], equal_nan=True)
    assert calls


def test_sums_over_images_are_added_to_in_their_order(emulator, calls, monkeypatch, rng):
    monkeypatch.setattr(conv, "BLOCKS", 2)  # two sums, of three images each
    options = dict(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1)
    x, dy = rng.standard_normal((6, 5, 3, 7)), rng.standard_normal((6, 9, 3, 7))
    assert_same("conv2d_weight_grad", dy, x, (1, 1), **options, terms=1000)
    assert [(name, sizes[-1]) for name, sizes in calls] == [("gemmStridedBatchedEx", 2)] * 3


def test_many_small_products_are_left_to_our_own_kernel(emulate, rng):
    emulator = emulate(cublas=Cublas())
    options = dict(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=4)
    x, w = rng.standard_normal((3, 4, 5, 5)), rng.standard_normal((4, 1, 1, 1))
    assert_same("conv2d", x, w, None, **options, terms=100)
    assert not emulator.cublas().binding.calls
    assert emulator.launched == {"multiply"}


def linear_product(rows=3, columns=4, inner=5, **changes):
    """Return arrays and the product of rows that lie one after the other."""
    arrays = [np.zeros(shape, np.float32) for shape in ((3, 5), (5, 4), (3, 4))]
    step = dict(batch=0, group=0, term=0, column=1)
    product = dict(
        rows=rows, columns=columns, inner=inner, batches=1, groups=1, terms=1,
        a=dict(step, row=inner), b=dict(step, row=columns), c=dict(step, row=columns),
    )  # fmt: skip
    return arrays, product | changes


GAPS = dict(batch=0, group=0, term=0, row=20, column=2)
DENSE = dict(batch=0, group=0, term=0, row=4, column=1)


@pytest.mark.parametrize(
    "changes",
    [
        dict(rows=2**31), dict(columns=2**31), dict(inner=2**31),
        dict(batches=2**31, c=dict(DENSE, batch=12)),
        dict(rows=0), dict(columns=0), dict(inner=0), dict(batches=0), dict(terms=0),
        dict(a=GAPS), dict(b=GAPS), dict(c=GAPS), dict(c=dict(GAPS, row=5, column=1)),
        dict(a=dict(GAPS, row=2**31, column=1)), dict(a=dict(GAPS, row=0, column=1)),
        dict(b=dict(GAPS, row=3, column=1)), dict(terms=2), dict(groups=2, batches=2),
    ],
    ids=str,
)  # fmt: skip
def test_what_cublas_cannot_be_told_takes_no_calls_of_it(changes):
    arrays, product = linear_product()
    assert blas.calls_for(*arrays, product)
    arrays, product = linear_product(**changes)
    assert blas.calls_for(*arrays, product) is None


@pytest.mark.parametrize("place", [0, 1, 2])
def test_arrays_of_several_types_or_with_gaps_take_no_calls_of_cublas(place):
    arrays, product = linear_product()
    for other in (arrays[place].astype(np.float64), np.zeros((6, 8), np.float32)[::2, ::2]):
        mixed = [*arrays[:place], other, *arrays[place + 1 :]]
        assert blas.calls_for(*mixed, product) is None
    halves = [array.astype(np.float16) for array in arrays]
    assert blas.calls_for(*halves, product) is None


def test_a_stride_along_an_axis_of_one_means_nothing():
    odd = dict(batch=0, group=0, term=0, row=1, column=1)
    assert blas.operand(1, 7, odd) == (blas.OP_N, 7)
    assert blas.operand(7, 1, odd) == (blas.OP_N, 1)
    assert blas.operand(1, 1, dict(odd, row=3, column=5)) == (blas.OP_N, 3)
    assert blas.operand(7, 1, dict(odd, row=4, column=9)) == (blas.OP_N, 4)
    assert blas.operand(2, 7, odd) is None
    assert blas.operand(2, 7, dict(odd, column=2)) == (blas.OP_T, 2)
    assert blas.operand(1, 7, dict(odd, row=9, column=3)) == (blas.OP_T, 3)
    assert blas.operand(2, 7, dict(odd, row=9, column=3)) is None


NAMES = {"float32": "32F", "tf32": "32F_FAST_TF32", "bfloat16": "32F_FAST_16BF"}


@pytest.mark.parametrize("name", NAMES)
def test_the_precision_that_is_set_is_the_compute_type_that_is_asked_for(
    emulator, calls, set_precision, rng, name
):
    set_precision(name)
    assert mc.get_matmul_precision() == name
    x, w = rng.standard_normal((3, 4)), rng.standard_normal((5, 4))
    image, filters = rng.standard_normal((2, 3, 4, 4)), rng.standard_normal((5, 3, 1, 1))
    options = dict(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1)
    for dtype in (np.float32, np.float64):
        kernels.cuda.linear(x.astype(dtype), w.astype(dtype), None)
        kernels.cuda.conv2d(image.astype(dtype), filters.astype(dtype), None, **options)
    single, double = COMPUTE_TYPES[NAMES[name]], COMPUTE_TYPES["64F"]
    assert [sizes[8] for _, sizes in calls] == [single, single, double, double]


every_precision = pytest.mark.parametrize(
    ("name", "least", "most"),
    [("float32", 0, 1e-6), ("tf32", 2e-4, 3e-4), ("bfloat16", 1e-3, 1e-2)],
)


@every_precision
def test_factors_of_so_many_bits_give_the_errors_that_are_documented(
    emulator, set_precision, rng, name, least, most
):
    set_precision(name)
    x, w = (rng.standard_normal((200, 300)).astype(np.float32) for _ in range(2))
    exact = x.astype(np.float64) @ w.T.astype(np.float64)
    y = kernels.cuda.linear(x, w, None)
    assert y.dtype == np.float32
    assert least <= np.linalg.norm(y - exact) / np.linalg.norm(exact) <= most


@pytest.mark.gpu
@every_precision
def test_on_a_gpu_no_precision_has_a_larger_error_than_is_documented(
    set_precision, rng, name, least, most
):
    import cupy

    set_precision(name)
    x, w = (rng.standard_normal((200, 300)).astype(np.float32) for _ in range(2))
    exact = x.astype(np.float64) @ w.T.astype(np.float64)
    assert module.CupyEngine().cublas()
    y = kernels.cuda.linear(cupy.asarray(x), cupy.asarray(w), None).get()
    assert np.linalg.norm(y - exact) / np.linalg.norm(exact) <= most


def test_the_precision_is_strict_until_somebody_says_otherwise_and_holds_in_all_threads(
    set_precision,
):
    assert mc.get_matmul_precision() == "float32"
    seen = []
    set_precision("tf32")
    thread = threading.Thread(target=lambda: seen.append(mc.get_matmul_precision()))
    thread.start()
    thread.join()
    assert seen == ["tf32"]


@pytest.mark.parametrize("name", ["fp16", "high", None, "TF32"])
def test_a_precision_of_another_name_is_refused(name):
    message = rf"^set_matmul_precision: {name!r} is none of 'float32', 'tf32', 'bfloat16'$"
    with pytest.raises(ValueError, match=message):
        mc.set_matmul_precision(name)
    assert mc.get_matmul_precision() == "float32"


def test_on_the_cpu_the_precision_changes_nothing(set_precision, rng):
    x, w = rng.standard_normal((2, 30, 40)).astype(np.float32)
    strict = kernels.cpu.linear(x, w, None)
    set_precision("bfloat16")
    assert np.array_equal(kernels.cpu.linear(x, w, None), strict)


# The first lines of the docstrings of CuPy 14.2.0's binding.
SIGNATURES = [
    "gemmEx(intptr_t handle, int transa, int transb, int m, int n, int k, size_t alpha, size_t A, "
    "int Atype, int lda, size_t B, int Btype, int ldb, size_t beta, size_t C, int Ctype, int ldc, "
    "int computeType, int algo)",
    "gemmStridedBatchedEx(intptr_t handle, int transa, int transb, int m, int n, int k, "
    "size_t alpha, size_t A, int Atype, int lda, long long strideA, size_t B, int Btype, int ldb, "
    "long long strideB, size_t beta, size_t C, int Ctype, int ldc, long long strideC, "
    "int batchCount, int computeType, int algo)",
]


@pytest.mark.parametrize("signature", SIGNATURES, ids=lambda text: text.partition("(")[0])
def test_the_emulated_functions_take_the_arguments_of_cupys_binding(signature):
    name, _, arguments = signature.removesuffix(")").partition("(")
    names = [argument.split()[-1] for argument in arguments.split(", ")]
    assert list(inspect.signature(getattr(Cublas(), name)).parameters) == names
    try:
        from cupy_backends.cuda.libs import cublas
    except ImportError:
        return
    assert getattr(cublas, name).__doc__.splitlines()[0] == signature


def test_the_numbers_are_those_of_cupys_binding():
    cublas = pytest.importorskip("cupy_backends.cuda.libs.cublas", exc_type=ImportError)
    assert (blas.OP_N, blas.OP_T) == (cublas.CUBLAS_OP_N, cublas.CUBLAS_OP_T)
    assert blas.GEMM_DEFAULT == cublas.CUBLAS_GEMM_DEFAULT
    for name, number in COMPUTE_TYPES.items():
        assert getattr(cublas, f"CUBLAS_COMPUTE_{name}") == number
    from cupy.cuda import runtime

    names = "CUDA_R_32F", "CUDA_R_64F", "CUDA_C_32F", "CUDA_C_64F"
    assert list(blas.DATA_TYPES.values()) == [getattr(runtime, name) for name in names]


RIGHT = dict(
    handle=HANDLE, transa=1, transb=0, m=4, n=3, k=5, lda=5, ldb=5, ldc=4, A=0, B=0, C=0,
    Atype=0, Btype=0, Ctype=0, computeType=68, algo=-1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (dict(), None),
        (dict(transa=0), "leading dimension|no array"),
        (dict(lda=4), "leading dimension 4 of a matrix with 5 rows"),
        (dict(ldb=4), "leading dimension 4 of a matrix with 5 rows"),
        (dict(ldc=3), "leading dimension 3 of a matrix with 4 rows"),
        (dict(lda=6), "lies in no array"),
        (dict(m=5, ldc=5), "lies in no array"),
        (dict(A=4), "lies in no array"),
        (dict(B=-4), "lies in no array"),
        (dict(C=2), "lies in no array"),
        (dict(m=2**31), "2147483648 is no C int"),
        (dict(n=3.0), "3.0 is no C int"),
        (dict(k=-1), "below 0"),
        (dict(Atype=1), "data types"),
        (dict(Atype=1, Btype=1, Ctype=1), "compute type 68 for data type 1"),
        (dict(Atype=1, Btype=1, Ctype=1, computeType=70), "lies in no array|float32 at"),
        (dict(computeType=70), "compute type 70 for data type 0"),
        (dict(algo=3), "algorithm 3"),
        (dict(transb=2), "2 is no operation"),
        (dict(handle=0), "0 is no handle"),
    ],
    ids=str,
)
def test_the_emulated_cublas_refuses_wrong_arguments(rng, wrong, message):
    a, b = rng.standard_normal((4, 5)).astype(np.float32), rng.standard_normal((3, 5))
    b, c = b.astype(np.float32), np.full((3, 4), np.nan, np.float32)
    cublas, factors = Cublas(), np.array([0, 1], np.float32)
    arguments = RIGHT | wrong | dict(beta=factors.ctypes.data, alpha=factors.ctypes.data + 4)
    for name, array in zip("ABC", (a, b, c), strict=True):
        arguments[name] += cublas.address(array)
    if message is None:
        cublas.gemmEx(**arguments)
        assert np.allclose(c, b @ a.T, rtol=1e-5)
        return
    with pytest.raises(CublasError, match=message):
        cublas.gemmEx(**arguments)
    assert np.isnan(c).all()


def test_the_emulated_cublas_refuses_to_write_what_it_reads(rng):
    x, factors = np.ones((4, 4), np.float32), np.array([0, 1], np.float32)
    cublas = Cublas()
    place = cublas.address(x)
    arguments = RIGHT | dict(m=4, n=4, k=4, lda=4, ldb=4, A=place, B=place, C=place)
    arguments |= dict(beta=factors.ctypes.data, alpha=factors.ctypes.data + 4)
    with pytest.raises(CublasError, match="overlaps a factor"):
        cublas.gemmEx(**arguments)


def test_the_emulated_cublas_refuses_results_that_overlap(rng):
    a, b = rng.standard_normal((2, 4, 5)), rng.standard_normal((2, 3, 5))
    c, factors, cublas = np.empty((2, 3, 4)), np.array([0.0, 1.0]), Cublas()
    places = {name: cublas.address(array) for name, array in zip("ABC", (a, b, c), strict=True)}
    arguments = RIGHT | places | dict(Atype=1, Btype=1, Ctype=1, computeType=70, batchCount=2)
    arguments |= dict(beta=factors.ctypes.data, alpha=factors.ctypes.data + 8)
    arguments |= dict(strideA=20, strideB=15)
    with pytest.raises(CublasError, match="results overlap: they are 11 apart"):
        cublas.gemmStridedBatchedEx(**arguments, strideC=11)
    cublas.gemmStridedBatchedEx(**arguments, strideC=12)
    assert np.allclose(c, b @ a.swapaxes(1, 2))


def test_importing_minicnn_asks_for_neither_cupy_nor_cublas():
    script = "import sys, minicnn; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True)
    assert not {b"cupy", b"cupy_backends", b"minicnn.kernels.cuda.blas"} & set(done.stdout.split())
