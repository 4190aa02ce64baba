"""PyTorch's checkpoints, read without PyTorch, executing nothing: tensors and plain data only.

A checkpoint is a zip archive. The bytes of the tensors are records of their own; `data.pkl` says,
as a pickle, how they hang together. A pickle is a program, and Python's own reader calls what the
program names. The reader here keeps a name as a name, can call only the functions of one small
table at the end of this file, and knows only the opcodes that torch.save writes.
"""

from __future__ import annotations

import io
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn.kernels import memory

_LARGEST_PICKLE = 2**24  # [bytes] of data.pkl: some 100,000 tensors
_DEEPEST = 100  # levels of nesting
_LONGEST_KEY = 100  # parts of a tuple
# What an opcode makes takes so much [bytes]; all that is read from a file takes ten times its size
# at most, and this much beside.
_OPCODE, _RATIO, _ROOM = 160, 10, 2**26
_PIECE = 2**20  # [bytes] read at once, so that no record is in memory twice

_STORAGES = {
    "torch.DoubleStorage": "float64", "torch.FloatStorage": "float32",
    "torch.HalfStorage": "float16", "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64", "torch.IntStorage": "int32", "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8", "torch.ByteStorage": "uint8", "torch.BoolStorage": "bool",
    "torch.ComplexFloatStorage": "complex64", "torch.ComplexDoubleStorage": "complex128",
    "torch.storage.UntypedStorage": "",  # of bytes; the tensor brings its dtype
}  # fmt: skip
_DTYPES = {f"torch.{name}" for name in (*_STORAGES.values(), "uint16", "uint32", "uint64") if name}


def load_torch(path: str | os.PathLike) -> Any:
    """Read a PyTorch checkpoint (.pt, .pth) without PyTorch, executing nothing that is in it.

    Parameters
    ----------
    path : path-like
        A file that `torch.save` of PyTorch 1.6 or newer wrote, best of `model.state_dict()`.

    Returns
    -------
    object
        What was saved: dicts (ordered or not), lists, tuples, numbers, strings and None,
        and for each tensor or parameter a writable NumPy array of its shape and dtype.
        bfloat16, which NumPy lacks, becomes float32, exactly. Tensors of a GPU come to the CPU.
        Views of one storage share their memory, as they did; so an expanded tensor takes none.
        A `torch.Size` is a tuple, a device or dtype its name, a Counter a dict; attributes of
        parameters and of dicts (`_metadata`) are left out.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no checkpoint, is damaged, or holds anything else, which is named: a pickled
        model, a function, a tensor that is sparse, quantised, an 8-bit float or lazily conjugate.
    MemoryError
        If there is no room for it.

    References
    ----------
    PyTorch, notes "Serialization semantics", and the rules of `torch.load(weights_only=True)` in
    `torch/_weights_only_unpickler.py`; these here are narrower.
    """
    import zipfile

    if not Path(path).is_file():
        folder = ", it is a folder" if Path(path).is_dir() else ""
        raise FileNotFoundError(f"load_torch: there is no file {os.fspath(path)!r}{folder}")
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        memory.demand(size, f"load_torch: {os.fspath(path)!r}")
        try:
            _demand_zip(file.read(15))
            with zipfile.ZipFile(file) as archive:
                records = _Records(archive, size)
                return _Pickle(bytes(records.read("data.pkl")), records).load()
        except _RefusalError as error:
            reason = str(error)
        # What zipfile, pickletools and our stack make of a damaged file.
        except (
            *(zipfile.BadZipFile, struct.error, EOFError, OSError, RuntimeError, LookupError),
            *(TypeError, ValueError, OverflowError, MemoryError),
        ) as error:
            reason = f"is damaged ({type(error).__name__}: {error})"
    raise ValueError(f"load_torch: {os.fspath(path)!r} ({size} bytes) {reason[:999]}")


class _RefusalError(Exception):
    """Why a file is not read; `load_torch` adds which."""


def _demand_zip(start):
    """Refuse a file that does not begin as a zip archive."""
    if start == b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.":
        raise _RefusalError(
            "has the format before PyTorch 1.6; torch.save(torch.load(path), path) with a current "
            "PyTorch makes it readable"
        )
    if not start.startswith(b"PK\x03\x04"):
        instead = "; mc.load reads safetensors" if start[8:9] == b"{" else ""
        raise _RefusalError(
            f"is no zip archive as torch.save writes it: it begins with {start!r}{instead}"
        )


