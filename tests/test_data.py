"""Data sets and the loader: batches, order, streams of random numbers, workers, and IDX files."""

import gzip
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
from minicnn.data import ArrayDataset, DataLoader, MappedDataset, read_idx


def jitter(x, label, *, rng):
    return x + rng.standard_normal(x.shape), label


def fail(x, label, *, rng):
    raise KeyError(f"label {label}")


def die(x, label, *, rng):
    os._exit(1)


def process_number(x, label, *, rng):
    return np.array(os.getpid()), label


def slow(x, label, *, rng):
    time.sleep(0.005)
    return x, label


def samples(count=10):
    return ArrayDataset(np.arange(count * 2.0).reshape(count, 2), np.arange(count))


def test_batches_are_stacked_samples_and_the_last_may_be_short():
    batches = list(DataLoader(samples(), batch_size=4))
    assert [len(x) for x, _ in batches] == [4, 4, 2]
    assert np.array_equal(np.concatenate([labels for _, labels in batches]), np.arange(10))
    assert [len(x) for x, _ in DataLoader(samples(), 4, drop_last=True)] == [4, 4]
    assert len(DataLoader(samples(), 4)) == 3
    assert len(DataLoader(samples(), 4, drop_last=True)) == 2


def test_any_sequence_is_a_data_set():
    batches = list(DataLoader([np.ones(2), np.zeros(2), np.ones(2)], 2))
    assert [batch[0].tolist() for batch in batches] == [[[1, 1], [0, 0]], [[1, 1]]]


def test_shuffling_gives_each_epoch_an_order_that_the_seed_decides():
    def epochs(loader):
        return [[label for _, labels in loader for label in labels.tolist()] for _ in range(3)]

    first = epochs(DataLoader(samples(), 3, shuffle=True, rng=5))
    assert first == epochs(DataLoader(samples(), 4, shuffle=True, rng=5))
    assert first != epochs(DataLoader(samples(), 3, shuffle=True, rng=6))
    assert all(sorted(epoch) == list(range(10)) for epoch in first)
    assert first[0] != first[1] != first[2]


@pytest.mark.parametrize("shuffle", [False, True])
def test_epochs_of_another_size_follow_one_another_through_all_samples(shuffle):
    loader = DataLoader(samples(), 3, shuffle, epoch_size=4, rng=5)
    assert len(loader) == 2
    epochs = [[label for _, labels in loader for label in labels.tolist()] for _ in range(5)]
    assert [len(epoch) for epoch in epochs] == [4] * 5
    seen = [label for epoch in epochs for label in epoch]
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    whole = DataLoader(samples(), 10, shuffle, rng=5)
    assert seen == [label for _ in range(2) for _, labels in whole for label in labels.tolist()]


def test_an_epoch_may_be_longer_than_the_data_set():
    (_, labels), (_, more) = DataLoader(samples(), 15, epoch_size=25)
    assert np.array_equal(np.append(labels, more), np.arange(25) % 10)


def test_the_seed_comes_from_manual_seed_unless_it_is_given():
    mc.manual_seed(4)
    seed = DataLoader(samples()).seed
    assert DataLoader(samples()).seed != seed
    mc.manual_seed(4)
    assert DataLoader(samples()).seed == seed


def test_a_restored_loader_goes_on_where_the_first_one_stopped():
    loader = DataLoader(samples(), 3, shuffle=True, transform=jitter, rng=1)
    list(loader)
    state = loader.state_dict()
    expected = np.concatenate([x for x, _ in loader])
    other = DataLoader(samples(), 3, shuffle=True, transform=jitter, rng=99)
    other.load_state_dict(state)
    assert np.array_equal(np.concatenate([x for x, _ in other]), expected)


def test_a_samples_random_numbers_do_not_depend_on_batches_order_or_workers():
    def by_label(loader):
        parts = list(loader)
        order = np.argsort(np.concatenate([labels for _, labels in parts]))
        return np.concatenate([x for x, _ in parts])[order]

    options = dict(transform=jitter, rng=1)
    expected = by_label(DataLoader(samples(), 3, **options))
    assert np.array_equal(by_label(DataLoader(samples(), 4, shuffle=True, **options)), expected)
    for workers in (1, 2):
        loader = DataLoader(samples(), 3, num_workers=workers, **options)
        assert np.array_equal(by_label(loader), expected)
        assert not np.array_equal(by_label(loader), expected)  # another epoch, other numbers
        loader.close()


