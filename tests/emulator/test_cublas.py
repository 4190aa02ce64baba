"""cuBLAS through ctypes: what it is asked arrives in C, with the stream and the memory of CuPy."""

import ctypes
import shutil
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from minicnn.kernels import reference
from minicnn.kernels.cuda import blas, cublas, module

from minicnn import kernels
from tests.emulator.cublas import HANDLE

# A cuBLAS of float32 in plain C, whose functions are declared as NVIDIA's header does it.
PLAIN = """
#include <stddef.h>
#include <string.h>
static void *stream, *memory; static size_t room;
const char *cublasGetStatusString(int status) { return status == 7 ? "invalid value" : "other"; }
int cublasSetStream_v2(void *handle, void *given) {
  stream = given; memory = 0; room = 0;
  return handle ? 0 : 7;
}
int cublasSetWorkspace_v2(void *handle, void *given, size_t bytes) {
  memory = given; room = bytes;
  return handle ? 0 : 7;
}
void seen(void **places, size_t *bytes) {
  places[0] = stream; places[1] = memory; *bytes = room;
}
int cublasGemmStridedBatchedEx(
    void *handle, int transa, int transb, int m, int n, int k, const void *alpha,
    const void *A, int Atype, int lda, long long strideA,
    const void *B, int Btype, int ldb, long long strideB, const void *beta,
    void *C, int Ctype, int ldc, long long strideC, int batchCount, int computeType, int algo) {
  if (!handle || Atype || Btype || Ctype || computeType != 68 || algo != -1) return 7;
  const float *a = A, *b = B, *x = alpha, *y = beta;
  float *c = C;
  for (int batch = 0; batch < batchCount; batch++, a += strideA, b += strideB, c += strideC)
    for (int i = 0; i < m; i++)
      for (int j = 0; j < n; j++) {
        float sum = 0;
        for (int l = 0; l < k; l++)
          sum += a[transa ? i * lda + l : l * lda + i] * b[transb ? l * ldb + j : j * ldb + l];
        c[j * ldc + i] = *x * sum + (*y ? *y * c[j * ldc + i] : 0);
      }
  return 0;
}
int cublasGemmEx(
    void *handle, int transa, int transb, int m, int n, int k, const void *alpha,
    const void *A, int Atype, int lda, const void *B, int Btype, int ldb, const void *beta,
    void *C, int Ctype, int ldc, int computeType, int algo) {
  return cublasGemmStridedBatchedEx(
      handle, transa, transb, m, n, k, alpha, A, Atype, lda, 0, B, Btype, ldb, 0, beta,
      C, Ctype, ldc, 0, 1, computeType, algo);
}
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Return where a cuBLAS of float32 in plain C lies."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc")
    source = tmp_path_factory.mktemp("cublas") / "plain.c"
    source.write_text(PLAIN)
    path = source.with_suffix(".so")
    subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", path], check=True)
    return path


@pytest.fixture
def cupy(monkeypatch):
    """Return a function that puts in place what is asked of CuPy, with cuBLAS there, or nowhere."""

    def put(path=None):
        names = (
            "cupy", "cupy.cuda", "cupy_backends", "cupy_backends.cuda", "cupy_backends.cuda.libs",
            "cuda", "cuda.pathfinder",
        )  # fmt: skip
        modules = {name: ModuleType(name) for name in names}
        if path:
            modules["cupy_backends.cuda.libs.cublas"] = ModuleType("cublas")
        for name, imitation in modules.items():
            monkeypatch.setitem(sys.modules, name, imitation)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(modules[parent], child, imitation)
        cuda = modules["cupy.cuda"]
        cuda.get_current_stream = lambda: SimpleNamespace(ptr=0x57)
        cuda.device = SimpleNamespace(get_cublas_handle=lambda: HANDLE)
        cuda.alloc = lambda size: SimpleNamespace(ptr=0xA110C)
        found = SimpleNamespace(abs_path=str(path))
        modules["cuda.pathfinder"].load_nvidia_dynamic_lib = {"cublas": found}.__getitem__

    cublas._binding.cache_clear()
    yield put
    cublas._binding.cache_clear()


def test_products_are_called_with_a_stream_and_a_workspace_of_cupys(cupy, plain):
    cupy(plain)
    library = module.CupyEngine().cublas()
    assert library.address(SimpleNamespace(data=SimpleNamespace(ptr=512))) == 512
    places, size = (ctypes.c_void_p * 2)(), ctypes.c_size_t()
    ctypes.CDLL(str(plain)).seen(places, ctypes.byref(size))
    assert (*places, size.value) == (0x57, 0xA110C, cublas.WORKSPACE)


@pytest.mark.parametrize("name", ["linear", "a batch of images"])
def test_arguments_reach_c_in_the_order_of_its_declaration(emulate, monkeypatch, cupy, plain, name):
    cupy(plain)
    monkeypatch.setattr(blas, "LEAST", 0)
    rng = np.random.default_rng(0)
    library = module.CupyEngine().cublas()
    emulator = emulate(cublas=SimpleNamespace(library=lambda: library._replace(address=place)))
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)  # noqa: E731
    if name == "linear":
        arguments, options = (draw(4, 5), draw(3, 5), draw(3)), {}
        function = "linear"
    else:
        arguments, function = (draw(4, 5, 2, 3), draw(6, 5, 1, 1), draw(6)), "conv2d"
        options = dict(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1)
    ours = getattr(kernels.cuda, function)(*arguments, **options)
    assert np.allclose(ours, getattr(reference, function)(*arguments, **options), atol=1e-5)
    assert emulator.launched == {"add_bias"}


def place(array):
    """Return where an array of the host begins."""
    return array.ctypes.data


def test_a_status_other_than_success_is_an_error_that_names_it(cupy, plain):
    cupy(plain)
    with pytest.raises(RuntimeError, match="^cublasSetStream_v2: invalid value$"):
        module.CupyEngine().cublas().binding.setStream(None, 0x57)


def test_without_cublas_our_own_products_run_and_that_is_said_once(cupy):
    cupy()
    with pytest.warns(RuntimeWarning, match=r"cuBLAS is not there .*, so minicnn's own matrix"):
        assert module.CupyEngine().cublas() is None
    assert module.CupyEngine().cublas() is None  # any warning here is an error