class _Records:
    """The records of a checkpoint's zip archive."""

    def __init__(self, archive, size):
        self.archive, self.size, self.arrays = archive, size, {}
        self.entries = {entry.filename: entry for entry in archive.infolist()}
        self.demand_plain(archive.infolist())
        folders = sorted({name.partition("/")[0] for name in self.entries})
        if len(folders) != 1:
            raise _RefusalError(
                f"has {len(folders)} top folders, {folders[:3]}; torch.save writes 1"
            )
        self.folder = folders[0]
        if f"{self.folder}/constants.pkl" in self.entries:
            raise _RefusalError(
                "is a TorchScript archive, which is a program; with a current PyTorch, "
                "torch.save(torch.jit.load(path).state_dict(), path) makes it readable"
            )
        present = f"{self.folder}/byteorder" in self.entries  # not in older files
        order = bytes(self.read("byteorder")) if present else b"little"
        if order not in (b"little", b"big"):
            raise _RefusalError(f"has byte order {order!r}; there are b'little' and b'big'")
        self.foreign = order.decode() != sys.byteorder

    def demand_plain(self, entries):
        """Refuse what makes much of a small file: compressed, overlapping and double records."""
        for entry in entries:
            if entry.compress_type or entry.flag_bits & 1 or entry.compress_size != entry.file_size:
                raise _RefusalError(
                    f"has a compressed or encrypted record {entry.filename!r} "
                    f"({entry.compress_size} bytes for {entry.file_size}); torch.save writes none"
                )
        claimed = sum(entry.file_size for entry in entries)
        if claimed > self.size or len(entries) != len(self.entries):
            raise _RefusalError(
                f"claims {claimed} bytes in {len(entries)} records of {len(self.entries)} names"
            )

    def read(self, name, least=0, most=_LARGEST_PICKLE):
        """Return a record as writable bytes."""
        entry = self.entries.get(f"{self.folder}/{name}")
        if entry is None:
            raise _RefusalError(f"has no record {f'{self.folder}/{name}'!r}")
        size = entry.file_size
        if not least <= size <= most:
            raise _RefusalError(f"has {size} bytes in {entry.filename!r}, not {least} to {most}")
        content = np.empty(size, np.uint8)
        with self.archive.open(entry) as record:
            for start in range(0, size, _PIECE):
                piece = record.read(min(_PIECE, size - start))
                content[start : start + _PIECE] = np.frombuffer(piece, np.uint8)
        return content

    def array(self, key, dtype, nbytes):
        """Return a storage as a flat array, the same one each time."""
        if key not in self.arrays:
            raw = np.dtype({"bfloat16": "uint16", "bool": "uint8"}.get(dtype, dtype))
            content = self.read(f"data/{key}", nbytes, self.size)
            flat = content[: nbytes - nbytes % raw.itemsize].view(raw)
            if self.foreign:
                flat.byteswap(inplace=True)
            if dtype == "bfloat16":  # the upper half of a float32
                flat = (flat.astype(np.uint32) << 16).view(np.float32)
            if dtype == "bool":  # NumPy counts on nothing but 0 and 1 in there
                flat = flat != 0
            self.arrays[key] = dtype, flat
        known, flat = self.arrays[key]
        if known != dtype:  # or a file of one storage could become fifteen times its size
            raise _RefusalError(
                f"reads storage {key!r} as {known} and as {dtype}; torch.save does not"
            )
        return flat


class _Name(str):
    """The full name of a class or function in a pickle, never the thing itself."""

    __slots__ = ()


class _Storage(NamedTuple):
    """A record, to be read when a tensor wants it."""

    records: _Records
    key: str
    dtype: str
    nbytes: int


class _Arguments(tuple):
    """A tuple with a name or a storage somewhere in it: something to call with, and no data."""

    __slots__ = ()


_NO_DATA = (_Name, _Storage, _Arguments)


