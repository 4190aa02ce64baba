"""What a .cu file says of itself: its headers, and of each kernel the arguments it takes.

Read from the text, so that launchers can be checked without a compiler. For that the sources keep
to a form: kernels begin with `extern "C" __global__ void`, what they take as a whole is a struct of
data only, and an array inside a struct has the length of a number or a `constexpr int`.
"""

import re
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = Path(__file__).parent

_NAMES = {
    "int": np.int32,
    "unsigned": np.uint32,
    "Int64": np.int64,
    "UInt64": np.uint64,
    "float": np.float32,
    "double": np.float64,
}
_COMMENT = re.compile(r"//.*")
_INCLUDE = re.compile(r'^#include "(\w+\.cuh)"', re.MULTILINE)
_KERNEL = re.compile(
    r'extern "C" __global__ void(?: __launch_bounds__\([^)]*\))?\s+(\w+)\(([^)]*)\)\s*\{'
)
_PARAMETER = re.compile(r"(const )?(\w+)(\*)?(?: __restrict__)? (\w+)")
_STRUCT = re.compile(r"struct (\w+) \{([^}]*)\};")
_FIELDS = re.compile(r"(const )?(\w+)(\*)? ([^;]+);")
_CONSTANT = re.compile(r"constexpr int (\w+) = (\d+);")


class Parameter(NamedTuple):
    """One argument of a kernel, or one field of a struct that it takes."""

    name: str
    type: str
    is_pointer: bool
    is_constant: bool  # the kernel only reads through the pointer
    length: int | None = None  # of a field that is an array


class Source:
    """A .cu file with its headers. Nothing is read before it is asked for."""

    def __init__(self, path):
        self.path = Path(path)

    @cached_property
    def text(self):
        """The text of the headers, each once, and of the file."""
        texts: dict[str, str] = {}
        self._collect(self.path, texts)
        return "\n".join(texts.values())

    def _collect(self, path, texts):
        text = path.read_text()
        for name in _INCLUDE.findall(text):
            if name not in texts:
                beside = path.parent / name
                self._collect(beside if beside.exists() else FOLDER / name, texts)
        texts[path.name] = text

    @cached_property
    def kernels(self):
        """The parameters of each kernel."""
        return {
            name: [
                Parameter(own, kind, bool(star), bool(const))
                for const, kind, star, own in _PARAMETER.findall(parameters)
            ]
            for name, parameters in _KERNEL.findall(_COMMENT.sub("", self.text))
        }

    @cached_property
    def structs(self):
        """The fields of each struct."""
        text = _COMMENT.sub("", self.text)
        constants = {name: int(value) for name, value in _CONSTANT.findall(text)}
        return {name: list(_fields(body, constants)) for name, body in _STRUCT.findall(text)}

    @cached_property
    def holders(self):
        """The names of the structs that hold pointers."""
        return {name for name, fields in self.structs.items() if any(f.is_pointer for f in fields)}

    def dtype(self, parameter, real, index):
        """Return the dtype of what a parameter is, or points to."""
        if parameter.type in self.structs:
            fields = self.structs[parameter.type]
            parts = [(f.name, self._stored(f, real, index), f.length or ()) for f in fields]
            return np.dtype(parts, align=True)
        names = _NAMES | {"Real": real, "Index": index}
        return np.dtype(names[parameter.type])

    def _stored(self, field, real, index):
        return np.dtype(np.uint64) if field.is_pointer else self.dtype(field, real, index)


def _fields(body, constants):
    for const, kind, star, names in _FIELDS.findall(body):
        for name in names.split(","):
            own, _, size = name.strip().rstrip("]").partition("[")
            length = constants.get(size) or int(size) if size else None
            yield Parameter(own, kind, bool(star), bool(const), length)
