"""What CUDA does with a step that it captures, for NumPy arrays: nothing, until the replay.

While a tape runs, an operation on `Taped` arrays is noted and not done: its result has memory with
any content. A replay does all of them again in the same memory, whatever Python has computed since.
To look at a number on the way is an error, as it is for a GPU that has not begun yet.
"""

import contextlib

import numpy as np
from minicnn.kernels.cuda.module import UNCAPTURED

IN_PLACE = "at", "copyto", "fill"  # functions that return nothing
# CuPy joins more arrays by a list of their places, which it copies from the host and waits for.
JOINED, MOST_JOINED = ("concatenate", "stack"), 8
_running = []


def current():
    """Return the tape that runs, or None."""
    return _running[-1] if _running else None


@contextlib.contextmanager
def capture():
    """Note on a new tape what is done to arrays inside."""
    tape = []
    _running.append(tape)
    try:
        yield tape
    finally:
        _running.remove(tape)


def do(operation):
    """Do something that writes into arrays, or note it where a tape runs."""
    operation() if current() is None else current().append(operation)


def play(tape):
    """Do everything on a tape."""
    for operation in tape:
        operation()


def _plain(value):
    """Return a value in which no array is taped."""
    if isinstance(value, Taped):
        return value.view(np.ndarray)
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return value


def noted(function, *arguments, **options):
    """Return the result of a function, which belongs on the tape if it is not a view."""
    tape, out = current(), options.get("out")
    if tape is not None:
        _must_be_there(arguments)
        if function.__name__ in JOINED and len(arguments[0]) > MOST_JOINED:
            raise RuntimeError(f"{UNCAPTURED}: {function.__name__} of {len(arguments[0])} arrays")
    arguments, options = _plain(arguments), {name: _plain(x) for name, x in options.items()}
    if tape is not None and (out is not None or function.__name__ in IN_PLACE):
        tape.append(lambda: function(*arguments, **options))
        return out[0] if isinstance(out, tuple) else out
    with np.errstate(all="ignore" if tape is not None else None):  # the content means nothing yet
        result = function(*arguments, **options)
    if not isinstance(result, (np.ndarray, np.generic)):
        return result
    result = np.asarray(result)
    given = [each for each in _flat(arguments) if isinstance(each, np.ndarray)]
    if tape is not None and not any(np.shares_memory(result, each) for each in given):
        tape.append(lambda: np.copyto(result, function(*arguments, **options)))
    return result.view(Taped)


def _must_be_there(arguments):
    """Raise if an array would first have to be copied to the device."""
    for each in _flat(arguments):
        if isinstance(each, np.ndarray) and each.ndim and not isinstance(each, Taped):
            raise RuntimeError(f"{UNCAPTURED}: an array {each.shape} of the host")


def _flat(values):
    for value in values:
        yield from _flat(value) if isinstance(value, (list, tuple)) else (value,)


def _looked_at(name):
    """Return the method of this name, which takes a number from the device."""

    def method(self, *arguments):
        if current() is not None:
            raise RuntimeError(f"{UNCAPTURED}: {name}")
        return getattr(self.view(np.ndarray), name)(*arguments)

    return method


def _taped(name):
    """Return the method of this name, which goes onto the tape."""
    function = getattr(np.ndarray, name)
    return lambda self, *arguments, **options: noted(function, self, *arguments, **options)


class Taped(np.ndarray):
    """An array of the device: results of operations with it are of the device too."""

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        return noted(getattr(ufunc, method), *inputs, **options)

    def __array_function__(self, function, types, arguments, options):
        return noted(function, *arguments, **options)

    def __setitem__(self, key, value):
        assign = np.ndarray.__setitem__
        if current() is not None:
            _must_be_there((key, value))
        own, key, value = _plain(self), _plain(key), _plain(value)
        if (tape := current()) is not None:
            tape.append(lambda: assign(own, key, value))
        else:
            assign(own, key, value)


for _name in ("__float__", "__int__", "__bool__", "__index__", "item", "tolist", "get"):
    if hasattr(np.ndarray, _name):
        setattr(Taped, _name, _looked_at(_name))
for _name in ("__getitem__", "astype", "clip", "copy", "cumsum", "dot", "fill", "flatten", "max",
              "mean", "min", "prod", "ravel", "repeat", "reshape", "sum", "take",
              "transpose"):  # fmt: skip
    setattr(Taped, _name, _taped(_name))
