"""The training loop: epochs, validation, early stopping, log and checkpoints, as one function.

What a folder of checkpoints holds is told in `run_folder`.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import kernels, run_folder, train_arguments
from minicnn.autograd import Tensor, no_grad
from minicnn.checkpoint import held, load
from minicnn.kernels import memory
from minicnn.nn.module import Buffer, Module, trained
from minicnn.optim import Optimizer, Schedule, limit_norm

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
    loss: Callable
    schedule: Schedule | None
    max_grad_norm: float | None

    def step(self, *arrays: Any) -> Any:
        """Take a step along the gradient of a batch, and return its loss, as an array."""
        *inputs, target = arrays
        value = self.loss(self.call(*map(Tensor, inputs)), target)
        self.descend(value)
        return value.data

    def descend(self, value: Tensor) -> None:
        """Take a step along the gradient of a loss."""
        self.optimizer.zero_grad()
        value.backward()
        if self.max_grad_norm is not None:
            grads = [p.grad for p in self.model.parameters() if p.grad is not None]
            limit_norm(grads, self.max_grad_norm)
        self.optimizer.step()

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
    cuda_graph: bool = False,
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
    cuda_graph : bool
        Whether to capture the whole step on the GPU as one CUDA graph, and to launch that: many
        small launches cost more than their work. The first step of each shape of batches runs from
        Python, the second is captured, and after that Python does not run: model and loss must do
        the same launches in every step, options of the optimiser other than the learning rate stay
        as they are, labels are not looked at, and a loss that is not finite is seen after its step.
        Weights are the same as without, bit for bit.

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
        If the checkpoint does not fit, there are no batches, an argument is out of range, or
        `cuda_graph` is asked for a model that is not on a GPU.
    TypeError
        If an argument is of another kind, such as a class for a model.
    RuntimeError
        If a step cannot be captured.
    """
    train_arguments.check_kinds(model, train, valid, loss, optimizer, metrics, schedule)
    train_arguments.check_folder(checkpoint, resume)
    monitor = train_arguments.checked_monitor(epochs, valid, metrics, monitor, mode, patience)
    if max_grad_norm is not None and not max_grad_norm > 0:
        raise ValueError(f"fit: max_grad_norm is {max_grad_norm}; it must be positive")
    folder = None if checkpoint is None else Path(checkpoint)
    call = model if call is None else call
    run = _Run(model, optimizer, train, valid, monitor, mode, call, loss, schedule, max_grad_norm)
    captured = _captured(run) if cuda_graph else None
    history: list[Record] = []
    best_weights: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        if folder is not None:
            is_alone = stack.enter_context(held(folder))
            history = run_folder.begin(folder, resume, run, is_alone)
        bar = stack.enter_context(_progress_bar(train, epochs, len(history), progress))
        while len(history) < epochs and not _exhausted(run.scores(history), patience):
            started = time.perf_counter()
            bar.set_description(f"epoch {len(history) + 1}/{epochs}")
            model.train()
            with trained():  # a part that is not trained may run without a tape
                train_loss = _train_epoch(run, captured, history, bar)
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
                run_folder.keep(folder, is_best, run, history)
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
    how_many = len(batches) if isinstance(batches, Sized) else 0
    with _evaluating(model):
        for batch in batches:
            inputs, target = _tensors(batch, model)
            output = (model if call is None else call)(*inputs)
            total += float(loss(output, target)) * len(target)
            count += len(target)
            if metrics:
                if not outputs:
                    memory.demand(how_many * output.data.nbytes, "evaluate: all outputs")
                outputs.append(output.numpy())
                targets.append(kernels.to(target, "cpu"))
    if not count:
        raise ValueError("evaluate: there are no batches; a generator yields its own only once")
    scores = {"loss": total / count}
    for name, metric in (metrics or {}).items():
        score = metric(np.concatenate(outputs), np.concatenate(targets))
        if np.size(score) != 1:
            raise ValueError(
                f"evaluate: metric {name!r} returns an array of shape {np.shape(score)}; it takes "
                "one number"
            )
        scores[name] = float(score)
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
    TypeError
        If there are no arrays, or something else.
    """
    if not inputs or not all(hasattr(each, "shape") for each in inputs):
        kinds = ", ".join(type(each).__name__ for each in inputs) or "nothing"
        raise TypeError(
            f"predict: inputs are {kinds}; it takes arrays with a batch axis, and evaluate takes "
            "batches"
        )
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


def _captured(run):
    """Return the step of a run, captured at its second call for batches of the same shapes."""
    parameter = next(run.model.parameters(), None)
    if parameter is None or kernels.of(parameter.data) is not kernels.cuda:
        raise ValueError("fit: cuda_graph takes a model on a GPU; model.to('cuda') moves it there")
    return kernels.cuda.graph.ByShape(run.step)


def _train_epoch(run, captured, history, bar):
    """Take one step for each batch, and return the mean loss over the samples."""
    train = run.train
    monitored = run.scores(history)
    steps = len(train) if hasattr(train, "__len__") else math.inf
    total, count = 0.0, 0
    for step, batch in enumerate(train):
        if run.schedule is not None:
            run.optimizer.lr_factor = run.schedule(len(history) + step / steps, monitored)
        inputs, target = _tensors(batch, run.model)
        if captured is None:
            value = _checked_loss(run.loss(run.call(*inputs), target))
            number = float(value)
            _check_finite(number, "loss", history, step)
            run.descend(value)
        else:
            number = float(captured(*(each.data for each in inputs), target))
            _check_finite(number, "loss", history, step)
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


def _checked_loss(value):
    """Return the loss of a batch; raise if it cannot be trained on."""
    if not isinstance(value, Tensor) or value.size != 1:
        found = f"of shape {value.shape}" if hasattr(value, "shape") else repr(value)
        raise TypeError(
            f"fit: loss returns a {type(value).__name__} {found:.80}; it takes a Tensor of one "
            "number, such as ops.cross_entropy returns"
        )
    return value


def _tensors(batch, model):
    """Return the inputs of a batch as tensors and its target as an array, on the model's device."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        found = f"{type(batch).__name__} of {len(batch)}" if hasattr(batch, "__len__") else batch
        raise TypeError(
            f"fit and evaluate: a batch is a {found!s:.80}; it takes a tuple of arrays, "
            "inputs and target"
        )
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
