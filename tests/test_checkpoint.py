"""Files: what goes in comes out, what is there is never lost, and foreign files are refused."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
from minicnn import nn, optim
from minicnn.checkpoint import held, written_whole


def test_what_is_saved_is_loaded(tmp_path):
    state = {
        "weight": np.arange(6, dtype=np.float32).reshape(2, 3),
        "strided": np.arange(6.0).reshape(2, 3).T,
        "scalar": np.array(3, np.int64),
        "empty": np.zeros((0, 3), np.float32),
        "tensor": mc.Tensor([1.5]),
        "epoch": 7,
        "history": [{"loss": 0.1}, {"loss": float("inf")}],
        "seed": 2**127,
    }
    mc.save(tmp_path / "new" / "state.safetensors", state)
    loaded = mc.load(tmp_path / "new" / "state.safetensors")
    assert loaded.keys() == state.keys()
    for name, value in state.items():
        value = value.data if isinstance(value, mc.Tensor) else value
        if isinstance(value, np.ndarray):
            assert loaded[name].dtype == value.dtype
            assert np.array_equal(loaded[name], value)
        else:
            assert loaded[name] == value


def test_a_model_and_its_optimizer_go_through_files(tmp_path):
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    optimizer = optim.Adam(model.parameters())
    model(mc.Tensor(np.random.default_rng(0).random((4, 3), np.float32))).sum().backward()
    optimizer.step()
    mc.save(tmp_path / "model", model.state_dict())
    mc.save(tmp_path / "optimizer", optimizer.state_dict())
    twin = nn.Sequential(nn.Linear(3, 2, rng=9), nn.BatchNorm1d(2))
    twin.load_state_dict(mc.load(tmp_path / "model"))
    restored = optim.Adam(twin.parameters(), lr=5.0)
    restored.load_state_dict(mc.load(tmp_path / "optimizer"))
    assert restored.param_groups[0]["lr"] == 1e-3
    for name, array in model.state_dict().items():
        assert np.array_equal(twin.state_dict()[name], array)


def test_other_programs_read_our_files_and_we_read_theirs(tmp_path):
    numpy_files = pytest.importorskip("safetensors.numpy")
    mc.save(tmp_path / "ours", {"a": np.ones(3), "note": "x"})
    assert list(numpy_files.load_file(tmp_path / "ours")) == ["a"]
    numpy_files.save_file({"b": np.ones(2)}, tmp_path / "theirs", metadata={"format": "pt"})
    assert mc.load(tmp_path / "theirs")["b"].tolist() == [1, 1]


def test_a_failed_save_leaves_the_old_file_and_no_debris(tmp_path):
    path = tmp_path / "state"
    mc.save(path, {"a": np.ones(3)})
    before = path.read_bytes()
    with pytest.raises(TypeError, match=r"save: .*set.*'bad': 'set'"):
        mc.save(path, {"a": np.zeros(3), "bad": {1}})
    with pytest.raises(RuntimeError), written_whole(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("power cut")
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["state"]


def test_two_who_write_one_file_at_once_do_not_share_their_halves(tmp_path):
    path = tmp_path / "array.npy"
    with written_whole(path) as first, written_whole(path) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
        assert first.read_bytes() == b"first"
    assert path.read_bytes() == b"first"  # whose block ended last
    assert list(tmp_path.iterdir()) == [path]


def fails(number):
    """Return a function that raises an error of the system."""

    def raises(*_, **__):
        raise OSError(number, os.strerror(number))

    return raises


def test_an_error_of_writing_is_said_although_its_debris_cannot_be_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", fails(errno.EROFS))
    monkeypatch.setattr(Path, "unlink", fails(errno.EROFS))
    with pytest.raises(OSError, match="Read-only file system; .* bytes are free") as caught:
        mc.save(tmp_path / "state", {"a": np.ones(1)})
    assert caught.value.filename == str(tmp_path / "state")


def test_a_folder_is_let_go_of_although_its_lock_cannot_be_removed(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fails(errno.EROFS))
        with pytest.raises(RuntimeError, match="of training"), held(tmp_path):
            raise RuntimeError("an error of training")
    assert (tmp_path / ".held").exists()
    with open(tmp_path / ".held") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with held(tmp_path) as is_alone:
        assert is_alone
    assert os.listdir(tmp_path) == []


def test_who_holds_a_folder_is_named_only_if_it_has_said_so(tmp_path, monkeypatch):
    pytest.importorskip("fcntl", reason="Windows has no such locks")
    monkeypatch.setattr(os, "pwrite", fails(errno.ENOSPC))
    with held(tmp_path), pytest.raises(BlockingIOError, match=r"\] another run is writing to this"):
        held(tmp_path).__enter__()


def test_where_there_are_no_locks_nobody_is_kept_away(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")
    monkeypatch.setattr(fcntl, "flock", fails(errno.ENOLCK))
    with held(tmp_path) as first, held(tmp_path) as second:
        assert not first
        assert not second


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"__metadata__": np.ones(1)}, "'__metadata__' cannot be a name"),
        ({1: np.ones(1)}, "1 cannot be a name"),
        ({"a": np.ones(1, complex)}, "a is complex128; safetensors holds real numbers"),
        ({"a": np.array(["x"])}, "a is <U1; safetensors holds real numbers"),
    ],
)
def test_what_a_file_cannot_hold_is_named_before_anything_is_written(tmp_path, state, message):
    with pytest.raises(TypeError, match=f"save: {message}"):
        mc.save(tmp_path / "state", state)
    assert os.listdir(tmp_path) == []


def test_files_have_the_permissions_that_the_user_asks_for(tmp_path):
    before = os.umask(0o022)
    try:
        mc.save(tmp_path / "state", {"a": np.ones(1)})
    finally:
        os.umask(before)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("note", ["[1]", "5", "nonsense"])
def test_foreign_metadata_of_our_name_is_refused(tmp_path, note):
    files = pytest.importorskip("safetensors.numpy")
    files.save_file({"a": np.ones(1)}, tmp_path / "foreign", metadata={"minicnn": note})
    with pytest.raises(ValueError, match="foreign' .* is no whole safetensors file"):
        mc.load(tmp_path / "foreign")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="load: there is no file .*nothing"):
        mc.load(tmp_path / "nothing")


@pytest.mark.parametrize("size", [0, 4, 20, -1])
def test_a_truncated_file_is_refused(tmp_path, size):
    path = tmp_path / "state"
    mc.save(path, {"a": np.ones(100)})
    content = path.read_bytes()[:size]
    path.write_bytes(content)
    message = rf"load: .*state' \({len(content)} bytes\) is no whole safetensors file"
    with pytest.raises(ValueError, match=message):
        mc.load(path)


@pytest.mark.parametrize(
    "content", [b"\x80\x04pickle me", b"PK\x03\x04 a zip of PyTorch", b"x" * 99]
)
def test_a_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "foreign").write_bytes(content)
    with pytest.raises(ValueError, match="is no whole safetensors file"):
        mc.load(tmp_path / "foreign")


def test_a_dtype_that_numpy_lacks_is_named(tmp_path):
    torch = pytest.importorskip("torch")
    files = pytest.importorskip("safetensors.torch")
    files.save_file({"a": torch.ones(2, dtype=torch.bfloat16)}, tmp_path / "half")
    # Without the one library that teaches NumPy this dtype; others may have imported it here.
    script = """
import sys
sys.modules["ml_dtypes"] = None
import minicnn as mc
mc.load(sys.argv[1])
"""
    command = [sys.executable, "-c", script, str(tmp_path / "half")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert re.search("(?i)ValueError: .*that NumPy can hold: .*bf.*16", run.stderr)
