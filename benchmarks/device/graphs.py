"""A step as one CUDA graph: launched as a whole, without Python between its kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

WARMING = 3  # before a capture, as PyTorch's documentation has it


def ours(step: Callable[[], Any]) -> Callable[[], Any] | str:
    """Return a step of minicnn as a graph, or why there is none: the only place that makes one.

    Parameters
    ----------
    step : callable
        From `networks.training` or `networks.inference`, on the GPU.
    """
    return "not available: minicnn captures no step as a CUDA graph"


def theirs(step: Callable[[], Any], device: str) -> Callable[[], Any] | str:
    """Return a step of PyTorch as a graph, or why there is none."""
    import torch

    if device != "cuda":
        return "not available: graphs are CUDA's"
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
        return f"not captured: {' '.join(str(error).split())[:200]}"

    def replay():
        graph.replay()
        return results

    return replay