def test_workers_yield_batches_in_order_and_live_for_several_epochs():
    loader = DataLoader(samples(40), 3, transform=slow, num_workers=2, prefetch=3)
    for _ in range(2):
        assert np.concatenate([labels for _, labels in loader]).tolist() == list(range(40))
    loader.close()


def test_an_epoch_may_be_left_early():
    loader = DataLoader(samples(40), 2, transform=slow, num_workers=1)
    for _, labels in loader:
        assert labels.tolist() == [0, 1]
        break
    assert next(iter(loader))[1].tolist() == [0, 1]
    loader.close()


def test_an_error_in_a_worker_reaches_the_loop():
    loader = DataLoader(samples(), 2, transform=fail, num_workers=1)
    with pytest.raises(KeyError, match="label 0"):
        list(loader)
    loader.close()


def test_a_dead_worker_is_reported_and_replaced():
    loader = DataLoader(samples(), 2, transform=die, num_workers=1)
    with pytest.raises(RuntimeError, match="a worker process died"):
        list(loader)
    loader.transform = jitter
    assert len(list(loader)) == 5
    loader.close()


def test_a_data_set_that_cannot_be_sent_to_workers_says_so():
    loader = DataLoader(samples(), 2, transform=lambda x, y, *, rng: (x, y), num_workers=1)
    with pytest.raises(ValueError, match="cannot be sent to worker processes: .*lambda"):
        list(loader)


def test_workers_end_when_their_parent_is_killed():
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from tests.test_data import *\n"
        "if __name__ == '__main__':\n"
        "    loader = DataLoader(samples(), 2, num_workers=1, transform=process_number)\n"
        "    print(int(next(iter(loader))[0][0]), flush=True)\n"
        "    time.sleep(60)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "main.py")
        path.write_text(script)
        parent = subprocess.Popen([sys.executable, path], stdout=subprocess.PIPE, text=True)
        worker = int(parent.stdout.readline())
        assert Path(f"/proc/{worker}").exists() or sys.platform != "linux"
        parent.kill()
        parent.communicate()
        deadline = time.monotonic() + 30
        while runs(worker) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not runs(worker)


