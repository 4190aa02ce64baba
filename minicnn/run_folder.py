"""The folder of a run: what its next epoch depends on, written so that a killed run loses nothing.

It holds `last.safetensors` (weights, optimiser, random streams, loaders and history), from which a
run goes on, `best.safetensors` (the weights of the best epoch so far), and `log.jsonl` (one record
per epoch).
"""

from __future__ import annotations

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
    if not present or (not resume and state.get("history") == [] and "settings" in state):
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
