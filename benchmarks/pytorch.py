"""PyTorch's side of the networks: a training step and an inference in each of its modes.

A mode is how a user may run the same network: as it comes, with images in PyTorch's second layout,
or compiled. Fused Adam is none of them but a setting, see `benchmarks.tuned`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from benchmarks.networks import LEARNING_RATE, Network
from benchmarks.twins import TWINS
from minicnn import nn

LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "classes": functional.cross_entropy,
    "tags": functional.binary_cross_entropy_with_logits,
    "factors": functional.mse_loss,
}


class WithoutDropout(TorchFunctionMode):
    """Let all through in this block: the two libraries draw different masks."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        """Run a function of PyTorch, unless it is dropout."""
        return args[0] if function is functional.dropout else function(*args, **(kwargs or {}))


def modes(model: torch.nn.Module | nn.Module, *, compiled: bool) -> list[str]:
    """Return in which modes a network or its twin can run: sequences have one layout only."""
    images = any(parameter.ndim == 4 for parameter in model.parameters())
    return ["default", *["channels_last"] * images, *["compiled"] * compiled]


def build(network: Network, state: Mapping[str, np.ndarray]) -> torch.nn.Module:
    """Return the twin with a copy of these weights, in their dtype."""
    with torch.device("meta"):  # draws no weights, which would take longer than all of the rest
        twin = TWINS[network.model](**network.options)
    copies = {name: torch.from_numpy(np.array(array)) for name, array in state.items()}
    twin.load_state_dict(copies, assign=True)
    return twin.requires_grad_()


def training(
    network: Network,
    twin: torch.nn.Module,
    x: np.ndarray,
    target: np.ndarray,
    mode: str,
    *,
    fused: bool = False,
    capturable: bool = False,
    device: str = "cpu",
    autocast: Callable[[], AbstractContextManager] = contextlib.nullcontext,
) -> Callable[[], tuple[torch.Tensor]]:
    """Return a training step, which returns the loss, with Adam as it comes or fused.

    With `capturable` Adam counts its steps on the device, which a CUDA graph needs. The forward
    pass and the loss are computed inside `autocast()`.
    """
    run, inputs = _in_mode(twin.to(device), x, mode)
    inputs, targets = inputs.to(device), torch.from_numpy(target).to(device)
    # None leaves the choice to PyTorch, as users do: on the CPU it takes a loop over parameters.
    optimizer = torch.optim.Adam(
        twin.parameters(), lr=LEARNING_RATE, fused=fused or None, capturable=capturable
    )

    def step():
        optimizer.zero_grad()
        with autocast():
            loss = LOSSES[network.task](run(inputs), targets)
        loss.backward()
        optimizer.step()
        return (loss,)

    return step


def inference(
    twin: torch.nn.Module,
    x: np.ndarray,
    mode: str,
    *,
    device: str = "cpu",
    autocast: Callable[[], AbstractContextManager] = contextlib.nullcontext,
) -> Callable[[], tuple[torch.Tensor]]:
    """Return an inference, which returns the logits; it computes inside `autocast()`."""
    run, inputs = _in_mode(twin.eval().to(device), x, mode)
    inputs = inputs.to(device)

    def infer():
        with torch.inference_mode(), autocast():
            return (run(inputs),)

    return infer


def _in_mode(twin, x, mode):
    """Return what runs the network, and the input for it; the twin takes the layout of the mode."""
    inputs = torch.from_numpy(x)
    if mode == "compiled":
        torch.compiler.reset()  # or the networks before would stay in memory with their code
        return torch.compile(twin), inputs
    if mode == "channels_last":
        twin.to(memory_format=torch.channels_last)
        if inputs.ndim == 4:
            inputs = inputs.to(memory_format=torch.channels_last)
    return twin, inputs
