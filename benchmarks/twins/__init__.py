"""PyTorch's side of every network of `minicnn.models`: the same options and names of parameters.

Each twin is written from the paper, not from our model, and returns logits. Spectrograms are
(N, C, frequency, time) and waveforms (N, 1, samples).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

import torch

TWINS: dict[str, Callable[..., torch.nn.Module]] = {}
for _file in pkgutil.iter_modules(__path__):
    TWINS.update(importlib.import_module(f"{__name__}.{_file.name}").TWINS)
