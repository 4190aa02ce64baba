"""The training loop: epochs, validation, early stopping, log and checkpoints, as one function.

A checkpoint folder holds `last.safetensors` (everything that the next epoch depends on),
`best.safetensors` (the weights of the best epoch so far) and `log.jsonl` (one record per epoch).
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import kernels
from minicnn.autograd import Tensor, no_grad
from minicnn.checkpoint import held, load, save, written_whole
from minicnn.kernels import memory
from minicnn.nn.module import Buffer, Module
from minicnn.optim import Optimizer, Schedule, clip_grad_norm
from minicnn.rng import generator

Record = dict[str, Any]


@dataclass(frozen=True)
class _Run:
    """What a run consists of, beside its history."""

    model: Module
    optimizer: Optimizer
    train: Iterable
    valid: Iterable | None
    monitor: str | None
    mode: str
    call: Callable

    def settings(self) -> dict[str, Any]:
        """Return what must be the same when the run is resumed."""
        return {
            "optimizer": type(self.optimizer).__name__,
            "monitor": self.monitor,
            "mode": self.mode,
            "loaders": [hasattr(loader, "state_dict") for loader in (self.train, self.valid)],
        }

    def scores(self, history: list[Record]) -> list[float]:
        """Return the monitored values, smaller for better ones, and infinity for NaN."""
        if self.monitor is None:
            return []
        sign = 1 if self.mode == "min" else -1
        values = [sign * record[self.monitor] for record in history]
        return [math.inf if math.isnan(value) else value for value in values]


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
    monitor: str | None = "valid_loss",
    mode: str = "min",
    patience: int | None = None,
    checkpoint: str | os.PathLike | None = None,
    resume: bool = False,
    progress: bool = True,
    call: Callable | None = None,
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
        `metric(outputs, targets)` gets the arrays of the whole validation set and returns a number;
        NaN, where it has none, is never the best.
    schedule : callable, optional
        The factor of the learning rate at a time in epochs, see `minicnn.optim`; it is asked before
        every step. Its losses are the values of `monitor` so far, negative in mode "max".
    max_grad_norm : float, optional
        Where to clip the norm of all gradients together.
    monitor : str or None
        The record's entry that decides which epoch is best. With None, and by default where there
        is no `valid`, the weights of the last epoch stay.
    mode : "min" or "max"
        Whether a smaller or a larger `monitor` is better.
    patience : int, optional [epochs]
        Stop after more than this many epochs without a better one.
    checkpoint : path-like, optional
        A folder for checkpoints and log.
    resume : bool
        Go on with the run in `checkpoint`, if there is one: the weights become the very ones, bit
        for bit, that a run without interruption would have had. That holds for a `DataLoader`, for
        what draws from `minicnn.rng`, and for generators that are attributes of modules.
    progress : bool
        Whether to show a progress bar.
    call : callable, optional
        What to call in place of the model itself: its `slide`, for inputs longer than the paper's.

    Returns
    -------
    list of dict
        One record per epoch: "epoch" (from 1), "lr_factor", "train_loss" (the mean over the epoch's
        samples, while they were trained on), "valid_loss", "valid_<metric>" and "seconds".

    Raises
    ------
    FileExistsError
        If `checkpoint` already holds a run, or foreign files of the same names, and `resume` is
        False.
    BlockingIOError
        If another run is writing to `checkpoint`.
    OSError
        If `checkpoint` cannot be written: the disk is full, or it may not be written to. What was
        written before is unharmed, and can be resumed.
    FloatingPointError
        If a loss is not finite, with epoch and step, or a weight after an epoch. Checkpoints of
        earlier epochs are untouched.
    ValueError
        If the checkpoint does not fit, there are no batches, or an argument is out of range.
    """
    monitor = _checked_monitor(epochs, valid, metrics, monitor, mode, patience)
    folder = None if checkpoint is None else Path(checkpoint)
    call = model if call is None else call
    run = _Run(model, optimizer, train, valid, monitor, mode, call)
    history: list[Record] = []
    best_weights: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        if folder is not None:
            stack.enter_context(held(folder))
            history = _begin(folder, resume, run)
        bar = stack.enter_context(_progress_bar(train, epochs, len(history), progress))
        while len(history) < epochs and not _exhausted(run.scores(history), patience):
            started = time.perf_counter()
            bar.set_description(f"epoch {len(history) + 1}/{epochs}")
            model.train()
            train_loss = _train_epoch(run, loss, schedule, max_grad_norm, history, bar)
            record: Record = {"epoch": len(history) + 1, "train_loss": train_loss}
            record["lr_factor"] = float(optimizer.lr_factor)
            if valid is not None:
                scores = evaluate(model, valid, loss, metrics, call=call)
                _check_finite(scores["loss"], "validation loss", history)
                record |= {f"valid_{name}": score for name, score in scores.items()}
            _check_weights(model, len(history) + 1)
            record["seconds"] = time.perf_counter() - started
            history.append(record)
            *before, score = run.scores(history) or [math.inf]
            is_best = score < min(before, default=math.inf)
            if folder is not None:
                _keep(folder, is_best, run, history)
            elif is_best:
                best_weights = {name: array.copy() for name, array in model.state_dict().items()}
        if folder is not None and min(run.scores(history), default=math.inf) < math.inf:
            best_weights = load(folder / "best.safetensors")
    if best_weights:
        model.load_state_dict(best_weights)
    model.eval()
    return history


