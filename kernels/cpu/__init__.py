"""The kernels for NumPy arrays: compiled by Numba where that is faster, else the reference itself.

Everything is loaded when it is first asked for, because importing Numba takes longer than importing
all of minicnn. Compiled code is kept on disk, beside these files.
"""

import functools
import importlib
import os
import warnings

from .. import reference

__all__ = reference.__all__

# The files of the reference that have their like here, some with another beside them; what these do
# not hold is the reference's.
_FILES = {
    file: [file] for file in ("activation", "conv", "dropout", "linear", "loss", "norm", "optim")
}
_FILES["pool"] = ["pool", "window"]


def __getattr__(name):
    if name in __all__:
        file = _file(name)
        files = _FILES.get(file, ()) if is_compiled() else ()
        here = [*(importlib.import_module(f".{part}", __name__) for part in files), reference]
        # All of the file: its import has set the name of the file, which may be a kernel's too.
        for kernel in (kernel for kernel in __all__ if _file(kernel) == file):
            globals()[kernel] = next(getattr(part, kernel) for part in here if kernel in vars(part))
        return globals()[name]
    if name in _FILES:
        return importlib.import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _file(name):
    """Return the file of the reference that defines a kernel."""
    return getattr(reference, name).__module__.rpartition(".")[2]


@functools.cache
def is_compiled():
    """Return whether Numba works here, and say once if it does not."""
    reason = why_not_compiled()
    if not reason:
        return True
    warnings.warn(
        f"minicnn runs on its reference kernels, which are slow: {reason}",
        RuntimeWarning,
        stacklevel=3,
    )
    return False


def why_not_compiled():
    """Return why the reference kernels run here; "" where Numba works."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return "NUMBA_DISABLE_JIT is set"
    try:
        importlib.import_module("numba")
    except ImportError as error:
        return f"Numba cannot be imported ({error})"
    return ""
