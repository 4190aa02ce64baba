"""The kernels for CuPy arrays: CUDA C++, compiled for the GPU at hand when it is first called.

Each file of the reference has its like here: a .cu file with the kernels, and a .py file that
allocates results and launches. What these do not take, arrays of other types than float32 and
float64 or of several at once, is the reference's.

Nothing is imported before it is asked for, CuPy last of all.
"""

import importlib

from .. import reference

__all__ = reference.__all__

_FILES = "activation", "conv", "dropout", "linear", "loss", "norm", "optim", "pool"


class NoGPUError(RuntimeError):
    """There is no GPU to compute on; the message says what is missing and what to install."""


def __getattr__(name):
    if name in __all__:
        file = getattr(reference, name).__module__.rpartition(".")[2]
        here = importlib.import_module(f".{file}", __name__)
        # All of the file: its import has set the name of the file, which may be a kernel's too.
        names = (kernel for kernel in __all__ if hasattr(here, kernel))
        globals().update({kernel: getattr(here, kernel) for kernel in names})
        return getattr(here, name)
    if name in (*_FILES, "availability", "graph"):
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def sources():
    """Return every source of kernels."""
    from .source import FOLDER, Source

    return [Source(path) for path in sorted(FOLDER.glob("*.cu"))]