class _Pickle:
    """A pickle, played on stacks of plain data.

    It is not Python's own reader with restrictions, because that one lets a file set attributes,
    and hash a tuple of a million levels, which ends the process without an exception.
    """

    def __init__(self, content, records):
        self.stream, self.records = io.BytesIO(content), records
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # one stack for each open mark
        self.memo: dict[int, Any] = {}

    def load(self):
        """Return the object."""
        most = (_RATIO * self.records.size + _ROOM) // _OPCODE
        for number, (name, argument) in enumerate(self.opcodes()):
            if number > most:
                raise _RefusalError(
                    f"has more than {most:,} opcodes in data.pkl; what so many make is larger than "
                    f"{_RATIO} times the file"
                )
            self.step(name, argument)
        [value] = self.pop(1)
        _demand_data([value])
        _demand_shallow(value)
        return value

    def opcodes(self):
        """Yield the name and argument of each opcode before STOP."""
        import pickletools

        known = {each.code.encode("latin-1"): (each.name, each.arg) for each in pickletools.opcodes}
        read = self.stream.read
        while (code := read(1)) in known:
            name, layout = known[code]
            if name == "STOP":
                return
            if name == "GLOBAL":
                yield name, ".".join(self.stream.readline().decode()[:-1] for _ in range(2))
            # The others of whole lines are text of old protocols, to be refused unread.
            elif layout is None or layout.n == pickletools.UP_TO_NEWLINE:
                yield name, None
            else:
                yield name, layout.reader(self.stream)
        raise _RefusalError(
            f"is damaged: data.pkl has {code.decode('latin-1')!r}, no opcode, at "
            f"{self.stream.tell()}"
        )

    def step(self, name, argument):
        """Play one opcode; all of them in one place, as a language is best read."""
        match name:
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case "BINUNICODE" | "BININT1" | "BININT2" | "BININT" | "LONG1" | "BINFLOAT":
                self.stack.append(argument)
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self.stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
            case "EMPTY_LIST" | "EMPTY_DICT":
                self.stack.append([] if name == "EMPTY_LIST" else {})
            case "MARK":
                self.below.append(self.stack)
                self.stack = []
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.make_tuple(self.pop(int(name[-1]) if name[-1].isdigit() else 0))
            case "TUPLE":
                self.make_tuple(self.pop_mark())
            case "APPEND":
                self.extend(self.pop(1))
            case "APPENDS":
                self.extend(self.pop_mark())
            case "SETITEM":
                self.update(self.pop(2))
            case "SETITEMS":
                self.update(self.pop_mark())
            case "GLOBAL":
                self.stack.append(_known(argument))
            case "BINPERSID":
                self.stack.append(self.storage(*_typed(self.stack.pop(), _Arguments)))
            case "REDUCE":
                function, arguments = self.pop(2)
                self.stack.append(_call(function, arguments))
            case "BUILD":  # attributes of an ordered dict, such as _metadata
                target, state = self.pop(2)
                _typed(state, dict)
                self.stack.append(_typed(target, dict))
            case "PROTO":
                if argument != 2:
                    raise _RefusalError(
                        f"is pickled with protocol {argument}; torch.save's own is 2"
                    )
            case _:
                raise _RefusalError(
                    f"has the pickle opcode {name} before byte {self.stream.tell()} of data.pkl; "
                    "torch.save writes none for tensors and plain data"
                )

    def pop(self, count):
        """Take the last objects off the stack."""
        if len(self.stack) < count:
            raise _RefusalError(
                f"is damaged: the pickle takes {count} of {len(self.stack)} objects"
            )
        taken = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return taken

    def pop_mark(self):
        """Take everything since the last mark."""
        taken, self.stack = self.stack, self.below.pop()
        return taken

    def make_tuple(self, values):
        """Push a tuple, known as no data if anything in it is none."""
        plain = all(type(value) not in _NO_DATA for value in values)
        self.stack.append(tuple(values) if plain else _Arguments(values))

    def extend(self, values):
        """Append to the list on the stack."""
        target = _typed(self.stack[-1], list)
        _demand_data(values)
        target.extend(values)

    def update(self, items):
        """Set items of the dict on the stack."""
        target = _typed(self.stack[-1], dict)
        for key in items[::2]:
            parts = key if type(key) is tuple else (key,)
            if len(parts) > _LONGEST_KEY:
                raise _RefusalError(f"has a dict with a key of {len(parts)} parts")
            for part in parts:
                _typed(part, str, int, float, bool, type(None))
        _demand_data(items[1::2])
        target.update(zip(items[::2], items[1::2], strict=True))

    def storage(self, what, kind, key, location, count):
        """Return the storage that a persistent id names; its location, a device, is ignored."""
        dtype = _STORAGES.get(_typed(kind, _Name))
        if _typed(what, str) != "storage" or dtype is None:
            raise _RefusalError(f"is damaged: the pickle takes {kind} for a storage")
        itemsize = {"": 1, "bfloat16": 2}.get(dtype) or np.dtype(dtype).itemsize
        return _Storage(self.records, _typed(key, str), dtype, _count(count) * itemsize)


def _demand_data(values):
    """Refuse values that are no data."""
    for value in values:
        if type(value) in _NO_DATA:
            what = value if type(value) is _Name else type(value).__name__.strip("_").lower()
            raise _RefusalError(f"holds {what}, which is neither a tensor nor plain data")


