"""Whether there is a GPU to compute on, and if not, what is missing and what to install.

Four things must be there: CuPy, NVIDIA's driver, a GPU, and NVIDIA's compiler NVRTC. Whoever asks
for the device "cuda" is told of the first that is not, in one sentence.
"""

import importlib
import os
from functools import cache
from typing import Any, NamedTuple

from . import NoGPUError, driver, nvrtc

# The first driver that runs a CUDA of this major version, from NVIDIA's release notes of CUDA
# 12.0 and 13.0.
_FIRST_DRIVER = {12: 525, 13: 580}
_NEWEST = max(_FIRST_DRIVER)
# The codes of CUDA's runtime: the driver is missing or too old, and there is no GPU.
_INSUFFICIENT_DRIVER, _NO_DEVICE = 35, 100


class Survey(NamedTuple):
    """What was found on the way to a GPU; None for what is not there.

    Attributes
    ----------
    cupy : str
        The version of CuPy.
    runtime : (major, minor)
        Of the CUDA that CuPy is made for.
    driver : Driver
    nvrtc : (major, minor)
    missing : str
        In one sentence what was looked for, what was found and what to install; "" if a GPU can be
        computed on.
    """

    cupy: str | None
    runtime: tuple[int, int] | None
    driver: driver.Driver | None
    nvrtc: tuple[int, int] | None
    missing: str


@cache
def cupy() -> Any:
    """Return CuPy, which has a GPU to compute on.

    Raises
    ------
    NoGPUError
        If anything is missing.
    """
    missing = survey().missing
    if missing:
        raise NoGPUError(missing)
    return importlib.import_module("cupy")


def survey() -> Survey:
    """Look for everything that the device "cuda" needs."""
    found, library, trouble = driver.find(), None, ""
    try:
        library = importlib.import_module("cupy")
    except ImportError as error:
        if not (isinstance(error, ModuleNotFoundError) and error.name == "cupy"):
            trouble = _in_one_line(error.__cause__ or error)
    compiler, flaw = _compiler(found)
    if library is None:
        return Survey(None, None, found, compiler, _without_cupy(found, trouble))
    runtime = driver.release(library.cuda.runtime.runtimeGetVersion())
    missing = _without_device(library, runtime, found) or (
        _without_compiler(library, runtime, found, flaw) if compiler is None else ""
    )
    return Survey(library.__version__, runtime, found, compiler, missing)


def _compiler(found):
    """Return the compiler's version, or None and what is wrong with it."""
    try:
        version = nvrtc.version()
        if found is not None and version[0] > found.cuda[0]:
            versions = f"of CUDA {dotted(version)}, and the driver loads code of {found.cuda[0]}"
            return None, f"the one that is there is {versions} at most"
        return version, ""
    except ImportError:
        return None, "neither NVIDIA's wheels nor CUDA_PATH nor /usr/local/cuda has it"
    except OSError as error:
        return None, f"it cannot be loaded ({_in_one_line(error)})"


def _without_cupy(found, trouble):
    """Return the sentence where CuPy is not installed, or cannot be imported."""
    wheel = wheel_for(found)
    if trouble:
        return (
            f"device 'cuda' needs CuPy, which is installed but cannot be imported ({trouble}): "
            f"pip install --force-reinstall {wheel}"
        )
    if found is None:
        return (
            "device 'cuda' needs CuPy, which is not installed, and NVIDIA's driver, whose "
            f"{driver.LIBRARY} was not found: install the driver ({_first(_NEWEST)}), then "
            f"pip install {wheel}"
        )
    is_old = found.cuda[0] < min(_FIRST_DRIVER)
    update = f"update it to {_first(_NEWEST)}, then " if is_old else ""
    return (
        f"device 'cuda' needs CuPy, which is not installed; {_text(found)}: "
        f"{update}pip install {wheel}"
    )


def _without_device(library, runtime, found):
    """Return the sentence where CuPy finds no GPU."""
    here = f"CuPy {library.__version__} is installed"
    try:
        if library.cuda.runtime.getDeviceCount():
            return ""
        code, said = _NO_DEVICE, ""
    except library.cuda.runtime.CUDARuntimeError as error:
        code, said = error.status, _in_one_line(error)
    if code == _INSUFFICIENT_DRIVER and found is None:
        return (
            f"device 'cuda' needs NVIDIA's driver: {here}, but {driver.LIBRARY} was not found; "
            f"install the driver ({_first(runtime[0])}), or give the container its GPUs "
            "(docker run --gpus all)"
        )
    if code == _INSUFFICIENT_DRIVER:
        older = f"cupy-cuda{found.cuda[0]}x"
        instead = f", or pip uninstall cupy-cuda{runtime[0]}x and pip install '{older}[ctk]'"
        return (
            f"device 'cuda' needs a newer driver: {here} and made for CUDA {dotted(runtime)}, the "
            f"driver for {dotted(found.cuda)}; update it to {_first(runtime[0])}"
            + (instead if found.cuda[0] in _FIRST_DRIVER and found.cuda[0] < runtime[0] else "")
        )
    if code == _NO_DEVICE:
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
        return (
            f"device 'cuda' needs a GPU: {here}, and {_text(found)}; "
            + ("" if hidden is None else f"CUDA_VISIBLE_DEVICES={hidden!r} may hide it; ")
            + "nvidia-smi lists what there is"
        )
    return f"device 'cuda' needs a GPU that works: {here}, and {_text(found)}; CUDA says {said}"


def _without_compiler(library, runtime, found, flaw):
    """Return the sentence where only the compiler is missing."""
    return (
        f"device 'cuda' needs NVRTC, NVIDIA's compiler: CuPy {library.__version__} is installed "
        f"and {_text(found)}, but {flaw}: pip install 'cupy-cuda{runtime[0]}x[ctk]'"
    )


def wheel_for(found):
    """Return what to give pip, so that it installs CuPy for this driver, None for no driver."""
    major = _NEWEST if found is None or found.cuda[0] not in _FIRST_DRIVER else found.cuda[0]
    return f"'cupy-cuda{major}x[ctk]'"


def dotted(version):
    """Return a version as it is written."""
    return ".".join(map(str, version))


def _first(major):
    """Return which driver a version of CUDA needs."""
    number = _FIRST_DRIVER.get(major)
    return f"version {number} or newer" if number else f"one for CUDA {major}"


def _text(found):
    """Return what the driver is made for and sees."""
    if found is None:
        return "CUDA's runtime is without a driver"
    gpus = ", ".join(gpu.name for gpu in found.gpus) or "no GPU"
    sees = f"does not start ({found.trouble})" if found.trouble else f"sees {gpus}"
    return f"the driver, for CUDA {dotted(found.cuda)}, {sees}"


def _in_one_line(error):
    return " ".join(str(error).split())[:200]
