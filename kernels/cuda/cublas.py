"""cuBLAS, the library that CuPy has loaded, called through ctypes.

CuPy refuses all calls of it while a stream is captured into a graph. cuBLAS itself does not, if it
need not allocate (NVIDIA, "cuBLAS", CUDA graphs support). So every product is given its workspace
from CuPy's pool, which a capture replaces by its own. Handles are CuPy's.
"""

import ctypes
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

# What NVIDIA recommends for Hopper; it is more than others take (cublasSetWorkspace) [bytes].
WORKSPACE = 32 << 20

_int, _far, _place = ctypes.c_int, ctypes.c_longlong, ctypes.c_void_p
# Handle, two operations, three sizes and alpha; address, type and leading dimension of a matrix,
# and how far apart those of a batch are; compute type and algorithm.
_SIZES = _place, _int, _int, _int, _int, _int, _place
_MATRIX = _place, _int, _int
_MATRICES = *_MATRIX, _far
_HOW = _int, _int


class Library(NamedTuple):
    """cuBLAS, ready for the calls of one product on the current device and stream.

    Attributes
    ----------
    binding : Binding
    handle : int
    address : callable
        Returns where the content of an array begins.
    workspace : MemoryPointer or None
        Kept from others until the calls are made; from then on the order of the stream does that.
    """

    binding: Any
    handle: int
    address: Callable[[Any], int]
    workspace: Any = None


class Binding:
    """The functions that are called, with the names and arguments of CuPy's binding.

    A status other than success is a RuntimeError.
    """

    def __init__(self, library):
        self._name = library.cublasGetStatusString
        self._name.argtypes, self._name.restype = (_int,), ctypes.c_char_p
        for name, function, arguments in (
            ("setStream", "cublasSetStream_v2", (_place, _place)),
            ("setWorkspace", "cublasSetWorkspace_v2", (_place, _place, ctypes.c_size_t)),
            ("gemmEx", "cublasGemmEx", (*_SIZES, *_MATRIX, *_MATRIX, _place, *_MATRIX, *_HOW)),
            (
                "gemmStridedBatchedEx",
                "cublasGemmStridedBatchedEx",
                (*_SIZES, *_MATRICES, *_MATRICES, _place, *_MATRICES, _int, *_HOW),
            ),
        ):
            found = getattr(library, function)
            found.argtypes, found.restype, found.errcheck = arguments, _int, self._check
            setattr(self, name, found)

    def _check(self, status, function, arguments):
        if status:
            raise RuntimeError(f"{function.__name__}: {self._name(status).decode()}")


def of_cupy():
    """Return cuBLAS for CuPy's current device and stream, or None where there is none."""
    binding = _binding()
    if binding is None:
        return None
    from cupy import cuda

    handle, workspace = cuda.device.get_cublas_handle(), cuda.alloc(WORKSPACE)
    # In this order: with a stream comes the library's own workspace.
    binding.setStream(handle, cuda.get_current_stream().ptr)
    binding.setWorkspace(handle, workspace.ptr, WORKSPACE)
    return Library(binding, handle, lambda array: array.data.ptr, workspace)


@cache
def _binding():
    try:
        import cupy_backends.cuda.libs.cublas  # noqa: F401, loads the library that is then found
        from cuda.pathfinder import load_nvidia_dynamic_lib

        return Binding(ctypes.CDLL(load_nvidia_dynamic_lib("cublas").abs_path))
    except (ImportError, OSError, RuntimeError) as error:
        warnings.warn(
            f"cuBLAS is not there ({error}), so minicnn's own matrix products run, which are "
            "slower; pip install 'cupy-cuda13x[ctk]', or 12x for CUDA 12",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
