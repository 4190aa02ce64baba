"""A step as one CUDA graph: launched as a whole, without Python between its kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minicnn import kernels

NO_CUDA = "not available: graphs are CUDA's"
WARMING = 3  # before a capture, as PyTorch's documentation has it


def ours(
    step: Callable[..., Any], arrays: Sequence[Any], device: str
) -> Callable[[], Sequence[Any]] | str:
    """Return a step of minicnn as `mc.fit(cuda_graph=True)` captures it, or why there is none.

    Parameters
    ----------
    step : callable
        From `networks.step` or `networks.inferred`.
    arrays : sequence of arrays
        What it is given each time; as in training, they are copied to where the graph reads them.
    device : str
    """
    if device != "cuda":
        return NO_CUDA
    captured = kernels.cuda.graph.ByShape(step)
    try:
        for _ in range(2):  # the second call captures
            captured(*arrays)
    except (RuntimeError, MemoryError) as error:
        return _refused(error)
    return lambda: (captured(*arrays),)


def theirs(step: Callable[[], Any], device: str) -> Callable[[], Any] | str:
    """Return a step of PyTorch as a graph, or why there is none."""
    import torch

    if device != "cuda":
        return NO_CUDA
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARMING):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph):
            results = step()
    except RuntimeError as error:
        return _refused(error)

    def replay():
        graph.replay()
        return results

    return replay


def _refused(error):
    return f"not captured: {' '.join(str(error).split())[:200]}"
