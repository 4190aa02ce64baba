"""The lanes: in which precision both sides may multiply, set on both together.

Only in the lane "default" is nothing said to either side, so there their precisions differ: minicnn
multiplies in strict float32, PyTorch's convolutions in TF32 and its matrix products in float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import minicnn as mc

try:
    import torch
except ImportError:  # minicnn is measured alone
    torch = None


@dataclass(frozen=True)
class Lane:
    """One precision on both sides.

    Parameters
    ----------
    name : str
    ours : str or None
        For `mc.set_matmul_precision`; None leaves it alone.
    tf32 : bool or None
        Whether PyTorch's products and convolutions may round factors to TF32; None leaves it alone.
    autocast : bool
        Whether PyTorch computes in bfloat16, activations in memory included.
    layer, outputs, gradients : float
        How far both sides may be apart in the result of one layer, in the outputs or the loss of a
        network, and in all of its gradients together: the norm of the difference by that of
        PyTorch's, which is 1.4 for results that have nothing to do with each other. Gradients are
        compared in float64 besides.
    """

    name: str
    ours: str | None
    tf32: bool | None
    autocast: bool
    layer: float
    outputs: float
    gradients: float

    @property
    def is_default(self) -> bool:
        """Whether nothing is said to either side."""
        return self.ours is None

    @property
    def allowed(self) -> dict[str, float]:
        """How far both sides may be apart, by what is compared of a network."""
        return {"outputs": self.outputs, "loss": self.outputs, "gradients": self.gradients}

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let both sides compute in this lane inside the block."""
        with contextlib.ExitStack() as stack:
            if self.ours is not None:
                stack.callback(mc.set_matmul_precision, mc.get_matmul_precision())
                mc.set_matmul_precision(self.ours)
            if torch is not None and self.tf32 is not None:
                # PyTorch's newer names for the same switches raise where both are used.
                for switches in (torch.backends.cuda.matmul, torch.backends.cudnn):
                    stack.callback(setattr, switches, "allow_tf32", switches.allow_tf32)
                    switches.allow_tf32 = self.tf32
                cudnn = torch.backends.cudnn
                stack.callback(setattr, cudnn, "benchmark", cudnn.benchmark)
                cudnn.benchmark = True  # let cuDNN search for its fastest algorithm
            yield

    def cast(self, device: str) -> AbstractContextManager:
        """Return the block in which PyTorch computes the forward pass."""
        if not self.autocast:
            return contextlib.nullcontext()
        return torch.autocast(device, torch.bfloat16)


# Batch norm magnifies the rounding of all layers before it, in gradients most of all: in float32 up
# to 5 % of them were measured, in bfloat16 more than half.
FLOAT32 = Lane("float32", "float32", False, False, layer=1e-4, outputs=1e-3, gradients=0.2)
DEFAULT = Lane("default", None, None, False, layer=3e-3, outputs=3e-2, gradients=1.2)
TF32 = Lane("TF32", "tf32", True, False, layer=3e-3, outputs=3e-2, gradients=1.2)
BFLOAT16 = Lane("bfloat16", "bfloat16", True, True, layer=3e-2, outputs=0.3, gradients=1.2)
LANES = (FLOAT32, DEFAULT, TF32, BFLOAT16)
