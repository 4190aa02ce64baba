"""The folder of a run: what its next epoch depends on, written so that a killed run loses nothing.

It holds `last.safetensors` (weights, optimiser, random streams, loaders and history), from which a
run goes on, `best.safetensors` (the weights of the best epoch so far), and `log.jsonl` (one record
per epoch).
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
from typing import Any

import numpy as np

from minicnn import mistake
from minicnn.checkpoint import load, save, written_whole
from minicnn.rng import generator

_FILES = ("last.safetensors", "best.safetensors", "log.jsonl")


def begin(folder, resume, run, is_alone):
    """Return the history of the run in this folder, restored if asked for, or an empty one."""
    if is_alone:
        for debris in (path for name in _FILES for path in folder.glob(f".{name}.*.tmp")):
            debris.unlink()  # of a process that was killed while it wrote
    else:
        mistake.likely(
            f"fit: there are no locks where {str(folder)!r} is, so that a second run there is not "
            "refused, and both are lost; what killed runs left half-written is not cleared away"
        )
    present = [name for name in _FILES if (folder / name).exists()]
    state = load(folder / _FILES[0]) if _FILES[0] in present else {}
    history = state.get("history")
    has_begun = not isinstance(history, list) or history != [] or "settings" not in state
    if not present or not (resume or has_begun):
        # A run that is interrupted in its first epoch must begin with the same weights again.
        keep(folder, False, run, [])
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
    """Put everything back where the checkpoint has it, or nothing, and say what does not fit."""
    where = f"fit: {str(folder / _FILES[0])!r}"
    _demand_whole(where, state, run)
    weights = _below("model.", state)
    if min(run.scores(state["history"]), default=math.inf) < math.inf:
        best = load(folder / _FILES[1])  # better to learn now than after training
        if _shapes(best) != _shapes(weights):
            raise ValueError(f"{where} has other weights than {_FILES[1]} beside it")
    streams, kept_streams = _generators(run.model), state["generators"]
    if streams.keys() != kept_streams.keys():
        raise ValueError(
            f"{where} has the random streams {_line(sorted(kept_streams))}, "
            f"the model {sorted(streams)}"
        )
    loaders = zip((run.train, run.valid), state["loaders"], strict=True)
    parts: list[Any] = [(loader, kept) for loader, kept in loaders if kept is not None]
    parts += [(_Stream(name, streams[name]), kept_streams[name]) for name in streams]
    parts.append((run.model, weights))
    parts.append((run.optimizer, {**_below("optimizer.", state), **state["optimizer"]}))
    with contextlib.ExitStack() as undo:
        for part, kept in parts:
            undo.callback(part.load_state_dict, copy.deepcopy(part.state_dict()))
            try:
                part.load_state_dict(kept)
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
                raise ValueError(f"{where} does not fit: {kind}{_line(error, 1500)}") from error
        undo.pop_all()


# What a checkpoint of `fit` has, and what kind each of it is of.
_KINDS = {"history": list, "settings": dict, "generators": dict, "loaders": list, "optimizer": dict}


def _demand_whole(where, state, run):
    """Raise if a checkpoint lacks anything, has it of another kind, or belongs to another run."""
    if missing := [name for name in _KINDS if name not in state]:
        raise ValueError(f"{where} is no checkpoint of fit; it lacks {', '.join(missing)}")
    for name, kind in _KINDS.items():
        if not isinstance(state[name], kind):
            found = type(state[name]).__name__
            raise ValueError(f"{where} is damaged: {name} is of type {found}, not {kind.__name__}")
    settings = run.settings()
    for name, value in settings.items():
        if name not in state["settings"]:
            raise ValueError(f"{where} is damaged: it lacks the setting {name}")
        if (kept := state["settings"][name]) != value:
            raise ValueError(f"{where} has {name} {_line(repr(kept))}, this run {value!r}")
    if [kept is not None for kept in state["loaders"]] != settings["loaders"]:
        raise ValueError(
            f"{where} is damaged: the states of its loaders are {state['loaders']!r:.80}"
        )
    wanted = {"epoch", "lr_factor", "train_loss", "seconds", run.monitor} - {None}
    for epoch, record in enumerate(state["history"], 1):
        if not _is_record(record, epoch, wanted):
            raise ValueError(
                f"{where} is damaged: epoch {epoch} of its history is {_line(record)}; it takes "
                f"numbers for {', '.join(sorted(wanted))}"
            )


def _is_record(record, epoch, wanted):
    """Return whether this is what `fit` notes of an epoch."""
    return (
        isinstance(record, dict)
        and record.keys() >= wanted
        and record["epoch"] == epoch
        and all(type(value) is float or type(value) is int for value in record.values())
        and all(abs(value) < 2**53 for value in record.values() if type(value) is int)
    )


def _shapes(state):
    return {name: getattr(value, "shape", None) for name, value in state.items()}


def _line(value, most=200):
    """Return what a file says in one line that is not too long."""
    return " ".join(str(value).split())[:most]


class _Stream:
    """A stream of random numbers, to be restored as everything else is."""

    def __init__(self, name, source):
        self.name, self.bits = name, source.bit_generator

    def state_dict(self):
        return self.bits.state

    def load_state_dict(self, state):
        """Go on where `state_dict` was taken.

        NumPy looks at few of these numbers itself, and a wrong place or length ends the process.
        """
        own, kept = (
            json.loads(json.dumps(each, default=_listed)) for each in (self.bits.state, state)
        )
        if not _is_like(kept, own):
            raise ValueError(
                f"the random stream {self.name} is none of {type(self.bits).__name__}: "
                f"{_line(kept)}"
            )
        self.bits.state = state


def _listed(array):
    return array.tolist()


def _is_like(kept, own):
    """Return whether two states of a stream have the same names, kinds and lengths."""
    if type(kept) is not type(own):
        return False
    if isinstance(own, list):
        return len(kept) == len(own) and all(map(_is_like, kept, own))
    if not isinstance(own, dict):
        return True
    if kept.keys() != own.keys() or not all(_is_like(kept[name], own[name]) for name in own):
        return False
    places = ("pos", "key"), ("buffer_pos", "buffer")  # in MT19937 and Philox
    return all(0 <= kept[place] <= len(own[array]) for place, array in places if place in own)


def keep(folder, is_best, run, history):
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
