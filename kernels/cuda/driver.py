"""NVIDIA's driver, asked without CuPy: which CUDA it is made for, and which GPUs it sees."""

import ctypes
import os
from typing import NamedTuple

LIBRARY = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"

# What the driver's own header calls these codes and attributes.
_NO_DEVICE = 100
_CAPABILITY = 75, 76  # major, minor


class GPU(NamedTuple):
    """A GPU, as the driver describes it."""

    name: str
    capability: tuple[int, int]
    memory: int  # [bytes]


class Driver(NamedTuple):
    """The driver: the newest CUDA that it runs, its GPUs, and what it says if it does not start."""

    cuda: tuple[int, int]
    gpus: tuple[GPU, ...] = ()
    trouble: str = ""


def find():
    """Return the driver, or None where there is none."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    number = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(number))
    cuda = release(number.value)
    code = library.cuInit(0)
    if code == _NO_DEVICE:
        return Driver(cuda)
    if code:
        return Driver(cuda, trouble=_said(library, code))
    library.cuDeviceGetCount(ctypes.byref(number))
    return Driver(cuda, tuple(_gpu(library, index) for index in range(number.value)))


def release(number):
    """Return a version of CUDA, which counts in thousands, as (major, minor)."""
    return number // 1000, number % 1000 // 10


def _gpu(library, index):
    device, memory, name = ctypes.c_int(), ctypes.c_size_t(), ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(device), index)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    numbers = ctypes.c_int(), ctypes.c_int()
    for number, attribute in zip(numbers, _CAPABILITY, strict=True):
        library.cuDeviceGetAttribute(ctypes.byref(number), attribute, device)
    capability = numbers[0].value, numbers[1].value
    return GPU(name.value.decode(errors="replace"), capability, memory.value)


def _said(library, code):
    """Return what the driver has to say about an error."""
    text = ctypes.c_char_p()
    library.cuGetErrorString(code, ctypes.byref(text))
    return f"error {code}" + (f", {text.value.decode(errors='replace')}" if text.value else "")
