"""The training loop: epochs, validation, early stopping, log and checkpoints, as one function.

A checkpoint folder holds `last.safetensors` (everything that the next epoch depends on),
`best.safetensors` (the weights of the best epoch so far) and `log.jsonl` (one record per epoch).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from minicnn import kernels
from minicnn.autograd import Tensor, no_grad
from minicnn.checkpoint import load, save, written_whole
from minicnn.nn.module import Module
from minicnn.optim import Optimizer, Schedule, clip_grad_norm
from minicnn.rng import generator

Record = dict[str, Any]


def fit(
    model: Module,
    train: Iterable,
    loss: Callable,
    optimizer: Optimizer,
    *,
    epochs: int,
    valid: Iterable | None = None,
    metrics: Mapping[str, Callable] | None = None,
    schedule: Schedule | None = None,
    max_grad_norm: float | None = None,
    monitor: str = "valid_loss",
    mode: str = "min",
    patience: int | None = None,
    checkpoint: str | os.PathLike | None = None,
    resume: bool = False,
    progress: bool = True,
) -> list[Record]:
    """Train a model, and leave it in evaluation mode with the weights of its best epoch.

    Parameters
    ----------
    model : Module
    train, valid : iterable of batches
        Usually a `DataLoader`; a batch is a tuple of arrays, the last of them the target.
    loss : callable
        `loss(outputs, target)` returns a tensor of one element.
    optimizer : Optimizer
    epochs : int
        How many epochs the whole run has, also when it is resumed.
    metrics : mapping from name to callable, optional
        `metric(outputs, targets)` gets the arrays of the whole validation set and returns a number.
    schedule : callable, optional
        The factor of the learning rate at a time in epochs, see `minicnn.optim`; it is asked before
        every step.
    max_grad_norm : float, optional
        Where to clip the norm of all gradients together.
    monitor : str
        The record's entry that decides which epoch is best, where there is such an entry. Without
        one the weights of the last epoch stay.
    mode : "min" or "max"
        Whether a smaller or a larger `monitor` is better.
    patience : int, optional [epochs]
        Stop after more than this many epochs without a better one.
    checkpoint : path-like, optional
        A folder for checkpoints and log.
    resume : bool
        Go on with the run in `checkpoint`, if there is one: the weights become the very ones, bit
        for bit, that a run without interruption would have had.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    list of dict
        One record per epoch: "epoch" (from 1), "lr_factor", "train_loss" (the mean over the epoch's
        samples, while they were trained on), "valid_loss", "valid_<metric>" and "seconds".

    Raises
    ------
    FileExistsError
        If `checkpoint` already holds a run and `resume` is False.
    FloatingPointError
        If a loss is not finite, with epoch and step. Checkpoints of earlier epochs are untouched.
    ValueError
        If the checkpoint does not fit, there are no batches, or an argument is out of range.
    """
    if mode not in ("min", "max"):
        raise ValueError(f"fit: mode is {mode!r}; it takes 'min' or 'max'")
    if patience is not None and valid is None:
        raise ValueError("fit: patience counts epochs without a better validation; valid is None")
    folder = None if checkpoint is None else Path(checkpoint)
    history: list[Record] = []
    if folder is not None:
        history = _begin(folder, resume, model, optimizer, train, valid)
    best_weights: dict[str, Any] = {}
    with _progress_bar(train, epochs, len(history), progress) as bar:
        while len(history) < epochs and not _exhausted(history, monitor, mode, patience):
            started = time.perf_counter()
            bar.set_description(f"epoch {len(history) + 1}/{epochs}")
            model.train()
            train_loss = _train_epoch(
                model, train, loss, optimizer, schedule, max_grad_norm, monitor, history, bar
            )
            record: Record = {"epoch": len(history) + 1, "train_loss": train_loss}
            record["lr_factor"] = optimizer.lr_factor
            if valid is not None:
                scores = evaluate(model, valid, loss, metrics)
                _check_finite(scores["loss"], "validation loss", history)
                record |= {f"valid_{name}": score for name, score in scores.items()}
            record["seconds"] = time.perf_counter() - started
            history.append(record)
            is_best = monitor in record and _best(history, monitor, mode) == len(history) - 1
            if folder is not None:
                _keep(folder, is_best, model, optimizer, train, valid, history)
            elif is_best:
                best_weights = {name: array.copy() for name, array in model.state_dict().items()}
    if folder is not None and any(monitor in record for record in history):
        best_weights = load(folder / "best.safetensors")
    if best_weights:
        model.load_state_dict(best_weights)
    model.eval()
    return history


def evaluate(
    model: Module, batches: Iterable, loss: Callable, metrics: Mapping[str, Callable] | None = None
) -> dict[str, float]:
    """Return the loss and the metrics of a model, in evaluation mode, over all batches.

    Parameters
    ----------
    model : Module
    batches : iterable of batches
    loss : callable
    metrics : mapping from name to callable, optional
        All as in `fit`.

    Returns
    -------
    dict
        "loss", the mean over all samples, and one entry per metric.

    Raises
    ------
    ValueError
        If there are no batches.
    """
    was_training = model.training
    model.eval()
    total, count, outputs, targets = 0.0, 0, [], []
    with no_grad():
        for batch in batches:
            inputs, target = _tensors(batch, model)
            output = model(*inputs)
            total += float(loss(output, target)) * len(target)
            count += len(target)
            if metrics:
                outputs.append(output.numpy())
                targets.append(kernels.to(target, "cpu"))
    model.train(was_training)
    if not count:
        raise ValueError("evaluate: there are no batches")
    scores = {"loss": total / count}
    for name, metric in (metrics or {}).items():
        scores[name] = float(metric(np.concatenate(outputs), np.concatenate(targets)))
    return scores


def _train_epoch(model, train, loss, optimizer, schedule, max_grad_norm, monitor, history, bar):
    """Take one step for each batch, and return the mean loss over the samples."""
    monitored = [record[monitor] for record in history if monitor in record]
    steps = len(train) if hasattr(train, "__len__") else math.inf
    total, count = 0.0, 0
    for step, batch in enumerate(train):
        if schedule is not None:
            optimizer.lr_factor = schedule(len(history) + step / steps, monitored)
        inputs, target = _tensors(batch, model)
        value = loss(model(*inputs), target)
        number = float(value)
        _check_finite(number, "loss", history, step)
        optimizer.zero_grad()
        value.backward()
        if max_grad_norm is not None:
            clip_grad_norm(model.parameters(), max_grad_norm)
        optimizer.step()
        total, count = total + number * len(target), count + len(target)
        bar.set_postfix(loss=f"{number:.4f}", **_shown(history), refresh=False)
        bar.update()
    if not count:
        raise ValueError("fit: train yields no batches")
    return total / count


def _progress_bar(train, epochs, done, shown):
    """Return a bar over the steps of the whole run, or over an unknown number of them."""
    steps = len(train) if hasattr(train, "__len__") else 0
    return tqdm(
        total=steps * epochs or None,
        initial=steps * done,
        disable=not shown,
        dynamic_ncols=True,
        unit="step",
    )


def _tensors(batch, model):
    """Return the inputs of a batch as tensors and its target as an array, on the model's device."""
    parameter = next(model.parameters(), None)
    on_cpu = parameter is None or isinstance(parameter.data, np.ndarray)
    arrays = [a.data if isinstance(a, Tensor) else a for a in batch]
    *inputs, target = (kernels.to(array, "cpu" if on_cpu else "cuda") for array in arrays)
    return [Tensor(array) for array in inputs], target


