"""The readers that are fuzzed: what they read, what they may say, and what to begin with."""

import gzip
import io
import json
import os
import re
import struct
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from safetensors.numpy import save as as_bytes

import minicnn as mc
from minicnn import data, nn, ops, optim, run_folder
from minicnn.audio import cache, datasets, sound
from minicnn.train import _Run
from tests.reliability import fuzzing
from tests.test_torch_checkpoint import four, name, plain, program, storage, tensor, untyped

OURS = str(Path(mc.__file__).parent)
Reader = partial(fuzzing.Reader, guided_by=(OURS,))


def touched(value):
    """Read every element of what was read, or the corners of what is folded: it is all there."""
    if isinstance(value, np.ndarray):
        if value.size:
            value[(0,) * value.ndim], value[(-1,) * value.ndim]
        if value.size < 1 << 16:
            value.tobytes()
    elif isinstance(value, dict):
        for key in value:
            touched(value[key])
    elif isinstance(value, (list, tuple)):
        for each in value:
            touched(each)


def written(write):
    """Return the bytes that a function writes to a file."""
    path = Path(os.environ.get("TMPDIR", "/tmp"), f"seed{os.getpid()}")
    try:
        write(path)
        return path.read_bytes()
    finally:
        path.unlink(missing_ok=True)


def checkpoints():
    state = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.zeros((0, 3), np.float64),
        "history": [{"loss": 0.1, "epoch": 1}],
        "seed": 2**100,
    }
    dtypes = {kind: np.ones(3, kind) for kind in ("u1", "i2", "f2", "i8", "?")}
    return tuple(written(partial(mc.save, state=each)) for each in (state, dtypes, {"x": 1}, {}))


def with_length(header):
    """Return a safetensors file of a header, which is preceded by its length, and its bytes."""
    ends = [int(number[-5:]) for number in re.findall(rb"(\d+)\]", header)]
    return struct.pack("<Q", len(header)) + header + bytes(min(max(ends, default=0), 1000))


def header(content):
    """Return the header of a safetensors file."""
    return content[8 : 8 + struct.unpack("<Q", content[:8])[0]]


def metadata(text):
    """Return a safetensors file with our own values, which are JSON within JSON."""
    own = json.dumps({"__metadata__": {"minicnn": text.decode("utf-8", "replace")}}).encode()
    return struct.pack("<Q", len(own)) + own


# What a stranger's checkpoint would say to have something done.
HOSTILE = tuple(
    program(name(function) + b"(" + plain(argument) + b"tR")
    for function, argument in (
        ("os.system", "touch /tmp/harm"),
        ("posix.system", "touch /tmp/harm"),
        ("builtins.exec", "import os"),
        ("subprocess.Popen", "true"),
        ("numpy.load", "/etc/passwd"),
        ("minicnn.checkpoint.save", "/tmp/harm"),
    )
)


def pickles():
    value = {"a": [1, 2.5, "text", (None, True, 2**40)], "b": {1: -1}}
    tensors = tensor(), tensor(size=(2, 2), stride=(2, 1)), tensor(size=(3, 4), stride=(0, 1))
    bytes_ = tensor(untyped, more=plain("torch.float32").replace(b"q\x00", b""), version=3)
    kinds = [
        tensor(storage(f"torch.{kind}Storage", count=count), size=(count,))
        for kind, count in (("Double", 2), ("BFloat16", 8), ("Bool", 16), ("ComplexFloat", 2))
    ]
    return (
        program(plain(value)),
        program(plain(value), tensors[0], b"\x86"),
        program(b"]", b"(", *tensors, b"e"),
        program(bytes_),
        *(program(each) for each in kinds),
        *HOSTILE,
    )


