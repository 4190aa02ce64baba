"""What `fit` asks of its arguments, before the first batch, and what is only likely a mistake."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from minicnn import mistake
from minicnn.nn.module import Module
from minicnn.optim import Optimizer

# Words in the names of metrics, if none of the others is there too.
_LARGER_IS_BETTER = {"accuracy", "acc", "precision", "recall", "f1", "measure", "auc", "map"}
_SMALLER_IS_BETTER = {"error", "loss", "distance"}


def check_kinds(model, train, valid, loss, optimizer, metrics, schedule):
    """Raise where an argument of `fit` is another thing; warn where nothing would be trained."""
    for name, value, kind in (("model", model, Module), ("optimizer", optimizer, Optimizer)):
        if not isinstance(value, kind):
            called = f"{value.__name__} itself, not called" if callable(value) else repr(value)
            raise TypeError(f"fit: {name} is {called:.80}; it takes an object of {kind.__name__}")
    for name, loader in (("train", train), ("valid", valid)):
        # What our data sets have, to be asked by a loader.
        if hasattr(loader, "batch"):
            raise TypeError(
                f"fit: {name} is a {type(loader).__name__}, which yields samples; it takes "
                "batches: DataLoader(dataset, batch_size)"
            )
    if metrics is not None and not (
        isinstance(metrics, Mapping) and all(map(callable, metrics.values()))
    ):
        raise TypeError(
            f"fit: metrics is {metrics!r:.80}; it takes a dict of functions, such as "
            '{"accuracy": accuracy}'
        )
    for name, function in (("loss", loss), ("schedule", schedule)):
        if not (callable(function) or (name, function) == ("schedule", None)):
            raise TypeError(f"fit: {name} is {function!r:.80}; it takes a function")
    stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
    if not any(id(parameter) in stepped for parameter in model.parameters()):
        mistake.likely(
            f"fit: none of the {len(stepped)} parameters of the optimizer is one of this model; "
            "make it from model.parameters()"
        )


def check_folder(checkpoint, resume):
    """Raise where there is no folder to go on in."""
    if resume and checkpoint is None:
        raise ValueError("fit: resume is True; it takes checkpoint, the folder to go on in")
    if checkpoint is not None and Path(checkpoint).is_file():
        raise NotADirectoryError(
            f"fit: checkpoint is {os.fspath(checkpoint)!r}, which is a file; it takes a folder"
        )


def checked_monitor(epochs, valid, metrics, monitor, mode, patience):
    """Return the entry to watch, or None; raise if an argument of `fit` is out of range."""
    if mode not in ("min", "max"):
        raise ValueError(f"fit: mode is {mode!r}; it takes 'min' or 'max'")
    if (
        not isinstance(epochs, (int, np.integer))
        or epochs < 1
        or (patience is not None and not patience >= 0)
    ):
        raise ValueError(
            f"fit: epochs is {epochs!r} and patience {patience!r}; they are 1 and 0 or more"
        )
    if metrics and (valid is None or "loss" in metrics):
        raise ValueError("fit: metrics need valid, and none of them may be called 'loss'")
    if monitor == "valid_loss" and valid is None and patience is None:
        return None
    known = {"train_loss", "lr_factor", "seconds"}
    known |= (
        {f"valid_{name}" for name in ("loss", *(metrics or {}))} if valid is not None else set()
    )
    if monitor is not None and monitor not in known:
        raise ValueError(f"fit: monitor {monitor!r} is not among {', '.join(sorted(known))}")
    words = set((monitor or "").split("_")) - {"valid"}
    if mode == "min" and words & _LARGER_IS_BETTER and not words & _SMALLER_IS_BETTER:
        mistake.likely(
            f"fit: monitor is {monitor!r} and mode 'min', so the epoch where it is smallest counts "
            "as best; mode 'max' takes the largest"
        )
    return monitor
