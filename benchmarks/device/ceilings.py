"""Section "ceilings": what this GPU can do at most, copying and, through cuBLAS, multiplying."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from minicnn.kernels.cuda import blas, cublas

from benchmarks.device.gpu import Gpu
from benchmarks.device.items import Item, NotAvailable
from benchmarks.device.turns import alternate, verify
from benchmarks.harness import quartiles

COPIED = 1 << 28  # float32 numbers, 1 GiB
SIZE = 8192  # of the square matrices
SECONDS = 2.0
ROWS = 4  # of a product that are compared with float64

BFLOAT16 = 14  # CUDA_R_16BF of library_types.h
# How numbers lie in memory, how they are multiplied, and how far a product may be off. Tensor cores
# may cut off what they add up.
PRODUCTS = {
    "float32": (np.float32, blas.COMPUTE_32F["float32"], 1e-5),
    "TF32": (np.float32, blas.COMPUTE_32F["tf32"], 2e-3),
    "bfloat16, float32 in memory": (np.float32, blas.COMPUTE_32F["bfloat16"], 2e-2),
    "bfloat16": (np.uint16, blas.COMPUTE_32F["float32"], 1e-4),
}


def items(gpu: Gpu, copied: int = COPIED, size: int = SIZE) -> list[Item]:
    """Return what this section measures."""
    products = [Item(name, partial(_product, gpu, name, size)) for name in PRODUCTS]
    return [Item("copy", lambda left: copy(gpu, copied)), *products]


def copy(gpu: Gpu, count: int) -> dict[str, Any]:
    """Return the bandwidth of a copy within the device, what is read and written counted."""
    (source,) = gpu.draw(source=(count,)).values()
    target = np.empty_like(source)
    times = _seconds(gpu, lambda: np.copyto(target, source))
    verify("copy", [target], [source], 0.0)
    return {**times, "gbytes": 2 * source.nbytes / times["median"] / 1e9}


def product(gpu: Gpu, library: Any, name: str, size: int) -> dict[str, Any]:
    """Return the rate of a product of square matrices by cuBLAS, 2 operations per multiply-add.

    Parameters
    ----------
    gpu : Gpu
    library : Library
        cuBLAS, as `kernels.cuda.cublas` has it.
    name : str
        Of `PRODUCTS`.
    size : int
    """
    stored, compute, allowed = PRODUCTS[name]
    drawn = gpu.draw(a=(size, size), b=(size, size))
    a, b = drawn.values()
    if stored is np.uint16:  # the upper half of a float32 is a bfloat16
        a, b = ((array.view(np.uint32) >> 16).astype(np.uint16) for array in (a, b))
        drawn = [(array.astype(np.uint32) << 16).view(np.float32) for array in (a, b)]
        kind = BFLOAT16
    else:
        drawn, kind = [a, b], blas.DATA_TYPES[np.dtype(stored)]
    c = np.empty_like(drawn[0])
    factors = np.array([1, 0], np.float32)
    one = factors.ctypes.data
    # What lies row by row is the transpose to cuBLAS, so the factors change places.
    arguments = (
        library.handle, blas.OP_N, blas.OP_N, size, size, size, one,
        library.address(b), kind, size, library.address(a), kind, size, one + factors.itemsize,
        library.address(c), blas.DATA_TYPES[np.dtype(np.float32)], size, compute,
        blas.GEMM_DEFAULT,
    )  # fmt: skip
    library.binding.gemmEx(*arguments)
    exact = drawn[0][:ROWS].astype(np.float64) @ drawn[1].astype(np.float64)
    error = verify(name, [c[:ROWS].astype(np.float64)], [exact], allowed)
    times = _seconds(gpu, lambda: library.binding.gemmEx(*arguments))
    return {**times, "tflops": 2 * size**3 / times["median"] / 1e12, "error": error}


def _product(gpu, name, size, left):
    library = cublas.of_cupy()
    if library is None:
        raise NotAvailable("cuBLAS was looked for through CuPy")
    return product(gpu, library, name, size)


def _seconds(gpu, call):
    readings = alternate(gpu, {"": lambda: call}, seconds=SECONDS, flushed=True)
    return {**quartiles(readings[""]), "seconds": readings[""]}