def archive(content):
    """Return a checkpoint of PyTorch around its pickle."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("archive/data.pkl", content)
        made.writestr("archive/data/0", four)
        made.writestr("archive/byteorder", b"little")
    return file.getvalue()


def idx(dtype, shape):
    values = np.arange(np.prod(shape)).reshape(shape)
    code = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}[dtype]
    sizes = struct.pack(f">{len(shape)}I", *shape)
    return bytes([0, 0, code, len(shape)]) + sizes + values.astype(dtype).tobytes()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npy_with_length(header):
    """Return a .npy file of a header, which is preceded by its length, and some bytes."""
    header = header[:60_000]
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(96)


def sounds():
    tone = 0.5 * np.sin(np.arange(300) / 5)
    made = []
    for kind, subtype in (
        ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("AIFF", "PCM_24"), ("FLAC", "PCM_16"),
        ("AU", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("CAF", "PCM_16"),
        ("W64", "PCM_16"), ("RF64", "PCM_16"), ("MP3", "MPEG_LAYER_III"),
    ):  # fmt: skip
        rate = 48_000 if subtype == "OPUS" else 16_000
        file = io.BytesIO()
        soundfile.write(file, np.stack([tone, -tone], 1), rate, format=kind, subtype=subtype)
        made.append(file.getvalue())
    return tuple(made)


TABLES = {
    "classes": "file,label,split\na.wav,flute,train\nb.wav,horn,test\n",
    "tags": 'file;tags\na.wav;"rock;slow"\nb.wav;\n',
    "onsets": "file,time\na.wav,0.005\na.wav,0.01\nb.wav,\n",
    "voice": "file,start,end,label\na.wav,0,0.01,sing\na.wav,0.01,0.015,nosing\nb.wav,,,\n",
    "pitch": "file\ttime\tfrequency\na.wav\t0\t440\na.wav\t0,01\t\nb.wav\t\t\n",
    "multi_f0": "file,time,frequency\na.wav,0,440\na.wav,0,660\na.wav,0.01,0\nb.wav,,\n",
}
LABELS = {
    "onsets": ("0.005\n0.01\n", "time\n0,01\n"),
    "voice": ("0 0.01 sing\n0.01 0.015 nosing\n", "start,end\n0,0.01\n"),
    "pitch": ("0;440\n0,01;0\n", "time\tHz\n0\t440.0\n0.01\t441.0\n"),
    "multi_f0": ("0   440  660\n0.01\n", "0,0\n0,01;440;660,5\n"),
}


def run_to_go_on_with(folder):
    """Return what restores a run from its checkpoint, the values in one, and what adds arrays."""
    mc.manual_seed(0)
    streams = (np.random.Generator(bits(3)) for bits in (np.random.Philox, np.random.SFC64))
    model = nn.Sequential(*(nn.Dropout(0.1, rng=each) for each in streams), nn.Linear(2, 2, rng=0))
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    batches = data.DataLoader(data.ArrayDataset(np.eye(2, dtype=np.float32), np.arange(2)), 2)
    run = _Run(model, optimizer, batches, None, "train_loss", "min", model, ops.cross_entropy, None,
               None)  # fmt: skip
    mc.fit(model, batches, ops.cross_entropy, optimizer, epochs=1, monitor="train_loss",
           checkpoint=folder / "run", progress=False)  # fmt: skip
    state = mc.load(folder / "run" / "last.safetensors")
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    values = {name: value for name, value in state.items() if name not in arrays}

    def read(path):
        run_folder._restore(folder / "run", mc.load(path), run)
        for stream in run_folder._generators(model).values():
            stream.random(9)  # NumPy reads where the state of a stream says

    def with_arrays(text):
        return as_bytes(arrays, metadata={"minicnn": text.decode("utf-8", "replace")})

    return read, json.dumps(values, separators=(",", ":")).encode(), with_arrays


def readers(folder):
    """Return every reader by its name; sounds that tables name are made in this folder."""
    for each in ("a.wav", "b.wav"):
        soundfile.write(folder / each, np.zeros(300), 16_000)
    made = {}
    whole = checkpoints()
    words = (b'"dtype"', b'"shape"', b'"data_offsets"', b'"__metadata__"', b'"minicnn"', b'"F32"',
             b'"BF16"', b'"F8_E4M3"', b'"F4"', b'"C64"', b"[", b"]", b"{", b"}", b'"', b":", b",",
             b"[[[[[[[[", b"NaN", b"1e999", b"\\ud800", b"null", b'{"a":')  # fmt: skip

    def load(path):
        touched(mc.load(path))

    made["load"] = Reader(load, whole, "load: ", words, weight=150)
    headers = tuple(map(header, whole))
    made["load: header"] = Reader(load, headers, "load: ", words, with_length, weight=150)
    own = (b'{"history": [{"loss": 0.1}], "seed": 1267650600228229401496703205376}', b"{}")
    made["load: metadata"] = Reader(load, own, "load: ", words, metadata, weight=50)

    read, values, wrap = run_to_go_on_with(folder)
    parts = (b'"PCG64"', b'"MT19937"', b'"pos"', b'"buffer_pos"', b'"epoch"', b'"group.0"',
             b'"0.step"', b"null", b"-1", b"[]", b"{}", b"1e999", b"0.5", b'"a\\nb"')  # fmt: skip
    made["a run to go on with"] = Reader(
        read, (values,), ("fit: ", "load: "), parts, wrap, weight=30
    )

    def load_torch(path):
        touched(mc.load_torch(path))

    opcodes = (
        *HOSTILE, b"cos\nsystem\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"q\x00", b"h\x00",
        *(bytes([each]) for each in b"Qbsuae]}(N.\x85\x86\x87\x88"), b"K\x00", b"\x80\x02", b"tR",
        b"\x8a\x09" + b"\xff" * 9, b"J\xff\xff\xff\x7f", b"r\xff\xff\xff\x7f",
        b"X\x01\x00\x00\x000", storage(), tensor(), b"ccollections\nOrderedDict\n)R",
        b"ctorch\nSize\n", b"ctorch\nfloat32\n",
    )  # fmt: skip
    zips = (b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"archive/",
            b"data.pkl", b"data/0", b"byteorder", b"big", b"..", b"/")  # fmt: skip
    archives = tuple(map(archive, pickles()))
    made["load_torch"] = Reader(load_torch, archives, "load_torch: ", opcodes + zips, weight=130)
    made["load_torch: pickle"] = Reader(
        load_torch, pickles(), "load_torch: ", opcodes, archive, weight=70
    )

    def read_idx(path):
        touched(data.read_idx(path))

    shapes = ("u1", (3, 2, 2)), ("i1", (5,)), (">i2", (2, 2)), (">i4", (1,)), (">f4", (2, 0))
    arrays = tuple(idx(*each) for each in (*shapes, (">f8", (1, 1, 1, 1))))
    made["read_idx"] = Reader(
        read_idx, arrays, "read_idx: ", (b"\0\0\x08\x01", bytes(4)), weight=150
    )
    zipped = partial(gzip.compress, compresslevel=1, mtime=0)
    made["read_idx: gzip"] = Reader(
        read_idx, tuple(map(zipped, arrays)), "read_idx: ", suffix=".gz", weight=70
    )
    made["read_idx: zipped"] = Reader(read_idx, arrays, "read_idx: ", (), zipped, ".gz", weight=70)

    def mapped(path):
        cache._is_readable(path)
        touched(data.MappedDataset(path).arrays[0])

    saved = tuple(map(npy, (np.ones((2, 3), np.float32), np.arange(4), np.zeros((0, 2)),
                            np.ones(2, "c8"), np.asfortranarray(np.ones((2, 2))))))  # fmt: skip
    dtypes = (
        *b"'|O' '<f4' '<U9' 'V8' '<M8[s]' True False 'shape' 'descr' 'fortran_order' ( ) , { } -1 "
        b"1j 9999999999 None __import__('os') ~ # \\".split(), b"[('a', '<f4')]", b"lambda: 0",
        b"(" * 9, b"-" * 99, b"\x93NUMPY\x02\x00", b"\x93NUMPY\x03\x00", b"PK\x03\x04", b'"' * 3,
    )  # fmt: skip
    npy_events = frozenset({"mmap.__new__", "compile"})  # a header is parsed as a literal
    numpy_too = (OURS, "/numpy/lib/_format_impl.py")
    make = partial(
        Reader, mapped, error="MappedDataset: ", tokens=dtypes, allowed=npy_events,
        guided_by=numpy_too, suffix=".npy",
    )  # fmt: skip
    made["feature cache"] = make(saved, weight=30)
    headers = tuple(each[10 : 10 + struct.unpack("<H", each[8:10])[0]].rstrip() for each in saved)
    made["feature cache: header"] = make(headers, wrap=npy_with_length, weight=20)

    def labels(path, task):
        for track in datasets.load(path, task):
            touched(track.label)

    cells = (
        *b"file label labels tags time start end frequency split a.wav b.wav ../a.wav /etc/passwd "
        b"input.csv /dev/zero . / nan inf -1 1e999 0.01 0,01 1_0 train sing nosing ; , \"".split(),
        b"\t", b"\n", b"\r\n", b"\0", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xd9\xa3", b"x" * 300,
    )  # fmt: skip
    for task, text in TABLES.items():
        make = partial(
            Reader, partial(labels, task=task), error="load: ", tokens=cells, suffix=".csv"
        )
        made[f"labels: {task}"] = make((text.encode(),), weight=8)

    def label_file(path, task):
        table = folder / "labels.csv"
        if not table.exists():
            table.write_text(f"file,labels\na.wav,{path.name}\n")
        labels(table, task)

    for task, texts in LABELS.items():
        made[f"labels: {task} in a file"] = Reader(
            partial(label_file, task=task), tuple(each.encode() for each in texts), "load: ", cells,
            suffix=".txt", weight=6,
        )  # fmt: skip

    def listen(path):
        touched(sound.load(path, 8000)[0])

    marks = (
        b"OggS",
        b"data",
        b"fmt ",
        b"RIFF",
        b"FORM",
        b"SSND",
        b"COMM",
        b"fLaC",
        b"caff",
        b".snd",
    )
    made["audio"] = Reader(listen, sounds(), "load: ", marks, suffix=".wav", weight=18)

    def cut(path):
        sound._cut_off_page(path)
        sound._cut_off(path.read_bytes().decode("latin-1"))

    pages = (*(each for each in sounds() if each.startswith(b"OggS")),
             b"data : 4000 (should be 400)\n", b"Riff size : 99 (should be 40)\n")  # fmt: skip
    made["audio: our own code"] = Reader(cut, pages, "nothing", (*marks, b"should be"), weight=20)
    return made