def _check_finite(value, name, history, step=None):
    """Raise where the loss is not finite, and say when."""
    if not math.isfinite(value):
        where = f"epoch {len(history) + 1}" + ("" if step is None else f", step {step + 1}")
        raise FloatingPointError(
            f"fit: the {name} is {value} at {where}; a smaller learning rate or max_grad_norm may "
            f"help; checkpoints of the {len(history)} epochs before are as they were"
        )


def _best(history, monitor, mode):
    """Return the index of the best record so far, the first of equals."""
    chosen = [i for i, record in enumerate(history) if monitor in record]
    return (min if mode == "min" else max)(chosen, key=lambda i: history[i][monitor])


def _exhausted(history, monitor, mode, patience):
    """Return whether the best epoch lies more than `patience` epochs back."""
    if patience is None or not history:
        return False
    if monitor not in history[-1]:
        raise ValueError(f"fit: monitor {monitor!r} is not among {', '.join(history[-1])}")
    return len(history) - 1 - _best(history, monitor, mode) > patience


def _shown(history):
    """Return the scores of the last epoch for the progress bar."""
    last = history[-1] if history else {}
    return {name: f"{value:.4f}" for name, value in last.items() if name.startswith("valid_")}


def _begin(folder, resume, model, optimizer, train, valid):
    """Return the history of the run in this folder, restored if asked for, or an empty one."""
    last = folder / "last.safetensors"
    state = load(last) if last.exists() else None
    if state is None or (state.get("history") == [] and not resume):
        # A run that is interrupted in its first epoch must begin with the same weights again.
        _keep(folder, False, model, optimizer, train, valid, [])
        return []
    if not resume:
        raise FileExistsError(
            f"fit: {str(folder)!r} already holds a run; pass resume=True or another folder"
        )
    if missing := [
        name for name in ("history", "generators", "loaders", "optimizer") if name not in state
    ]:
        raise ValueError(
            f"fit: {str(last)!r} is no checkpoint of fit; it lacks {', '.join(missing)}"
        )
    model.load_state_dict(_below("model.", state))
    optimizer.load_state_dict({**_below("optimizer.", state), **state["optimizer"]})
    generators = _generators(model)
    if generators.keys() != state["generators"].keys():
        raise ValueError(
            f"fit: {str(last)!r} has the random streams {sorted(state['generators'])}, "
            f"the model {sorted(generators)}"
        )
    for name, source in generators.items():
        source.bit_generator.state = state["generators"][name]
    for loader, kept in zip((train, valid), state["loaders"], strict=True):
        if kept is not None:
            loader.load_state_dict(kept)
    _write_log(folder, state["history"])
    return state["history"]


