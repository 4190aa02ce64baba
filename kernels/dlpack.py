"""Arrays from and for other libraries, in the same memory: DLPack, as libraries agreed on it.

The Python array API standard, version 2023.12, says what `__dlpack__`, its keyword arguments and
`from_dlpack` mean. The capsules themselves are made and read by NumPy and CuPy.
"""

import numpy as np

from . import cuda

# DLPack's numbers of devices: the CPU, also with memory that is pinned for CUDA or ROCm; and CUDA,
# also with memory that the CPU sees too.
_CPU = 1, 3, 11
_CUDA = 2, 13


def capsule(array, *, stream, max_version, dl_device, copy):
    """Return a capsule with the array, as its library makes it.

    Raises
    ------
    BufferError
        If a copy is needed and not allowed, or the dtype or the device cannot be given.
    """
    # PyTorch takes memory to begin at the first element, and ends the process where it does not.
    if any(step < 0 for step in array.strides) and copy is not True:
        if copy is False:
            raise BufferError(
                f"__dlpack__: the steps between elements are {array.strides} bytes, negative ones "
                "among them, which other libraries do not take without a copy; copy is False"
            )
        array = array.copy()
    asked = dict(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)
    # NumPy 2.0 knows the stream only: whoever asks for more is to see its TypeError, and ask again.
    asked = {name: value for name, value in asked.items() if value is not None}
    try:
        return array.__dlpack__(**asked)
    except ValueError as error:  # older NumPy's word for another device
        raise BufferError(f"__dlpack__: {error}") from error


def array_of(x, *, copy=None):
    """Return a NumPy or CuPy array of another library's array, without a copy if possible.

    Raises
    ------
    TypeError
        If x does not know DLPack, or does not hold real numbers.
    BufferError
        If x lies on another kind of device, has a dtype that NumPy lacks, or is not given away.
    NoGPUError
        If x lies on a GPU that CuPy cannot compute on.
    """
    if not hasattr(x, "__dlpack__"):
        raise TypeError(
            f"from_dlpack: {type(x).__name__} has no __dlpack__; it takes arrays and tensors"
        )
    kind, number = x.__dlpack_device__()
    if kind not in (*_CPU, *_CUDA):
        raise BufferError(
            f"from_dlpack: x is on device ({kind:d}, {number}); it takes the CPU (1) and CUDA (2)"
        )
    library = np if kind in _CPU else cuda.availability.cupy()
    dtype = getattr(x, "dtype", "this dtype")
    try:
        array = library.from_dlpack(x, **({} if copy is None else {"copy": copy}))
    except RuntimeError as error:  # NumPy's word for a dtype that it lacks
        raise BufferError(
            f"from_dlpack: {library.__name__} cannot hold x, of {dtype}, as it is ({error}); "
            "convert it first, bfloat16 to float32"
        ) from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"from_dlpack: x is {array.dtype}; a tensor takes real numbers")
    return array