def _demand_shallow(value):
    """Refuse nesting beyond any use, and what holds itself; each level counts an object once."""
    level = _parts([value])
    for _ in range(_DEEPEST):
        inner = (part for whole in level for part in _parts(whole))
        level = list({id(part): part for part in inner}.values())
        if not level:
            return
    raise _RefusalError(f"nests lists, dicts and tuples more than {_DEEPEST} levels deep")


def _parts(value):
    """Return the lists, dicts and tuples in one of them."""
    parts = value.values() if type(value) is dict else value
    return [part for part in parts if type(part) in (list, dict, tuple)]


def _typed(value, *kinds):
    """Return a value of one of these types, not of a subclass."""
    if type(value) not in kinds:
        found, wanted = (kind.__name__.strip("_").lower() for kind in (type(value), kinds[0]))
        raise _RefusalError(f"is damaged: the pickle has {found} where {wanted} belongs")
    return value


def _count(value):
    """Return an integer that is not negative."""
    if _typed(value, int) < 0:
        raise _RefusalError(f"is damaged: the pickle has {value} where a count belongs")
    return value


def _known(name):
    """Return a name that stands in our tables: of a dtype as data, of anything else to call."""
    if name in _DTYPES:
        return name
    if name not in _STORAGES and name not in _FUNCTIONS:
        raise _RefusalError(
            f"holds {name!r}; only tensors and plain data are read, and nothing is executed. "
            "If that is a whole model, torch.save(model.state_dict(), path) writes what can be read"
        )
    return _Name(name)


def _call(name, arguments):
    """Call one of our functions by its name in torch."""
    if _typed(name, _Name) not in _FUNCTIONS:
        raise _RefusalError(f"is damaged: the pickle calls {name}, which is no function")
    return _FUNCTIONS[name](*_typed(arguments, tuple, _Arguments))


def _tensor(storage, offset, size, stride, requires_grad, hooks, metadata=None):
    """Return a view of a storage of numbers."""
    return _view(storage, _typed(storage, _Storage).dtype, offset, size, stride, metadata)


def _tensor_of_dtype(storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None):
    """Return a view of a storage of bytes."""
    if _typed(storage, _Storage).dtype or _typed(dtype, str) not in _DTYPES:
        raise _RefusalError(f"is damaged: the pickle views {storage.dtype or 'bytes'} as {dtype!r}")
    return _view(storage, dtype.removeprefix("torch."), offset, size, stride, metadata)


def _view(storage, dtype, offset, size, stride, metadata):
    """Return elements of a storage as an array that shares its memory."""
    if metadata is not None:
        raise _RefusalError(
            f"has a tensor that is lazily {list(_typed(metadata, dict))}; tensor.resolve_conj() "
            "and resolve_neg() before torch.save make it readable"
        )
    if not dtype:
        raise _RefusalError("is damaged: the pickle has a tensor of bytes without a dtype")
    axes = list(zip(_typed(size, tuple), _typed(stride, tuple), strict=True))
    last = _count(offset) + sum((_count(n) - 1) * _count(step) for n, step in axes)
    flat = storage.records.array(storage.key, dtype, storage.nbytes)
    if 0 in size:
        return np.empty(size, flat.dtype)
    # NumPy's own check overflows: it takes 5 elements with stride 2**62 for one.
    if last >= len(flat):
        raise _RefusalError(
            f"is damaged: a tensor of size {size}, stride {stride} and offset {offset} reaches "
            f"element {last} of storage {storage.key!r}, which has {len(flat)}"
        )
    strides = [step * flat.itemsize if n > 1 else 0 for n, step in axes]
    return np.ndarray(size, flat.dtype, flat, offset * flat.itemsize, strides)


def _device(kind, index=None):
    """Return the name of a device."""
    return _typed(kind, str) + (f":{_count(index)}" if index is not None else "")


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    # Not dict itself, which would take keys that nobody has looked at.
    "collections.OrderedDict": lambda: {},  # noqa: PIE807
    "collections.Counter": lambda counts: _typed(counts, dict),
    "torch.Size": lambda size: _typed(size, tuple),
    "torch.device": _device,
    "__builtin__.complex": lambda *parts: complex(*(_typed(part, float) for part in parts)),
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": lambda data, *rest: _typed(data, np.ndarray),
    "torch._utils._rebuild_parameter_with_state": lambda data, *rest: _typed(data, np.ndarray),
}