def runs(process):
    """Return whether a process lives; a zombie, which only waits to be noticed, does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_workers_use_what_the_loader_has_now():
    loader = DataLoader(samples(), 5, num_workers=1)
    assert next(iter(loader))[0].tolist() == samples().arrays[0][:5].tolist()
    loader.transform = process_number
    assert int(next(iter(loader))[0][0]) != os.getpid()
    loader.close()


def test_an_epoch_keeps_the_transform_that_it_began_with():
    loader = DataLoader(samples(40), 2, num_workers=1, prefetch=8, transform=slow)
    epoch = iter(loader)
    next(epoch)
    loader.transform = jitter
    assert len(list(epoch)) == 19
    loader.close()


def test_samples_that_are_no_arrays_are_named():
    with pytest.raises(TypeError, match="sample 0 holds dict; it takes arrays and numbers"):
        list(DataLoader([{}], 1))


def test_samples_of_different_shapes_are_named():
    loader = DataLoader([np.zeros(2), np.zeros(3)], 2)
    with pytest.raises(ValueError, match=r"sample 1 has shapes \[\(3,\)\], sample 0 \[\(2,\)\]"):
        list(loader)


def test_lists_and_tensors_become_arrays():
    dataset = ArrayDataset([1, 2, 3], mc.Tensor([1.0, 2.0, 3.0]))
    (one, other), *_ = DataLoader(dataset, np.int64(2), rng=np.int64(5))
    assert (one.tolist(), other.tolist()) == ([1, 2], [1, 2])
    assert DataLoader(dataset, rng=np.int64(5)).seed == DataLoader(dataset, rng=5).seed == 5


def test_another_batch_size_or_length_cannot_go_on():
    state = DataLoader(samples(), 5).state_dict()
    with pytest.raises(ValueError, match="batch_size is 2, and 5 in the state"):
        DataLoader(samples(), 2).load_state_dict(state)
    with pytest.raises(ValueError, match="samples is 11, and 10 in the state"):
        DataLoader(samples(11), 5).load_state_dict(state)


def test_workers_are_never_forked():
    loader = DataLoader(samples(), 5, num_workers=1, transform=jitter)
    list(loader)
    method = loader._workers._executor._mp_context.get_start_method()
    loader.close()
    assert method in ("forkserver", "spawn")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(batch_size=0), "batch_size is 0; it must be a whole number >= 1"),
        (dict(num_workers=-1), "num_workers is -1; it must be a whole number >= 0"),
        (dict(rng=-1), "rng is -1; a seed is 0 or more"),
        (dict(prefetch=0.5), "prefetch is 0.5; it must be a whole number >= 1"),
        (dict(epoch_size=0), "epoch_size is 0; it must be a whole number >= 1"),
    ],
)
def test_a_loader_checks_its_numbers(options, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(samples(), **options)


def test_arrays_of_different_lengths_are_no_data_set():
    with pytest.raises(ValueError, match=r"ArrayDataset: arrays of lengths \[3, 4\]"):
        ArrayDataset(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match=r"ArrayDataset: arrays of lengths \[\]"):
        ArrayDataset()


def test_mapped_files_are_read_as_needed_and_sent_by_name(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(2_000_000.0).reshape(-1, 2))
    np.save(tmp_path / "y.npy", np.arange(1_000_000))
    mapped = MappedDataset(tmp_path / "x.npy", tmp_path / "y.npy")
    assert all(isinstance(array, np.memmap) for array in mapped.arrays)
    sent = pickle.dumps(mapped)
    assert len(sent) < 1000
    x, y = pickle.loads(sent).batch(np.array([3, 5]))
    assert (x.tolist(), y.tolist()) == ([[6, 7], [10, 11]], [3, 5])
    assert mapped[4][1] == 4
    loader = DataLoader(mapped, 4, num_workers=1)
    batch, _ = next(iter(loader))
    loader.close()
    assert batch.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_missing_truncated_and_foreign_files_are_no_mapped_data_set(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(100))
    whole = (tmp_path / "x.npy").read_bytes()
    with pytest.raises(FileNotFoundError, match=r"MappedDataset: there is no file .*none\.npy"):
        MappedDataset(tmp_path / "none.npy")
    for content in (whole[:200], whole[:5], b"", b"not an array"):
        (tmp_path / "bad.npy").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.npy' is no whole \.npy file"):
            MappedDataset(tmp_path / "bad.npy")


def idx(dtype_code, values):
    header = struct.pack(">HBB", 0, dtype_code, values.ndim)
    return header + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


idx_dtypes = [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")]


@pytest.mark.parametrize(("code", "dtype"), idx_dtypes)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_are_read_plain_and_compressed(tmp_path, code, dtype, suffix):
    values = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    content = idx(code, values)
    path = tmp_path / f"images{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    array = read_idx(path)
    assert np.array_equal(array, values)
    assert array.dtype == np.dtype(dtype).newbyteorder("=")


whole_idx = idx(8, np.zeros((5, 4), np.uint8))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a", b"", "begins with nothing; an IDX file begins with 00 00"),
        ("a", b"\x89PNG", "begins with 89 50 4e 47; an IDX file"),
        ("a", b"\0\0\x07\x01", "begins with 00 00 07 01; an IDX file"),
        ("a", b"\0\0\x08\x02\0\0\0\x05", "ends within its header: 8 of 12 bytes"),
        ("a", whole_idx[:-1], r"has 31 bytes; uint8 of shape \(5, 4\) takes 32"),
        ("a", whole_idx + b"x", "has 33 bytes; uint8"),
        ("a.gz", whole_idx, "is no whole gzip file"),
        ("a.gz", gzip.compress(whole_idx)[:-6], "is no whole gzip file"),
    ],
)
def test_malformed_idx_files_say_what_is_wrong(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"read_idx: .*{message}"):
        read_idx(tmp_path / name)


def test_a_missing_idx_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="read_idx: there is no file .*labels"):
        read_idx(tmp_path / "labels")