def evaluate(
    model: Module,
    batches: Iterable,
    loss: Callable,
    metrics: Mapping[str, Callable] | None = None,
    *,
    call: Callable | None = None,
) -> dict[str, float]:
    """Return the loss and the metrics of a model, in evaluation mode, over all batches.

    Parameters
    ----------
    model : Module
    batches : iterable of batches
    loss : callable
    metrics : mapping from name to callable, optional
    call : callable, optional
        All as in `fit`.

    Returns
    -------
    dict
        "loss", the mean over all samples, and one entry per metric.

    Raises
    ------
    ValueError
        If there are no batches.
    MemoryError
        If there is no room for the outputs that metrics need all of.
    """
    total, count = 0.0, 0
    outputs: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    with _evaluating(model):
        for batch in batches:
            inputs, target = _tensors(batch, model)
            output = (model if call is None else call)(*inputs)
            total += float(loss(output, target)) * len(target)
            count += len(target)
            if metrics:
                if not outputs and isinstance(batches, Sized):
                    memory.demand(len(batches) * output.data.nbytes, "evaluate: all outputs")
                outputs.append(output.numpy())
                targets.append(kernels.to(target, "cpu"))
    if not count:
        raise ValueError("evaluate: there are no batches")
    scores = {"loss": total / count}
    for name, metric in (metrics or {}).items():
        scores[name] = float(metric(np.concatenate(outputs), np.concatenate(targets)))
    return scores


