"""An engine for the CUDA kernels that needs no GPU: g++ builds them, fibers are their threads.

Launchers run unchanged, on NumPy arrays. What a kernel reads and writes lies between guards: a read
outside gives NaN or a huge number, and a write outside is an error. What is only read must stay
as it was. Results begin as NaN, so that an element which no thread writes is seen.

With MINICNN_SANITIZE=address or thread the kernels are built with these sanitizers, whose run-time
library must then be loaded before Python; `make sanitize` does that.
"""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np
from minicnn.kernels.cuda.source import FOLDER

from tests.emulator import tapes

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "emulator"
COMPILER = os.environ.get("CXX", "g++")
SANITIZE = os.environ.get("MINICNN_SANITIZE", "")
_SANITIZERS = {
    "": [],
    "address": ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
    "thread": ["-fsanitize=thread"],
}
SCHEDULES = "forward", "reverse", "shuffled"
GUARD = 0 if SANITIZE == "address" else 256  # ASan has its own around what is allocated [bytes]
STACK = 1 << (18 if SANITIZE else 16)


SANITIZED = "setarch", "-R"  # TSan finds no room where the system scatters memory widely
_RUNTIMES = {"address": ["libasan.so", "libubsan.so"], "thread": ["libtsan.so"]}


def sanitized(name):
    """Return the environment variables under which the kernels are built with a sanitizer."""
    found = [
        subprocess.check_output([COMPILER, f"-print-file-name={library}"], text=True).strip()
        for library in _RUNTIMES[name]
    ]
    return {
        "MINICNN_SANITIZE": name,
        "LD_PRELOAD": ":".join(found),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python keeps what it has until the end
        "OPENBLAS_NUM_THREADS": "1",  # TSan does not know its locks
    }


class EmulatorError(Exception):
    """A kernel did what no kernel may do; the message says what, and where in its source."""


def is_available():
    """Return whether there is a compiler."""
    return shutil.which(COMPILER) is not None


class Emulator:
    """Runs kernels on the CPU, in one of three orders of their threads and blocks."""

    # Few, so that threads have to loop.
    most_blocks = 3

    def __init__(self, schedule="forward", is_wide=False, cublas=None, fourier=None):
        self.schedule, self.is_wide = SCHEDULES.index(schedule), is_wide
        self._cublas, self._fourier = cublas, fourier
        self.launched = set()

    def empty(self, like, shape, dtype):
        """Return an array of NaN, or of -1 for whole numbers."""
        array = tapes.Taped(shape, dtype)
        array.view(np.ndarray).reshape(-1).view(np.uint8)[...] = 0xFF
        return array

    def cublas(self):
        """Return the cuBLAS that was given, if any."""
        return self._cublas and self._cublas.library()

    def capture(self, step):
        """Return the result of `step()`, and a function that does what it does to arrays."""
        with tapes.capture() as tape:
            result = step()
        return result, partial(tapes.play, tape)

    def fourier(self):
        """Return the transforms that were given, if any."""
        return self._fourier

    def run(self, call, index, grid, block, shared):
        """Run a kernel to its end.

        Raises
        ------
        EmulatorError
            If it diverges, hangs, or writes where it must not.
        """
        if tapes.current() is not None:
            tapes.do(partial(self.run, call, index, grid, block, shared))
            return
        library = _library(call.source, call.real, index)
        guarded = {}

        def address(array, is_constant):
            if id(array) not in guarded:
                guarded[id(array)] = _Guarded(array, is_constant)
            entry = guarded[id(array)]
            entry.is_constant &= is_constant
            return entry.address

        values = call.packed(index, address)
        _check_sizes(library, call.kernel, values)
        self.launched.add(call.kernel)
        _launch(library, call.kernel, grid, block, shared, values, self.schedule)
        for entry in guarded.values():
            entry.release(call.kernel)


