"""NVIDIA's run-time compiler: from CUDA C++ to machine code, without a GPU, a driver or CuPy.

CuPy's own compiler is not used: it knows no architecture-specific targets (sm_90a), and its cache
does not see that a header has changed.
"""

import ctypes
import importlib.util
import math
import os
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from . import driver

_ENTRY = re.compile(r"Compiling entry function '(\w+)'")
_SPILLED = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
_REGISTERS = re.compile(r"Used (\d+) registers")
_SHARED = re.compile(r"(\d+) bytes smem")


class CompileError(Exception):
    """A source that the compiler does not take; the message is the compiler's."""


class Figures(NamedTuple):
    """What a kernel takes of a multiprocessor, as the assembler reports it."""

    registers: int  # per thread
    spilled: int  # stores and loads of registers that did not fit [bytes]
    shared: int  # static shared memory per block [bytes]


class Compiled(NamedTuple):
    """Machine code, and the figures of each kernel in it."""

    cubin: bytes
    figures: dict[str, Figures]


@cache
def library():
    """Return the compiler.

    Raises
    ------
    ImportError
        If there is none, with what was looked for.
    """
    for path in _candidates():
        # NVIDIA's wheel does not tell the library where its other half lies.
        for builtins in sorted(path.parent.glob("libnvrtc-builtins.so.*")):
            ctypes.CDLL(str(builtins))
        found = ctypes.CDLL(str(path))
        found.nvrtcGetErrorString.restype = ctypes.c_char_p
        return found
    raise ImportError(
        "the CUDA kernels need NVRTC, and neither NVIDIA's wheels nor CUDA_PATH nor "
        "/usr/local/cuda has it: pip install nvidia-cuda-nvrtc, or 'cupy-cuda13x[ctk]'"
    )


def _candidates():
    """Return compilers, first those of the driver's CUDA or an older one, whose code it loads."""
    found = driver.find()
    newest = found.cuda[0] if found else math.inf
    return sorted(_everywhere(), key=lambda path: _major(path) > newest)


def _major(path):
    """Return the version of CUDA in a file's name, e.g. 13 of libnvrtc.so.13."""
    return int(path.name.partition(".so.")[2].partition(".")[0])


def _everywhere():
    spec = importlib.util.find_spec("nvidia")
    wheels = spec.submodule_search_locations if spec else None
    for folder in map(Path, wheels or ()):
        for pattern in ("cu1*/lib/libnvrtc.so.*", "cuda_nvrtc/lib/libnvrtc.so.*"):
            yield from sorted(folder.glob(pattern), reverse=True)
    for root in (os.environ.get("CUDA_PATH"), "/usr/local/cuda"):
        if root:
            yield from sorted(Path(root).glob("lib64/libnvrtc.so.*"), reverse=True)


def version():
    """Return the compiler's version, (major, minor)."""
    numbers = ctypes.c_int(), ctypes.c_int()
    _check(library().nvrtcVersion(*map(ctypes.byref, numbers)))
    return tuple(number.value for number in numbers)


def compile_source(path, architecture, options=()):
    """Compile a file to machine code for an architecture, e.g. "sm_90".

    Raises
    ------
    CompileError
        If the source has errors.
    """
    compiler, program = library(), ctypes.c_void_p()
    text, name = Path(path).read_bytes(), Path(path).name.encode()
    _check(compiler.nvrtcCreateProgram(ctypes.byref(program), text, name, 0, None, None))
    try:
        arguments = [f"-arch={architecture}", "-std=c++17", "--ptxas-options=-v", *options]
        encoded = (ctypes.c_char_p * len(arguments))(*map(str.encode, arguments))
        code = compiler.nvrtcCompileProgram(program, len(arguments), encoded)
        log = _content(program, "ProgramLog").rstrip(b"\0").decode(errors="replace")
        if code:
            raise CompileError(f"{name.decode()} for {architecture}:\n{log}")
        return Compiled(_content(program, "CUBIN"), read_figures(log))
    finally:
        compiler.nvrtcDestroyProgram(ctypes.byref(program))


def read_figures(log):
    """Return the figures of each kernel from the assembler's report."""
    found = {}
    for part in re.split(r"(?=Compiling entry function)", log):
        if entry := _ENTRY.search(part):
            figures = (_sum(pattern, part) for pattern in (_REGISTERS, _SPILLED, _SHARED))
            found[entry[1]] = Figures(*figures)
    return found


def _sum(pattern, text):
    """Return the sum of the numbers that a pattern finds, 0 where it finds nothing."""
    match = pattern.search(text)
    return sum(map(int, match.groups())) if match else 0


def _content(program, what):
    compiler, size = library(), ctypes.c_size_t()
    _check(getattr(compiler, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    content = ctypes.create_string_buffer(size.value)
    _check(getattr(compiler, f"nvrtcGet{what}")(program, content))
    return content.raw


def _check(code):
    if code:
        raise RuntimeError(f"NVRTC: {library().nvrtcGetErrorString(code).decode()}")