def predict(model: Module, *inputs: Any, batch_size: int = 256) -> np.ndarray:
    """Return the outputs of a model, in evaluation mode, for arrays of any length.

    Parameters
    ----------
    model : Module
        Afterwards its mode is as before.
    *inputs : array, shape (N, ...)
    batch_size : int
        How many samples run at once.

    Returns
    -------
    ndarray, shape (N, ...)

    Raises
    ------
    ValueError
        If there are no samples, or batch_size is below 1.
    MemoryError
        If there is no room for all outputs.
    """
    count = len(inputs[0])
    if not count or batch_size < 1:
        raise ValueError(
            f"predict: there are {count} samples for batches of {batch_size}; both are 1 or more"
        )
    outputs = []
    with _evaluating(model):
        for start in range(0, count, batch_size):
            batch = [array[start : start + batch_size] for array in inputs]
            tensors, _ = _tensors((*batch, batch[0]), model)
            outputs.append(model(*tensors).numpy())
            if not start:
                memory.demand(outputs[0].nbytes * count // len(outputs[0]), "predict: all outputs")
    return np.concatenate(outputs)


@contextlib.contextmanager
def _evaluating(model):
    """Put a model in evaluation mode, record no gradients, and leave it as it was before."""
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, mode in training:
            module.training = mode


def _checked_monitor(epochs, valid, metrics, monitor, mode, patience):
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
    return monitor


def _train_epoch(run, loss, schedule, max_grad_norm, history, bar):
    """Take one step for each batch, and return the mean loss over the samples."""
    model, train, optimizer = run.model, run.train, run.optimizer
    monitored = run.scores(history)
    steps = len(train) if hasattr(train, "__len__") else math.inf
    total, count = 0.0, 0
    for step, batch in enumerate(train):
        if schedule is not None:
            optimizer.lr_factor = schedule(len(history) + step / steps, monitored)
        inputs, target = _tensors(batch, model)
        value = loss(run.call(*inputs), target)
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
        again = "; a generator can be used for one epoch only" if history else ""
        raise ValueError(f"fit: train yields no batches in epoch {len(history) + 1}{again}")
    return total / count


def _progress_bar(train, epochs, done, shown):
    """Return a bar over the steps of the whole run, or over an unknown number of them."""
    from tqdm import tqdm  # reads its own version from disk: a fifth of what `import minicnn` took

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
    arrays = [Tensor(part).data for part in batch]
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


def _check_weights(model, epoch):
    """Raise where a weight is not finite: such a model must not replace the last good one."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        # An infinity in a buffer may be meant, as in a mask.
        good = (
            tensor.data == tensor.data if isinstance(tensor, Buffer) else np.isfinite(tensor.data)
        )
        if not good.all():
            raise FloatingPointError(
                f"fit: {name} is not finite after epoch {epoch}; a smaller learning rate or "
                "max_grad_norm may help; checkpoints of earlier epochs are as they were"
            )


def _exhausted(scores, patience):
    """Return whether the best epoch lies more than `patience` epochs back."""
    if patience is None or not scores:
        return False
    best = min(range(len(scores)), key=scores.__getitem__)
    return len(scores) - 1 - best > patience


def _shown(history):
    """Return the scores of the last epoch for the progress bar."""
    last = history[-1] if history else {}
    return {name: f"{value:.4f}" for name, value in last.items() if name.startswith("valid_")}


_FILES = ("last.safetensors", "best.safetensors", "log.jsonl")


def _begin(folder, resume, run):
    """Return the history of the run in this folder, restored if asked for, or an empty one."""
    for debris in (path for name in _FILES for path in folder.glob(f".{name}.*.tmp")):
        debris.unlink()  # of a process that was killed while it wrote: the folder is ours alone
    present = [name for name in _FILES if (folder / name).exists()]
    state = load(folder / _FILES[0]) if _FILES[0] in present else {}
    if not present or (not resume and state.get("history") == [] and "settings" in state):
        # A run that is interrupted in its first epoch must begin with the same weights again.
        _keep(folder, False, run, [])
        return []
    if not resume:
        raise FileExistsError(
            f"fit: {str(folder)!r} already holds {', '.join(present)}; pass resume=True to go on "
            "with that run, or another folder"
        )
    _restore(folder, state, run)
    _write_log(folder, state["history"])
    return state["history"]


def _restore(folder, state, run):
    """Put everything back where the checkpoint has it, or raise and say what does not fit."""
    where = f"fit: {str(folder / _FILES[0])!r}"
    wanted = ("history", "settings", "generators", "loaders", "optimizer")
    if missing := [name for name in wanted if name not in state]:
        raise ValueError(f"{where} is no checkpoint of fit; it lacks {', '.join(missing)}")
    for name, value in run.settings().items():
        if state["settings"][name] != value:
            raise ValueError(f"{where} has {name} {state['settings'][name]!r}, this run {value!r}")
    if min(run.scores(state["history"]), default=math.inf) < math.inf:
        load(folder / "best.safetensors")  # better to learn now than after training
    generators = _generators(run.model)
    if generators.keys() != state["generators"].keys():
        raise ValueError(
            f"{where} has the random streams {sorted(state['generators'])}, "
            f"the model {sorted(generators)}"
        )
    loaders = zip((run.train, run.valid), state["loaders"], strict=True)
    parts: list[Any] = [(loader, kept) for loader, kept in loaders if kept is not None]
    parts.append((run.model, _below("model.", state)))
    parts.append((run.optimizer, {**_below("optimizer.", state), **state["optimizer"]}))
    restored = []
    try:
        for part, kept in parts:
            before = copy.deepcopy(part.state_dict())
            part.load_state_dict(kept)
            restored.append((part, before))
    except Exception:
        for part, before in restored:
            part.load_state_dict(before)
        raise
    for name, source in generators.items():
        source.bit_generator.state = state["generators"][name]


def _keep(folder, is_best, run, history):
    """Write the checkpoints and the log of the epoch that just ended.

    The best weights first: a run killed in between repeats the epoch and writes the same again.
    """
    weights = run.model.state_dict()
    if is_best:
        save(folder / "best.safetensors", weights)
    progress = run.optimizer.state_dict()
    arrays = {name: value for name, value in progress.items() if hasattr(value, "shape")}
    loaders = (run.train, run.valid)
    state: dict[str, Any] = {
        **{f"model.{name}": array for name, array in weights.items()},
        **{f"optimizer.{name}": array for name, array in arrays.items()},
        "optimizer": {name: value for name, value in progress.items() if name not in arrays},
        "generators": {n: g.bit_generator.state for n, g in _generators(run.model).items()},
        "loaders": [x.state_dict() if hasattr(x, "state_dict") else None for x in loaders],
        "settings": run.settings(),
        "history": history,
    }
    save(folder / "last.safetensors", state)
    _write_log(folder, history)


def _write_log(folder, history):
    """Write one line per epoch: all of them, so that log and checkpoint never disagree."""
    with written_whole(folder / "log.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(_finite(record)) + "\n" for record in history))


def _finite(record):
    """Return a record with null for what JSON has no number for."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in record.items()
    }


def _generators(model):
    """Return every stream of random numbers that training draws from, by name."""
    drawn = {
        f"model.{name}.{attribute}": value
        for name, module in model.named_modules()
        for attribute, value in vars(module).items()
        if isinstance(value, np.random.Generator)
    }
    return {"default": generator(), **drawn}


def _below(prefix, state):
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}
