"""Asking for a GPU that is not there: one sentence with what was found and what to install."""

import shutil
import subprocess
import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest
from minicnn.kernels.cuda import availability, driver, nvrtc

import minicnn as mc
from minicnn import kernels, nn

H100 = driver.GPU("NVIDIA H100", (9, 0), 80 << 30)
NEWEST = driver.Driver((13, 0), (H100,))


class CUDARuntimeError(RuntimeError):
    """What CuPy raises, with CUDA's number of the error."""

    def __init__(self, status, text):
        super().__init__(f"{text}: what CUDA says of it")
        self.status = status


class CuPy(types.ModuleType):
    """What this project asks of CuPy before it computes; `answer` is a count of GPUs or an error.

    It has the version and the errors of CuPy 14.2.0 on a machine without a driver.
    """

    def __init__(self, answer, runtime=13020):
        super().__init__("cupy")
        self.__version__, self.moved = "14.2.0", []
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError,
                runtimeGetVersion=lambda: runtime,
                getDeviceCount=self.count,
            )
        )
        self.answer = answer

    def count(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def asarray(self, array):
        self.moved.append(array)
        return array


INSUFFICIENT = CUDARuntimeError(35, "cudaErrorInsufficientDriver")
NO_DEVICE = CUDARuntimeError(100, "cudaErrorNoDevice")


def no_compiler():
    raise ImportError("no NVRTC")


def broken_compiler():
    raise OSError("libnvrtc.so.13: file too short")


@pytest.fixture
def machine(monkeypatch):
    """Return a function that puts these parts in place; without any, a machine that has a GPU."""

    def build(cupy=None, found=NEWEST, compiler=lambda: (13, 0)):
        monkeypatch.setitem(sys.modules, "cupy", cupy)  # None: as if it were not installed
        monkeypatch.setattr(driver, "find", lambda: found)
        monkeypatch.setattr(nvrtc, "version", compiler)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        availability.cupy.cache_clear()
        return cupy

    yield build
    availability.cupy.cache_clear()


CASES = {
    "no CuPy, no driver": (
        dict(found=None),
        "device 'cuda' needs CuPy, which is not installed, and NVIDIA's driver, whose "
        f"{driver.LIBRARY} was not found: install the driver (version 580 or newer), then pip "
        "install 'cupy-cuda13x[ctk]'",
    ),
    "no CuPy, a driver for CUDA 12": (
        dict(found=driver.Driver((12, 8), (H100,))),
        "device 'cuda' needs CuPy, which is not installed; the driver, for CUDA 12.8, sees NVIDIA "
        "H100: pip install 'cupy-cuda12x[ctk]'",
    ),
    "no CuPy, a driver that is newer than all we know": (
        dict(found=driver.Driver((14, 1), (H100, H100))),
        "device 'cuda' needs CuPy, which is not installed; the driver, for CUDA 14.1, sees NVIDIA "
        "H100, NVIDIA H100: pip install 'cupy-cuda13x[ctk]'",
    ),
    "no CuPy, an old driver": (
        dict(found=driver.Driver((11, 4), ())),
        "device 'cuda' needs CuPy, which is not installed; the driver, for CUDA 11.4, sees no GPU: "
        "update it to version 580 or newer, then pip install 'cupy-cuda13x[ctk]'",
    ),
    "no driver": (
        dict(cupy=CuPy(INSUFFICIENT), found=None),
        "device 'cuda' needs NVIDIA's driver: CuPy 14.2.0 is installed, but "
        f"{driver.LIBRARY} was not found; install the driver (version 580 or newer), or give the "
        "container its GPUs (docker run --gpus all)",
    ),
    "no driver, for an older CuPy": (
        dict(cupy=CuPy(INSUFFICIENT, runtime=12090), found=None),
        "device 'cuda' needs NVIDIA's driver: CuPy 14.2.0 is installed, but "
        f"{driver.LIBRARY} was not found; install the driver (version 525 or newer), or give the "
        "container its GPUs (docker run --gpus all)",
    ),
    "a driver that is too old": (
        dict(cupy=CuPy(INSUFFICIENT), found=driver.Driver((12, 4), (H100,))),
        "device 'cuda' needs a newer driver: CuPy 14.2.0 is installed and made for CUDA 13.2, the "
        "driver for 12.4; update it to version 580 or newer, or pip uninstall cupy-cuda13x and pip "
        "install 'cupy-cuda12x[ctk]'",
    ),
    "a driver that is too old for every CuPy": (
        dict(cupy=CuPy(INSUFFICIENT, runtime=12090), found=driver.Driver((11, 4), (H100,))),
        "device 'cuda' needs a newer driver: CuPy 14.2.0 is installed and made for CUDA 12.9, the "
        "driver for 11.4; update it to version 525 or newer",
    ),
    "no GPU": (
        dict(cupy=CuPy(NO_DEVICE), found=driver.Driver((13, 0))),
        "device 'cuda' needs a GPU: CuPy 14.2.0 is installed, and the driver, for CUDA 13.0, sees "
        "no GPU; nvidia-smi lists what there is",
    ),
    "a count of no GPUs": (
        dict(cupy=CuPy(0), found=driver.Driver((13, 0))),
        "device 'cuda' needs a GPU: CuPy 14.2.0 is installed, and the driver, for CUDA 13.0, sees "
        "no GPU; nvidia-smi lists what there is",
    ),
    "a GPU that does not work": (
        dict(
            cupy=CuPy(CUDARuntimeError(802, "cudaErrorSystemNotReady")),
            found=driver.Driver((13, 0), (), "error 802, system not yet initialized"),
        ),
        "device 'cuda' needs a GPU that works: CuPy 14.2.0 is installed, and the driver, for CUDA "
        "13.0, does not start (error 802, system not yet initialized); CUDA says "
        "cudaErrorSystemNotReady: what CUDA says of it",
    ),
    "no NVRTC": (
        dict(cupy=CuPy(1), compiler=no_compiler),
        "device 'cuda' needs NVRTC, NVIDIA's compiler: CuPy 14.2.0 is installed and the driver, "
        "for CUDA 13.0, sees NVIDIA H100, but neither NVIDIA's wheels nor CUDA_PATH nor "
        "/usr/local/cuda has it: pip install 'cupy-cuda13x[ctk]'",
    ),
    "an NVRTC that is too new": (
        dict(cupy=CuPy(1, runtime=12090), found=driver.Driver((12, 8), (H100,))),
        "device 'cuda' needs NVRTC, NVIDIA's compiler: CuPy 14.2.0 is installed and the driver, "
        "for CUDA 12.8, sees NVIDIA H100, but the one that is there is of CUDA 13.0, "
        "and the driver loads code of 12 at most: pip install 'cupy-cuda12x[ctk]'",
    ),
    "a broken NVRTC": (
        dict(cupy=CuPy(1, runtime=12090), compiler=broken_compiler),
        "device 'cuda' needs NVRTC, NVIDIA's compiler: CuPy 14.2.0 is installed and the driver, "
        "for CUDA 13.0, sees NVIDIA H100, but it cannot be loaded (libnvrtc.so.13: file too "
        "short): pip install 'cupy-cuda12x[ctk]'",
    ),
}


@pytest.mark.parametrize(("parts", "sentence"), CASES.values(), ids=CASES.keys())
def test_a_gpu_that_is_not_there_is_one_sentence(machine, parts, sentence):
    machine(**parts)
    model = nn.Sequential(nn.Linear(2, 2))
    for move in (
        lambda: kernels.to(np.zeros(2), "cuda"),
        lambda: mc.Tensor([1.0]).to("cuda"),
        lambda: model.to("cuda"),
    ):
        with pytest.raises(kernels.NoGPUError) as raised:
            move()
        assert str(raised.value) == sentence


def test_a_hidden_gpu_is_suspected(machine, monkeypatch):
    machine(CuPy(NO_DEVICE), driver.Driver((13, 0)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "sees no GPU; CUDA_VISIBLE_DEVICES='' may hide it; nvidia-smi" in (
        availability.survey().missing
    )


def test_a_cupy_that_cannot_be_imported_is_not_called_missing(machine, monkeypatch, tmp_path):
    machine()
    monkeypatch.delitem(sys.modules, "cupy")
    (tmp_path / "cupy.py").write_text(
        "try:\n    raise OSError('libcudart.so.13: cannot open\\nshared object')\n"
        "except OSError as error:\n    raise ImportError('======\\nread this') from error\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert availability.survey().missing == (
        "device 'cuda' needs CuPy, which is installed but cannot be imported (libcudart.so.13: "
        "cannot open shared object): pip install --force-reinstall 'cupy-cuda13x[ctk]'"
    )


def test_where_everything_is_there_it_is_asked_for_once(machine):
    cupy = machine(CuPy(1))
    assert availability.survey() == availability.Survey("14.2.0", (13, 2), NEWEST, (13, 0), "")
    x = np.zeros(2)
    assert kernels.to(x, "cuda") is x
    cupy.answer = NO_DEVICE  # asked again, it would be an error
    assert kernels.to(x, "cuda") is x
    assert len(cupy.moved) == 2


def test_what_was_missing_is_looked_for_again(machine):
    machine(CuPy(1), compiler=no_compiler)
    with pytest.raises(kernels.NoGPUError):
        availability.cupy()
    machine(cupy := CuPy(1))
    assert availability.cupy() is cupy


# A driver with NVIDIA's signatures, for cuda.h's own types: what `driver` asks is answered.
LIBCUDA = r"""
#include <cstddef>
#include <cstdio>
extern "C" {
int cuDriverGetVersion(int* version) { *version = 12080; return 0; }
int cuInit(unsigned flags) { return flags ? 1 : CODE; }
int cuGetErrorString(int code, const char** text) {
  *text = code == 802 ? "system not yet initialized" : nullptr;
  return code == 802 ? 0 : 1;
}
int cuDeviceGetCount(int* count) { *count = 2; return 0; }
int cuDeviceGet(int* device, int index) { *device = index + 40; return 0; }
int cuDeviceGetName(char* name, int size, int device) {
  std::snprintf(name, size, "GPU %d", device);
  return 0;
}
int cuDeviceTotalMem_v2(size_t* bytes, int device) { *bytes = 80ull << 30; return 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) {
  *value = attribute == 75 ? 9 : attribute == 76 ? device - 40 : -1;
  return 0;
}
}
"""


@pytest.mark.skipif(not shutil.which("g++"), reason="a driver is built by g++")
@pytest.mark.parametrize(
    ("code", "gpus", "trouble"),
    [
        (0, [("GPU 40", (9, 0), 80 << 30), ("GPU 41", (9, 1), 80 << 30)], ""),
        (100, [], ""),
        (802, [], "error 802, system not yet initialized"),
        (3, [], "error 3"),
    ],
)
def test_the_driver_is_asked_without_cupy(code, gpus, trouble, tmp_path, monkeypatch):
    (tmp_path / "driver.cpp").write_text(LIBCUDA)
    library = tmp_path / "libdriver.so"
    command = ["g++", "-shared", "-fPIC", f"-DCODE={code}", tmp_path / "driver.cpp", "-o", library]
    subprocess.run(command, check=True)
    monkeypatch.setattr(driver, "LIBRARY", str(library))
    assert driver.find() == driver.Driver((12, 8), tuple(gpus), trouble)


def test_a_machine_without_a_driver_has_none(monkeypatch):
    monkeypatch.setattr(driver, "LIBRARY", "libthereisnone.so.1")
    assert driver.find() is None


def test_a_model_stays_where_it_is_when_the_gpu_is_missing(machine):
    machine(found=None)
    model = nn.Linear(2, 2)
    before = model.weight.data
    with pytest.raises(kernels.NoGPUError):
        model.to("cuda")
    assert model.weight.data is before
