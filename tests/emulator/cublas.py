"""cuBLAS for NumPy arrays, as NVIDIA documents it: wrong arguments are errors.

The two functions have the names, the arguments and their order of CuPy 14's binding. They know
nothing of how they are called: from addresses, leading dimensions and strides they find matrices
column by column, and each must lie within one array. In a capture they multiply in the replay.

NVIDIA, "cuBLAS", cublasGemmEx and cublasGemmStridedBatchedEx; the numbers are of cublas_api.h.
"""

import ctypes
from dataclasses import dataclass, field

import numpy as np
from minicnn.kernels.cuda.cublas import Library

from tests.emulator import tapes

OP_N, OP_T = 0, 1
GEMM_DEFAULT = -1
DATA_TYPES = {0: np.float32, 1: np.float64, 4: np.complex64, 5: np.complex128}
COMPUTE_TYPES = {"32F": 68, "64F": 70, "32F_FAST_16BF": 75, "32F_FAST_TF32": 77}
BITS_DROPPED = {75: 16, 77: 13}  # of the 23 that a float32 has after its point
HANDLE = 0xB1A5


class CublasError(Exception):
    """cuBLAS would refuse these arguments, or read or write where nothing is."""


def rounded(x, compute):
    """Return x in the bits that a tensor core takes; the nearest, and even of two."""
    dropped = BITS_DROPPED.get(compute, 0)
    if not dropped:
        return x
    bits = x.view(np.uint32).astype(np.uint64)
    odd = (bits >> dropped) & 1
    kept = (bits + (1 << (dropped - 1)) - 1 + odd) >> dropped << dropped
    return np.where(np.isfinite(x), kept.astype(np.uint32).view(np.float32), x)


def _write_products(a, b, c, operations, alpha, beta, compute):
    for x, y, z in zip(a, b, c, strict=True):
        x, y = (rounded(np.ascontiguousarray(part), compute) for part in (x, y))
        x, y = (
            part.T if operation == OP_T else part
            for part, operation in zip((x, y), operations, strict=True)
        )
        # A result that is multiplied by 0 is not read: it may be NaN.
        z[...] = alpha * (x @ y) + (beta * z if beta else 0)


@dataclass
class Cublas:
    """cuBLAS of one emulator, with a note of all calls."""

    arrays: dict[int, np.ndarray] = field(default_factory=dict)
    calls: list[tuple[str, tuple]] = field(default_factory=list)

    def library(self):
        """Return it as an engine gives it, for one product: it knows no arrays yet."""
        self.arrays.clear()
        return Library(self, HANDLE, self.address)

    def address(self, array):
        """Return where an array begins, whose memory may be used from now on."""
        self.arrays[array.ctypes.data] = array
        return array.ctypes.data

    def gemmEx(  # noqa: N802
        self, handle, transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb,
        beta, C, Ctype, ldc, computeType, algo,
    ):  # fmt: skip
        """Write alpha op(A) op(B) + beta C into C."""
        self.calls.append(("gemmEx", (transa, transb, m, n, k, lda, ldb, ldc, computeType)))
        self._multiply(
            handle, (transa, transb), (m, n, k), (alpha, beta), (A, B, C), (Atype, Btype, Ctype),
            (lda, ldb, ldc), (0, 0, 0), 1, computeType, algo,
        )  # fmt: skip

    def gemmStridedBatchedEx(  # noqa: N802
        self, handle, transa, transb, m, n, k, alpha, A, Atype, lda, strideA, B, Btype, ldb,
        strideB, beta, C, Ctype, ldc, strideC, batchCount, computeType, algo,
    ):  # fmt: skip
        """Do the same for as many matrices, so far apart."""
        sizes = transa, transb, m, n, k, lda, ldb, ldc, computeType
        self.calls.append(("gemmStridedBatchedEx", (*sizes, batchCount)))
        if batchCount > 1 and strideC < ldc * (n - 1) + m:
            raise CublasError(f"results overlap: they are {strideC} apart")
        self._multiply(
            handle, (transa, transb), (m, n, k), (alpha, beta), (A, B, C), (Atype, Btype, Ctype),
            (lda, ldb, ldc), (strideA, strideB, strideC), batchCount, computeType, algo,
        )  # fmt: skip

    def _multiply(
        self, handle, operations, sizes, factors, addresses, types, leading, strides, count,
        compute, algorithm,
    ):  # fmt: skip
        if handle != HANDLE:
            raise CublasError(f"{handle} is no handle")
        for number in (*operations, *sizes, *types, *leading, count, compute, algorithm):
            if type(number) is not int or not -(2**31) <= number < 2**31:
                raise CublasError(f"{number!r} is no C int")
        if not all(type(number) is int for number in (*factors, *addresses, *strides)):
            raise CublasError(f"{factors}, {addresses} or {strides} are no whole numbers")
        dtype = self._check_types(types, compute, algorithm)
        m, n, k = sizes
        if min(m, n, k, count) < 0:
            raise CublasError(f"a size of {sizes} or a batch of {count} is below 0")
        shapes = [(m, k), (k, n)]
        for i, operation in enumerate(operations):
            if operation not in (OP_N, OP_T):
                raise CublasError(f"{operation} is no operation")
            shapes[i] = shapes[i][:: -1 if operation == OP_T else 1]
        shapes.append((m, n))
        for (rows, _), dimension in zip(shapes, leading, strict=True):
            if dimension < max(1, rows):
                raise CublasError(f"leading dimension {dimension} of a matrix with {rows} rows")
        a, b, c = (
            self._matrices(*matrix, count, dtype, is_written)
            for *matrix, is_written in zip(
                addresses, shapes, leading, strides, (False, False, True), strict=True
            )
        )
        if np.shares_memory(a, c) or np.shares_memory(b, c):
            raise CublasError("the result overlaps a factor")
        alpha, beta = (
            np.frombuffer((ctypes.c_char * dtype.itemsize).from_address(factor), dtype)[0]
            for factor in factors
        )
        tapes.do(lambda: _write_products(a, b, c, operations, alpha, beta, compute))

    def _check_types(self, types, compute, algorithm):
        if len(set(types)) > 1 or types[0] not in DATA_TYPES:
            raise CublasError(f"data types {types}")
        is_double = types[0] in (1, 5)
        fitting = ["64F"] if is_double else ["32F", "32F_FAST_TF32", "32F_FAST_16BF"]
        if compute not in [COMPUTE_TYPES[name] for name in fitting]:
            raise CublasError(f"compute type {compute} for data type {types[0]}")
        if algorithm != GEMM_DEFAULT:
            raise CublasError(f"algorithm {algorithm}")
        return np.dtype(DATA_TYPES[types[0]])

    def _matrices(self, address, shape, leading, stride, count, dtype, is_written):
        """Return matrices (count, rows, columns), all within one array."""
        rows, columns = shape
        last = (count - 1) * stride + (columns - 1) * leading + rows
        for start, array in self.arrays.items():
            offset, rest = divmod(address - start, dtype.itemsize)
            if not rest and 0 <= offset < array.size and offset + last <= array.size:
                break
        else:
            raise CublasError(f"a matrix {shape} at {address} lies in no array")
        if array.dtype != dtype:
            raise CublasError(f"{array.dtype} at {address} where {dtype} is said to be")
        if is_written and not array.flags.writeable:
            raise CublasError("the result is read-only")
        flat = array.view(np.ndarray).reshape(-1)[offset:]
        steps = tuple(step * dtype.itemsize for step in (stride, 1, leading))
        return np.lib.stride_tricks.as_strided(flat, (count, rows, columns), steps)
