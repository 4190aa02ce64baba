"""The engine for CuPy arrays: machine code for the GPU at hand, compiled once and kept on disk."""

import contextlib
import hashlib
import os
import tempfile
from functools import cache, partial
from pathlib import Path

import numpy as np

from . import cublas, nvrtc
from .source import FOLDER

UNCAPTURED = "the step cannot be captured, it may look at numbers on the GPU while they are made"
# What a kernel has without asking; more than that it must opt in to [bytes].
SHARED = 48 * 1024
# Of cuFFT, which are kept: a training step takes 6 for a layer, and 16, as CuPy has it, are those
# of fewer layers than CREPE has. To make one takes longer than to use it.
PLANS = 64


@cache
def engine():
    """Return the engine."""
    return CupyEngine()


class CupyEngine:
    """Runs kernels on CuPy's current device and stream."""

    # Enough to fill the largest GPU several times over; beyond that threads loop.
    most_blocks = 1 << 14
    is_wide = False

    def empty(self, like, shape, dtype):
        """Return an array on the device with any content."""
        # The order of another array with as many axes would be kept.
        return np.empty_like(like, shape=shape, dtype=dtype, order="C")

    def cublas(self):
        """Return cuBLAS, or None where there is none."""
        return cublas.of_cupy()

    def fourier(self):
        """Return CuPy's transforms, which keep the plans that were made last for this device."""
        from cupyx.scipy import fft

        plans = _plans()
        if 0 < plans.get_size() < PLANS:
            plans.set_size(PLANS)
        return fft

    def run(self, call, index, grid, block, shared):
        """Launch a kernel; it runs when the stream comes to it."""
        function = _function(call.source, call.kernel, call.real, index, _architecture())
        if shared > SHARED:
            function.max_dynamic_shared_size_bytes = shared
        values = call.packed(index, lambda array, is_constant: array.data.ptr)
        function(grid, (block,), tuple(values), shared_mem=shared)

    def capture(self, step):
        """Return the result of `step()`, and a function that does all its launches once.

        In between nothing is launched. What the step allocates comes from a pool that nobody else
        takes from, so that its memory is the same in each replay.
        """
        import cupy

        pool, stream = cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
        cupy.cuda.get_current_stream().synchronize()
        # What steps outside of graphs have left is not used again.
        cupy.get_default_memory_pool().free_all_blocks()
        with stream, cupy.cuda.using_allocator(pool.malloc):
            stream.begin_capture()
            try:
                try:
                    result = step()
                except BaseException:
                    with contextlib.suppress(RuntimeError):  # if it has failed, it says so again
                        stream.end_capture()
                    raise
                graph = stream.end_capture()
            except RuntimeError as error:  # CUDA's, and CuPy's of what it does not capture
                raise RuntimeError(f"{UNCAPTURED}: {error}") from error
        plans = _plans()
        # From the one that was used longest ago on, so that their order stays as it is.
        kept = [plans[key] for key in reversed([key for key, _ in plans])]
        return result, partial(_replay, graph, pool, kept)


def _plans():
    from cupy.fft.config import get_plan_cache

    return get_plan_cache()


def _replay(graph, pool, plans):
    """Launch a graph on the current stream; its memory is the pool's, and that of cuFFT's plans."""
    graph.launch()


@cache
def _function(source, kernel, real, index, architecture):
    import cupy

    module = cupy.RawModule(path=str(cubin(source, real, index, architecture)))
    return module.get_function(kernel)


def _architecture():
    import cupy

    capability = cupy.cuda.Device().compute_capability
    # Hopper's own instructions are not among those that later architectures have too.
    return f"sm_{capability}a" if capability == "90" else f"sm_{capability}"


def options(real, index):
    """Return the compiler's options for kernels of these types."""
    names = {"float32": "float", "float64": "double", "int32": "int", "int64": "long long"}
    return [
        f"-DREAL={names[np.dtype(real).name]}",
        f"-DINDEX={names[np.dtype(index).name]}",
        f"-I{FOLDER}",
    ]


def cubin(source, real, index, architecture):
    """Return the file with the machine code; compile it if it is not there yet.

    Its name comes from everything that the code depends on: the source with its headers, the types,
    the architecture and the compiler.
    """
    types = f"{np.dtype(real).name}-{np.dtype(index).name}"
    parts = source.text, types, architecture, str(nvrtc.version())
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]
    path = _folder() / f"{source.path.stem}-{types}-{architecture}-{key}.cubin"
    if not path.exists():
        compiled = nvrtc.compile_source(source.path, architecture, options(real, index))
        _write_whole(path, compiled.cubin)
    return path


@cache
def _folder():
    """Return where machine code is kept; a folder of this process if the usual one is read-only."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(home) / "minicnn" / "cubin"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return Path(tempfile.mkdtemp(prefix="minicnn-cubin-"))
    return folder


def _write_whole(path, content):
    """Write a file at once: another process sees all of it or nothing."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    os.replace(file.name, path)
