"""Files of arrays, in safetensors: readable by everyone, executing nothing, never half-written."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import kernels
from minicnn.autograd import Tensor
from minicnn.kernels import memory

_METADATA_KEY = "minicnn"


@contextlib.contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block ends well.

    Whatever happens, `path` holds its old content or all of the new.

    Raises
    ------
    OSError
        If it cannot be written: the disk is full, or the folder may not be written to.
    """
    path = Path(path)
    # Not named after the process: threads, or containers, may write one file at once.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise _said(error, path) if error.errno else error from None
    finally:
        # On a disk that is read-only now it stays, and that must not hide what was said above.
        with contextlib.suppress(OSError):
            temporary.unlink()


def _said(error, path):
    """Return an error of writing with its file, which the system leaves out, and the free room."""
    kept = "the file is as it was before" if path.exists() else "there is no such file yet"
    free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
    reason = f"{error.strerror or error}; {free:,} bytes are free on that disk; {kept}"
    return OSError(error.errno, reason, str(path))


@contextlib.contextmanager
def held(folder: str | os.PathLike) -> Iterator[bool]:
    """Keep others from a folder, made if it is missing, until the block ends.

    Only those that ask for it too are kept away. However this process ends, the system lets go of
    the folder. Where there are no such locks, as on Windows and on some file systems, nobody is
    kept away; whether anyone is, is what this yields.

    Raises
    ------
    BlockingIOError
        If the folder is held already, by whatever process or thread.
    OSError
        If the folder may not be written to.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if os.name == "nt":
        yield False
        return
    path = folder / ".held"
    descriptor, is_locked = _locked(path)
    try:
        with contextlib.suppress(OSError):  # it is for messages only, and the disk may be full
            os.pwrite(descriptor, f"{os.getpid():<20}".encode(), 0)
        yield is_locked
    finally:
        try:
            # A file that stays is in nobody's way, and no reason to hide why the block ended.
            with contextlib.suppress(OSError):
                path.unlink()
        finally:
            os.close(descriptor)


def _locked(path):
    """Return a descriptor of a file, and whether it is locked: False where there are no locks."""
    import fcntl  # Windows has none

    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 20).decode(errors="replace").strip()
            os.close(descriptor)
            # Who has just begun, or found the disk full, has not said yet who it is.
            who = f", of process {holder}," if holder else ""
            reason = f"another run{who} is writing to this folder"
            raise BlockingIOError(error.errno, reason, str(path.parent)) from None
        except OSError:  # this file system has no locks
            return descriptor, False
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor, True
        os.close(descriptor)  # whoever held it has removed it meanwhile


def save(path: str | os.PathLike, state: Mapping[str, Any]) -> None:
    """Write a state dict to a safetensors file, whole or not at all.

    Parameters
    ----------
    path : path-like
        Its folder is made if it is missing. An earlier file is replaced at the end, at once.
    state : mapping from name to value
        Arrays and tensors become tensors of the file, on the CPU; anything else must be what JSON
        can hold, and goes into the file's metadata.

    Raises
    ------
    TypeError
        If a value is neither an array nor what JSON can hold.
    ValueError
        If values and arrays are so many, and so small, that `load` would not read them.
    OSError
        If the file cannot be written; an earlier one is unharmed then.
    """
    from safetensors.numpy import save as as_bytes

    if not isinstance(state, Mapping):
        raise TypeError(
            f"save: the state is a {type(state).__name__}; it takes a path, then names and arrays: "
            "save(path, model.state_dict())"
        )
    arrays, values = {}, {}
    for name, value in state.items():
        value = value.data if isinstance(value, Tensor) else value
        if not isinstance(name, str) or name == "__metadata__":
            raise TypeError(f"save: {name!r} cannot be a name in a safetensors file")
        if hasattr(value, "__array_function__"):
            if value.dtype.kind not in "fiub":
                raise TypeError(f"save: {name} is {value.dtype}; safetensors holds real numbers")
            # safetensors writes the memory as it lies, also where strides say otherwise.
            arrays[name] = np.ascontiguousarray(
                kernels.to(np.asarray(value, like=value), "cpu")
            ).reshape(value.shape)
        else:
            values[name] = value
    try:
        text = json.dumps(values, default=_plain)
    except TypeError as error:
        kinds = {name: type(value).__name__ for name, value in values.items()}
        raise TypeError(f"save: {error}; values that are not arrays: {kinds}") from None
    path, size = Path(path), len(text) + sum(array.nbytes for array in arrays.values())
    if reason := _too_much(size, len(arrays), text):
        raise ValueError(f"save: {str(path)!r} ({size} bytes) {reason}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary:
        temporary.write_bytes(as_bytes(arrays, metadata={_METADATA_KEY: text}))


# What a small file may not become [bytes]: values and arrays are objects of so much, and all that
# is read from a file takes ten times its size at most, and this much beside.
_VALUE, _ARRAY, _RATIO, _ROOM = 200, 700, 10, 1 << 26


def _too_much(size, arrays, text):
    """Return why a file of this size is not read, if its parts are too many and too small."""
    values = sum(map(text.count, ",:[{"))
    if _VALUE * values + _ARRAY * arrays <= _RATIO * size + _ROOM:
        return None
    return (
        f"has {arrays:,} arrays and {values:,} values beside them; so many take "
        f"more than {_RATIO} times its size in memory: numbers belong into few, large arrays"
    )


def _plain(value):
    """Return NumPy's scalars and arrays inside other values as what JSON can hold."""
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Read a state dict from a safetensors file, ours or anyone's.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    dict
        NumPy arrays by name, and the other values that `save` was given.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no safetensors file, is cut short, holds a dtype that NumPy lacks, or so many
        small values that they take far more memory than the file.
    MemoryError
        If there is no room for it.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        folder = ", it is a folder" if Path(path).is_dir() else ""
        raise FileNotFoundError(f"load: there is no file {os.fspath(path)!r}{folder}")
    size = Path(path).stat().st_size
    memory.demand(size, f"load: {os.fspath(path)!r}")
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(_METADATA_KEY, "{}")
            names = file.keys()
            if reason := _too_much(size, len(names), text):
                raise _RefusalError(reason)
            values = json.loads(text)
            state = {name: file.get_tensor(name) for name in names}
        return {**state, **values}
    except _RefusalError as error:
        reason = str(error)
    except (SafetensorError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = f"is no whole safetensors file that NumPy can hold: {_taken_for(path) or error}"
    except RecursionError:
        reason = "nests values deeper than any that `save` wrote"
    raise ValueError(f"load: {os.fspath(path)!r} ({size} bytes) {reason}")


def _taken_for(path):
    """Return what a file is that is often given in place of ours, and what reads it."""
    with open(path, "rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        return "it is an array of NumPy, which np.load reads"
    if start[:1] == b"\x80":
        return "it is a pickle, which may run what it likes, so it is not opened"
    if start[:4] != b"PK\x03\x04":
        return None
    import zipfile  # slower to import than a file is to read

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile:
        return None
    if any(name.endswith("data.pkl") for name in names):
        return "it is a checkpoint of PyTorch, which mc.load_torch reads"
    return "it is an archive of NumPy, which np.load reads"


class _RefusalError(Exception):
    """Why a file is not read; `load` adds which."""
