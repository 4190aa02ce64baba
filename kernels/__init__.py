"""Arrays in, arrays out: every operation of a CNN and its gradients, for each kind of array.

`reference` is the definition, `cpu` the fast version for NumPy arrays, `cuda` that for CuPy's. All
have the same files, the same function names and the same signatures. `outline` computes nothing and
returns the shapes only. Nothing here knows of tensors.

Two conventions hold in every file: what belongs to height and width comes as a pair, padding as a
pair of pairs ((top, bottom), (left, right)); and arguments were checked by the caller.
"""

import contextlib
from contextvars import ContextVar

import numpy as np

from . import cpu, cuda, dlpack, geometry, memory, outline, reference
from .capture import changing, is_capturing
from .cuda import NoGPUError

__all__ = [
    "NoGPUError",
    "changing",
    "copy_like",
    "cpu",
    "cuda",
    "dlpack",
    "geometry",
    "is_capturing",
    "memory",
    "of",
    "outline",
    "reference",
    "to",
    "use",
]

_chosen = ContextVar("kernels", default=None)


def of(*arrays):
    """Return the kernels for these arrays: `cpu` for NumPy, `cuda` for CuPy; None is skipped.

    Raises
    ------
    TypeError
        If NumPy arrays are mixed with arrays of another device.
    """
    if (chosen := _chosen.get()) is not None:
        return chosen
    on_cpu = [isinstance(array, np.ndarray) for array in arrays if array is not None]
    if all(on_cpu):
        return cpu
    if any(on_cpu):
        kinds = ", ".join(
            type(array).__module__.split(".")[0] for array in arrays if array is not None
        )
        raise TypeError(
            f"kernels: arrays of different devices ({kinds}); move the model or the batch"
        )
    return cuda


@contextlib.contextmanager
def use(implementation):
    """Use this implementation for all arrays inside the block, e.g. `use(kernels.reference)`."""
    token = _chosen.set(implementation)
    try:
        yield
    finally:
        _chosen.reset(token)


def copy_like(array, like):
    """Return a copy of an array of any device, with the device and the dtype of another."""
    if isinstance(like, np.ndarray) and hasattr(array, "get"):  # CuPy's go to the CPU by that only
        array = array.get()
    return np.array(array, dtype=like.dtype, like=like)


def to(array, device):
    """Return the array on "cpu" or "cuda"; without a copy where it is there already.

    Raises
    ------
    ValueError
        If the device is neither of the two.
    NoGPUError
        If the device is "cuda" and CuPy, the driver, a GPU or NVRTC is missing; it says which.
    """
    if device == "cpu":
        return array if isinstance(array, np.ndarray) else array.get()
    if device != "cuda":
        raise ValueError(f"to: device {device!r} is neither 'cpu' nor 'cuda'")
    return cuda.availability.cupy().asarray(array)