def _keep(folder, is_best, model, optimizer, train, valid, history):
    """Write the checkpoints and the log of the epoch that just ended.

    The best weights first: a run killed in between repeats the epoch and writes the same again.
    """
    weights = model.state_dict()
    if is_best:
        save(folder / "best.safetensors", weights)
    progress = optimizer.state_dict()
    arrays = {name: value for name, value in progress.items() if hasattr(value, "shape")}
    state: dict[str, Any] = {
        **{f"model.{name}": array for name, array in weights.items()},
        **{f"optimizer.{name}": array for name, array in arrays.items()},
        "optimizer": {name: value for name, value in progress.items() if name not in arrays},
        "generators": {n: source.bit_generator.state for n, source in _generators(model).items()},
        "loaders": [
            loader.state_dict() if hasattr(loader, "state_dict") else None
            for loader in (train, valid)
        ],
        "history": history,
    }
    save(folder / "last.safetensors", state)
    _write_log(folder, history)


def _write_log(folder, history):
    """Write one line per epoch: all of them, so that log and checkpoint never disagree."""
    with written_whole(folder / "log.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(record) + "\n" for record in history))


def _generators(model):
    """Return every stream of random numbers that training draws from, by name."""
    own = {name: vars(module).get("rng") for name, module in model.named_modules()}
    drawn = {
        f"model.{name}": rng for name, rng in own.items() if isinstance(rng, np.random.Generator)
    }
    return {"default": generator(), **drawn}


def _below(prefix, state):
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
