"""The GPU that everything is measured on: where arrays lie, and a clock that its stream reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.harness import drawn
from minicnn import kernels

try:
    import torch
except ImportError:  # minicnn is measured alone
    torch = None

# Arrays repeat so many random numbers; no extent of an image divides it. To draw each number of
# 200 MB would take longer than to measure with them.
BLOCK = 1_000_003
STEP = 64  # how far arrays begin from each other in the block, in whole pieces of memory [elements]
FLUSHED = 1 << 31  # [bytes], more than any L2 cache; to write it takes a millisecond or so


class Device:
    """Where arrays lie."""

    name: str

    def put(self, array: np.ndarray) -> Any:
        """Return an array on this device."""
        return kernels.to(array, self.name)

    def draw(self, *, seed: int = 0, **shapes: Sequence[int]) -> dict[str, Any]:
        """Return float32 arrays of normal random numbers, the same ones for a seed."""
        block = self.put(drawn(block=(BLOCK,))["block"])
        arrays = {}
        for place, (name, shape) in enumerate(shapes.items()):
            size, start = int(np.prod(shape)), STEP * (place + len(shapes) * seed)
            repeated = np.tile(block, -(-(start + size) // BLOCK))
            arrays[name] = repeated[start : start + size].reshape(shape)
        return arrays

    def releasing(self, run: Callable[[float], Any]) -> Callable[[float], Any]:
        """Return what measures an item, and then gives back what both libraries keep for later."""

        def measured(left):
            try:
                return run(left)
            finally:  # no array of the item lives any more
                self.release()

        return measured

    def release(self) -> None:
        """Give back memory that is kept for later."""


class Gpu(Device):
    """CuPy's current device, and its stream, on which both libraries compute."""

    name = "cuda"

    def __init__(self):
        self._cupy = kernels.cuda.availability.cupy()
        self._flushed = None

    def seconds(self, call: Callable[[], Any], count: int = 1, *, flushed: bool = False) -> float:
        """Return the seconds of a call between two events of the stream.

        Parameters
        ----------
        call : callable
        count : int
            How often it is made, one after the other; the seconds are the average.
        flushed : bool
            Whether nothing is in the L2 cache before. That keeps the stream busy for a moment, in
            which what the call launches lines up: its time is the device's, without Python's.
        """
        cuda = self._cupy.cuda
        start, end = cuda.Event(), cuda.Event()
        if flushed:
            self._flush()
        start.record()
        for _ in range(count):
            call()
        end.record()
        end.synchronize()
        return cuda.get_elapsed_time(start, end) / 1e3 / count

    def synchronize(self) -> None:
        """Wait until the device is idle; raise if it is unusable."""
        self._cupy.cuda.runtime.deviceSynchronize()

    def release(self) -> None:
        """Give back the memory that both libraries keep for later."""
        self.synchronize()
        self._cupy.get_default_memory_pool().free_all_blocks()
        if torch is not None:
            torch.cuda.empty_cache()

    def properties(self) -> dict[str, Any]:
        """Return what CUDA's runtime knows about the device."""
        runtime = self._cupy.cuda.runtime
        return runtime.getDeviceProperties(runtime.getDevice())

    def _flush(self):
        """Write more than the L2 cache holds."""
        if self._flushed is None:
            self._flushed = self._cupy.empty(FLUSHED, np.uint8)
        self._flushed.fill(0)
