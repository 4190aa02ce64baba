"""Files of some megabytes that become as much as they can.

`python -m tests.reliability.bombs FOLDER [NAME ...]` writes them, and reads each with ten times its
size and 64 MB of memory. A line of JSON says what came of it, in how many seconds of computing.
"""

import gzip
import json
import resource
import struct
import sys
import time
import zipfile
from functools import partial
from pathlib import Path

import minicnn as mc
from minicnn import data
from minicnn.audio import cache, datasets, sound
from tests.reliability.fuzzing import ROOM, limit_memory
from tests.reliability.readers import npy_with_length, sounds

MEGABYTES = 8


def repeated(part, size=MEGABYTES << 20):
    return part * (size // len(part))


def header(text):
    return struct.pack("<Q", len(text)) + text


def metadata(text):
    return header(json.dumps({"__metadata__": {"minicnn": text}}).encode())


def many_arrays():
    entry = '"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    count = (MEGABYTES << 20) // 56
    return header(("{" + ",".join(entry % i for i in range(count)) + "}").encode())


def pickled(content):
    def write(path):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/data/0", bytes(16))

    return write


def many_records(path):
    """Write a directory of records that do not exist: 47 bytes each, and so an object each."""
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", *[20, 20, 0, 0, 0, 0], *[0] * 3, *[1, 0, 0, 0, 0],
                        0, 0) + b"a"  # fmt: skip
    count = (MEGABYTES << 20) // len(entry)
    directory = entry * count
    end64 = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), 4)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, 4 + len(directory), 1)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    path.write_bytes(b"PK\3\4" + directory + end64 + locator + end)


def zipped(shape):
    def write(path):
        declared = b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
        with gzip.open(path, "wb", compresslevel=9) as file:
            file.write(declared)
            for _ in range(1 << 7):
                file.write(bytes(1 << 20))

    return write


def flac(path):
    """Write a file of 300 samples that declares 2^36."""
    content = bytearray(next(each for each in sounds() if each.startswith(b"fLaC")))
    content[21] |= 15
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)


def numbered_lines(text):
    return b"file,label\n" + b"".join(text % i for i in range((MEGABYTES << 20) // len(text)))


def mapped(path):
    assert not cache._is_readable(path)
    data.MappedDataset(path)


def values(part):
    return lambda: metadata('{"a":[' + repeated(part)[:-1] + "]}")


def program(start, part):
    return pickled(b"\x80\x02" + start + repeated(part))


def memos():
    return b"".join(b"r" + struct.pack("<I", i) for i in range((MEGABYTES << 20) // 5))


def table(line):
    return lambda: b"file,label\n" + repeated(line)


classes = partial(datasets.load, task="classes")

# By name: the suffix, what returns the content or writes the file, and what reads it.
BOMBS = {
    "JSON of empty lists": (".a", values("[],"), mc.load),
    "JSON of small dicts": (".a", values('{"a":1},'), mc.load),
    "JSON of small numbers": (".a", values("257,"), mc.load),
    "JSON that nests": (".a", lambda: metadata(repeated("[")), mc.load),
    "JSON that nests a little": (".a", lambda: metadata("[" * 100_000), mc.load),
    "JSON of one number": (".a", lambda: metadata(repeated("9")), mc.load),
    "many arrays": (".a", many_arrays, mc.load),
    "a header of spaces": (".a", lambda: header(repeated(b" ")), mc.load),
    "a pickle of lists": (".pt", lambda path: program(b"", b"]")(path), mc.load_torch),
    "a pickle of dicts": (".pt", lambda path: program(b"", b"}K\x00Ns")(path), mc.load_torch),
    "a pickle of marks": (".pt", lambda path: program(b"", b"(")(path), mc.load_torch),
    "a pickle of memos": (".pt", lambda path: pickled(b"\x80\x02N" + memos())(path), mc.load_torch),
    "a pickle that folds": (
        ".pt", lambda path: program(b"]", b"q\x00h\x00\x86")(path), mc.load_torch,
    ),
    "many records": (".pt", many_records, mc.load_torch),
    "gzip of zeros": (".gz", zipped((1 << 7, 1 << 10, 1 << 10)), data.read_idx),
    "gzip of more than it says": (".gz", zipped((1, 1)), data.read_idx),
    "a header of brackets": (".npy", lambda: npy_with_length(b"(" * 9999), mapped),
    "FLAC of nothing": (".flac", flac, sound.load),
    "a table of short lines": (".csv", table(b"a,b\n"), classes),
    "a table of many files": (".csv", lambda: numbered_lines(b"%d,a\n"), classes),
    "a table of one line": (".csv", table(b"ab,"), classes),
    "a table of one word": (".csv", table(b"a"), classes),
    "a table of quotation marks": (".csv", table(b'"'), classes),
    "a table of characters of four bytes": (".csv", table("\U0001f3b5,b\n".encode()), classes),
}  # fmt: skip
# Those that are quickly written and read.
FEW = (
    "JSON of empty lists", "JSON that nests a little", "gzip of more than it says",
    "a header of brackets", "FLAC of nothing", "a table of one line",
)  # fmt: skip


def main():
    folder, chosen = Path(sys.argv[1]), sys.argv[2:] or BOMBS
    for name in chosen:
        suffix, made, read = BOMBS[name]
        path = folder / f"{name.replace(' ', '_')}{suffix}"
        if callable(made):
            content = made(path) if made.__code__.co_argcount else made()
        if content is not None:
            path.write_bytes(content)
        del content
        size = path.stat().st_size
        limit_memory(ROOM + 10 * size)
        started = time.process_time()
        try:
            read(path)
            outcome = "it is read"
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
        seconds = time.process_time() - started
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        print(json.dumps([name, size, seconds, outcome[:600]]), flush=True)
        path.unlink()


if __name__ == "__main__":
    main()