class _Guarded:
    """A copy of an array between guards, as misaligned as the array itself.

    What is written has other guards than what is read: else a stray element that is read and
    written would leave no trace.
    """

    def __init__(self, array, is_constant):
        self.array, self.is_constant = array, is_constant
        self.filling = 0xFF if is_constant else 0x7F
        self.memory = np.full(array.nbytes + 2 * GUARD + 64, self.filling, np.uint8)
        if SANITIZE == "address":
            self.memory = np.empty(array.nbytes, np.uint8)
        start = self.memory.ctypes.data + GUARD
        skew = (array.ctypes.data - start) % 64 if GUARD else 0
        self.first = GUARD + skew
        self.content[...] = _bytes(array)

    @property
    def address(self):
        return self.memory.ctypes.data + self.first

    @property
    def content(self):
        return self.memory[self.first : self.first + self.array.nbytes]

    def release(self, kernel):
        """Look at the guards, and copy back what the kernel wrote."""
        stop = self.first + self.array.nbytes
        outside = self.memory[: self.first], self.memory[stop:]
        if any((guard != self.filling).any() for guard in outside):
            raise EmulatorError(f"{kernel}: wrote outside of an array {self.array.shape}")
        if not self.is_constant:
            _bytes(self.array)[...] = self.content
        elif not np.array_equal(self.content, _bytes(self.array)):
            raise EmulatorError(f"{kernel}: wrote into an array {self.array.shape} that it reads")


def _bytes(array):
    return array.reshape(-1).view(np.uint8)


def _check_sizes(library, kernel, values):
    """Compare what the source was read to declare with what the compiler makes of it."""
    sizes = getattr(library, f"{kernel}_sizes")
    sizes.restype = ctypes.POINTER(ctypes.c_int)
    actual = sizes()
    assert [value.nbytes for value in values] == [actual[i] for i in range(len(values))], kernel
    assert actual[len(values)] == -1, kernel


def _launch(library, kernel, grid, block, shared, values, schedule):
    buffers = [np.asarray(value) for value in values]
    pointers = (ctypes.c_void_p * max(len(buffers), 1))(*(b.ctypes.data for b in buffers))
    three = ctypes.c_uint * 3
    core = _core()
    library.emulator_variables.restype = ctypes.c_void_p
    failed = core.emulator_launch(
        ctypes.cast(getattr(library, f"{kernel}_launch"), ctypes.c_void_p),
        pointers,
        three(*grid, *[1] * (3 - len(grid))),
        three(block, 1, 1),
        ctypes.c_void_p(library.emulator_variables()),
        ctypes.c_size_t(library.emulator_variables_size()),
        ctypes.c_size_t(shared),
        schedule,
        ctypes.c_ulonglong(len(buffers)),
        ctypes.c_size_t(STACK),
    )
    if failed:
        core.emulator_message.restype = ctypes.c_char_p
        raise EmulatorError(f"{kernel}: {core.emulator_message().decode()}")


@cache
def _library(source, real, index):
    """Build a source for these types, or take what was built from the same text."""
    types = {"float32": "float", "float64": "double", "int32": "int", "int64": "long long"}
    # -fno-gnu-unique: static variables of inline functions must not be shared between libraries.
    options = [
        "-fno-gnu-unique", "-ffp-contract=off", "-std=c++17", "-O1", "-g1", "-fPIC", "-w",
        f"-DREAL={types[real.name]}", f"-DINDEX={types[index.name]}", *_SANITIZERS[SANITIZE],
    ]  # fmt: skip
    headers = "".join((HERE / name).read_text() for name in ("cuda.h", "tensor_core.h", "core.h"))
    exports = "".join(f"EMULATOR_KERNEL({name})\n" for name in source.kernels)
    path = BUILD / f"{source.path.stem}-{_key(source.text, headers, exports, options)}.so"
    if not path.exists():
        folders = [f"-I{folder}" for folder in (HERE, source.path.parent, FOLDER)]
        unit = f'#include "cuda.h"\n#include "{source.path}"\n{exports}'
        _build(path, unit, [*options, *folders])
    _core()  # whose functions the library calls
    return ctypes.CDLL(str(path))


@cache
def _core():
    """Build the core, always without sanitizers: it would report its own stacks."""
    text, header = ((HERE / name).read_text() for name in ("core.cpp", "core.h"))
    options = ["-std=c++17", "-O2", "-fPIC"]
    path = BUILD / f"core-{_key(text, header, options)}.so"
    if not path.exists():
        _build(path, text, [*options, f"-I{HERE}"])
    return ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)


def _key(*parts):
    return hashlib.sha256(repr((COMPILER, parts)).encode()).hexdigest()[:20]


def _build(path, text, options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        command = [COMPILER, *options, "-shared", "-x", "c++", "-", "-o", str(made)]
        done = subprocess.run(command, input=text, capture_output=True, text=True)
        if done.returncode:
            raise EmulatorError(f"{path.name}: {done.stderr[-4000:]}")
        os.replace(made, path)
