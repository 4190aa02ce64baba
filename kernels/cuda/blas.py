"""Matrix products by cuBLAS: which there are, and the calls that make them.

Not by CuPy's operator ``@``: an environment variable changes its precision, and products of more
than one matrix go other ways than those of one.

cuBLAS reads matrices column by column. What lies row by row is to it the transpose, so it is asked
for the transpose of the product: c^T (columns, rows) = b^T (columns, inner) a^T (inner, rows).
Its results have the same bits each time on the same GPU and version, as long as one stream at a
time computes (NVIDIA, "cuBLAS", results reproducibility).
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from .. import precision

# Numbers of cublas_api.h and library_types.h, which are the same in every version.
OP_N, OP_T = 0, 1
GEMM_DEFAULT = -1
# CUDA_R_32F, CUDA_R_64F, CUDA_C_32F and CUDA_C_64F.
DATA_TYPES: dict[np.dtype, int] = {
    np.dtype(np.float32): 0,
    np.dtype(np.float64): 1,
    np.dtype(np.complex64): 4,
    np.dtype(np.complex128): 5,
}
# Plain 32F and 64F are strict: no step has fewer bits than the type. What _PEDANTIC forbids besides
# are shortcuts such as Gauss's three products for complex numbers. Those are spectra, and always
# strict: what is rounded in one frequency is noise in all samples.
COMPUTE_64F = 70
COMPUTE_32F = {"float32": 68, "tf32": 77, "bfloat16": 75}  # 32F, 32F_FAST_TF32, 32F_FAST_16BF

MOST = 2**31 - 1  # sizes and leading dimensions are a C int
# Multiply-adds that a call must have where a product takes several: one costs about 5 us to make,
# in which our own kernel does as many. An estimate, not measured on a GPU.
LEAST = 1 << 24


class Operand(NamedTuple):
    """A matrix as cuBLAS is told of it."""

    operation: int
    leading: int  # how far apart what it takes for columns lie [elements]


def operand(rows, columns, strides):
    """Return a matrix whose rows or columns lie one after the other in memory, else None.

    A stride along an axis of size 1 means nothing, and may be anything.
    """
    row, column = strides["row"], strides["column"]
    if (column == 1 or columns == 1) and (row >= columns or rows == 1):
        return Operand(OP_N, max(row, columns))
    if (row == 1 or rows == 1) and column >= rows:
        return Operand(OP_T, column)
    return None


class Calls(NamedTuple):
    """How a product is cut into calls: one for each matrix along `looped`, and for each term."""

    a: Operand
    b: Operand
    c: Operand
    batched: str  # the axis along which one call multiplies all matrices
    looped: str
    batch_count: int  # how many there are along `batched`,
    loop_count: int  # and along `looped`


def calls_for(a, b, c, product):
    """Return the calls that make the products of `product.multiply`, or None where there are none.

    None are made of what cuBLAS cannot be told: matrices with gaps both ways, sizes beyond a C int,
    arrays of several types, sums of nothing. Nor where bias and slope would need more than a pass
    over dense results, nor of many products so small that calling takes longer than multiplying.
    """
    rows, columns, inner = (product[name] for name in ("rows", "columns", "inner"))
    counts = {"batch": product["batches"], "group": product["groups"]}
    looped, batched = sorted(counts, key=lambda axis: counts[axis])
    calls, count = counts[looped] * product["terms"], counts[batched]
    each = count * rows * columns * inner
    if calls * each == 0 or (calls > 1 and each < LEAST):
        return None
    if not _are_alike(a, b, c) or not _is_dense(product):
        return None
    operands = (
        operand(rows, inner, product["a"]),
        operand(inner, columns, product["b"]),
        operand(rows, columns, product["c"]),
    )
    if None in operands:
        return None
    if max(rows, columns, inner, count, *(found.leading for found in operands)) > MOST:
        return None
    return Calls(*operands, batched, looped, count, counts[looped])


def _are_alike(*arrays):
    dtype = arrays[0].dtype
    return dtype in DATA_TYPES and all(a.dtype == dtype and a.flags.c_contiguous for a in arrays)


def _is_dense(product):
    """Return whether the results lie in memory one after the other."""
    step = 1
    axes = ("columns", "column"), ("rows", "row"), ("groups", "group"), ("batches", "batch")
    for size, axis in axes:
        if product[size] > 1 and product["c"][axis] != step:
            return False
        step *= product[size]
    return True


def multiply(library, calls, a, b, c, product, is_added=False):
    """Write the products into `c`, or add them to it, without bias and slope."""
    matrices = (a, product["a"]), (b, product["b"]), (c, product["c"])
    for outer in range(calls.loop_count):
        for term in range(product["terms"]):
            addresses = [
                library.address(array)
                + (outer * strides[calls.looped] + term * strides["term"]) * array.dtype.itemsize
                for array, strides in matrices
            ]
            _call(library, calls, addresses, c.dtype, product, is_added or term > 0)


def _call(library, calls, addresses, dtype, product, is_added):
    kind, (zero, one) = DATA_TYPES[dtype], _numbers(dtype)
    compute = COMPUTE_64F
    if dtype in (np.float32, np.complex64):
        is_real = dtype == np.float32
        compute = COMPUTE_32F[precision.get_matmul_precision() if is_real else "float32"]
    a, b, c = (
        [address, kind, matrix.leading]
        for address, matrix in zip(addresses, (calls.a, calls.b, calls.c), strict=True)
    )
    function = library.binding.gemmEx
    if calls.batch_count > 1:
        function = library.binding.gemmStridedBatchedEx
        for arguments, name in ((a, "a"), (b, "b"), (c, "c")):
            arguments.append(product[name][calls.batched])
        c.append(calls.batch_count)
    # In the transposed product b stands left, and a right.
    function(
        library.handle, calls.b.operation, calls.a.operation,
        product["columns"], product["rows"], product["inner"],
        one, *b, *a, one if is_added else zero, *c, compute, GEMM_DEFAULT,
    )  # fmt: skip


_FACTORS = {dtype: np.array([0, 1], dtype) for dtype in DATA_TYPES}


@cache
def _numbers(dtype):
    """Return where 0 and 1 of a type lie on the host, from where cuBLAS reads alpha and beta."""
    place = _FACTORS[dtype].ctypes.data
    return place, place + dtype.itemsize
