"""Batches: data sets, and the loader that shuffles, transforms and prefetches them.

Every epoch's order and every sample's random numbers follow from the loader's seed, the epoch and
the sample's index alone. So they do not depend on the number of workers, and a resumed run sees
what an uninterrupted one would have seen.
"""

from __future__ import annotations

import gzip
import itertools
import math
import os
import pickle
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.kernels import memory
from minicnn.rng import generator
from minicnn.workers import WorkerPool, note


class ArrayDataset:
    """Samples along the first axis of one or more arrays.

    Parameters
    ----------
    *arrays : ndarray, shape (N, ...)
        For example images and labels. They are not copied.

    Raises
    ------
    ValueError
        If there are no arrays, or their lengths differ.
    """

    def __init__(self, *arrays: np.ndarray):
        lengths = [len(array) for array in arrays]
        if not arrays or len(set(lengths)) > 1:
            raise ValueError(
                f"{type(self).__name__}: arrays of lengths {lengths} are not one set of samples"
            )
        self.arrays = tuple(
            array if hasattr(array, "__array_function__") else np.asarray(array) for array in arrays
        )

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, index: int) -> tuple:
        return tuple(array[index] for array in self.arrays)

    def batch(self, indices: np.ndarray) -> tuple:
        """Return the samples of these indices, stacked: what the loader uses where it can."""
        return tuple(np.asarray(array[indices]) for array in self.arrays)


class MappedDataset(ArrayDataset):
    """Samples along the first axis of .npy files, read from disk as they are needed.

    The files may be larger than the memory. Worker processes open them again instead of copying.

    Parameters
    ----------
    *paths : path-like
        Files that `numpy.save` or `numpy.lib.format.open_memmap` wrote.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is no whole .npy file, or the lengths differ.
    """

    def __init__(self, *paths: str | os.PathLike):
        self.paths = tuple(os.path.abspath(path) for path in paths)
        super().__init__(*(mapped(path, "MappedDataset") for path in self.paths))

    def __reduce__(self):
        return type(self), self.paths


def mapped(path: str | os.PathLike, function: str) -> np.ndarray:
    """Return the array of a .npy file, mapped into memory and read-only.

    Parameters
    ----------
    path : path-like
    function : str
        Whose errors they are.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no whole .npy file, or one of Python objects.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{function}: there is no file {path!r}")
    try:
        # Not numpy.load, which opens zip archives and pickles too.
        return np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError) as error:
        reason = " ".join(str(error).split())[:300]
    except Exception:  # the header is Python, and its parser has errors of many kinds
        reason = "its header is none of NumPy's"
    raise ValueError(f"{function}: {path!r} is no whole .npy file: {reason}")


class DataLoader:
    """Iterate over a data set in batches; each pass is one epoch.

    Parameters
    ----------
    dataset : sequence
        Has a length, and returns a sample, an array or a tuple of them, for an index. A method
        `batch(indices)` that returns stacked samples is used instead where there is one.
    batch_size : int
    shuffle : bool
        Whether every epoch has its own order.
    transform : callable, optional
        Called as `transform(*sample, rng=generator)`, with a generator of that sample's own, and
        returns the sample to use: random crops, noise and the like.
    num_workers : int
        How many processes prepare batches; 0 prepares them here. They are started afresh (not
        forked), so dataset and transform must be picklable, and a script must guard its start with
        `if __name__ == "__main__":`.
    prefetch : int
        How many batches each worker prepares ahead.
    drop_last : bool
        Whether to leave out a last batch that is not full.
    epoch_size : int, optional
        How many samples an epoch has, by default all: each epoch goes on where the one before it
        ended, so that all are seen equally often. For sets of which a part is enough between two
        validations.
    rng : int, Generator or None
        The seed, or where it is drawn from.

    Attributes
    ----------
    epoch : int
        How many epochs were begun: the number of the next one.

    Raises
    ------
    ValueError
        If a number is out of range, or drop_last leaves no batch.
    TypeError
        If the dataset has no length, or no samples by index.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        transform: Callable | None = None,
        num_workers: int = 0,
        prefetch: int = 2,
        drop_last: bool = False,
        epoch_size: int | None = None,
        rng: Any = None,
    ):
        if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
            raise TypeError(
                f"DataLoader: the dataset is a {type(dataset).__name__}; it takes what has a "
                "length, and returns a sample for an index: a list, or ArrayDataset(images, labels)"
            )
        epoch_size = len(dataset) if epoch_size is None or not len(dataset) else epoch_size
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("num_workers", num_workers, 0),
            ("prefetch", prefetch, 1),
            ("epoch_size", epoch_size, min(len(dataset), 1)),  # there may be no samples
        ):
            if not isinstance(value, (int, np.integer)) or value < least:
                raise ValueError(
                    f"DataLoader: {name} is {value!r}; it must be a whole number >= {least}"
                )
        if drop_last and 0 < epoch_size < batch_size:
            raise ValueError(
                f"DataLoader: drop_last leaves no batch: there are {epoch_size} samples for one of "
                f"{batch_size}"
            )
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle
        self.transform, self.num_workers, self.prefetch = transform, num_workers, prefetch
        self.drop_last, self.epoch_size = drop_last, epoch_size
        seeded = isinstance(rng, (int, np.integer))
        self.seed = int(rng) if seeded else int(generator(rng).integers(2**63))
        if self.seed < 0:
            raise ValueError(f"DataLoader: rng is {rng}; a seed is 0 or more")
        self.epoch = 0
        self._workers: Any = None
        self._sent: tuple = (None, None)  # the dataset and transform that the workers have

    def __len__(self) -> int:
        count = self.epoch_size / self.batch_size
        return math.floor(count) if self.drop_last else math.ceil(count)

    def __iter__(self) -> Iterator[tuple]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        order = self._order(epoch)
        batches = (order[i * self.batch_size : (i + 1) * self.batch_size] for i in range(len(self)))
        if self.num_workers:
            return self._prefetched(batches, epoch)
        return (_fetch(self.dataset, self.transform, b, self.seed, epoch) for b in batches)

    def _order(self, epoch):
        """Return the samples of an epoch: a part of all passes over the data set, in a row."""
        n, count = max(len(self.dataset), 1), self.epoch_size
        first, start = divmod(epoch * count, n)
        passes = range(first, first + -(-(start + count) // n))
        orders = [
            _stream(self.seed, each).permutation(n) if self.shuffle else np.arange(n)
            for each in passes
        ] or [np.arange(0)]
        return np.concatenate(orders)[start : start + count]

    def state_dict(self) -> dict[str, int]:
        """Return the seed and the epoch, and the sizes that go with them."""
        return {"seed": self.seed, "epoch": self.epoch, **self._sizes()}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on where `state_dict` was taken.

        Raises
        ------
        ValueError
            If the batches would be others: of another size, or from a set of another length; or if
            the seed or the epoch is none.
        """
        for name, size in self._sizes().items():
            if (kept := state.get(name, size)) != size:
                raise ValueError(f"DataLoader: {name} is {size}, and {kept} in the state")
        seed: Any = state.get("seed")
        epoch: Any = state.get("epoch")
        if not all(isinstance(each, (int, np.integer)) and each >= 0 for each in (seed, epoch)):
            raise ValueError(
                f"DataLoader: seed is {seed!r:.40} and epoch {epoch!r:.40} in the state; both are "
                "0 or more"
            )
        self.seed, self.epoch = int(seed), int(epoch)

    def _sizes(self):
        return {
            "batch_size": int(self.batch_size),
            "samples": len(self.dataset),
            "epoch_size": int(self.epoch_size),
        }

    def close(self) -> None:
        """Stop the worker processes; the next epoch starts new ones."""
        if self._workers is not None:
            self._workers.shutdown(cancel_futures=True)
            self._workers = None

    def _prefetched(self, batches, epoch):
        """Yield batches in order while the workers prepare the next ones."""
        from concurrent.futures.process import BrokenProcessPool

        wanted = self.dataset, self.transform
        outdated = any(a is not b for a, b in zip(wanted, self._sent, strict=True))
        if self._workers is not None and outdated:
            self._workers.shutdown(wait=False)  # an older epoch may still be using them
            self._workers = None
        if self._workers is None:
            self._workers, self._sent = self._start(), wanted
        workers = self._workers
        pending: deque = deque()
        try:
            for _ in itertools.repeat(None):
                ahead = self.num_workers * self.prefetch - len(pending)
                pending.extend(
                    (indices, workers.submit(_fetch_in_worker, indices, self.seed, epoch))
                    for indices in itertools.islice(batches, ahead)
                )
                if not pending:
                    return
                yield pending[0][1].result()
                pending.popleft()
        except BrokenProcessPool as error:
            self._workers = None
            raise RuntimeError(
                f"DataLoader: {workers.death(lambda number: self._at(number, pending))}; "
                "num_workers=0 shows an error of its own"
            ) from error
        finally:
            for _, future in pending:
                future.cancel()

    def _at(self, number, pending):
        """Return what a worker was at that has noted the number of a sample."""
        if self.transform is not None or not hasattr(self.dataset, "batch"):
            return f"sample {number}"
        batch = next(indices for indices, _ in pending if number in indices)
        return f"one of the samples {', '.join(map(str, batch))}"

    def _start(self):
        try:
            pickle.dumps((self.dataset, self.transform))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"DataLoader: dataset or transform cannot be sent to worker processes: {error}"
            ) from None
        pool = WorkerPool(self.num_workers, _adopt, self.dataset, self.transform)
        weakref.finalize(self, pool.shutdown, wait=False, cancel_futures=True)
        return pool


_adopted: tuple[Any, Any] = (None, None)


def _adopt(dataset, transform):
    """Keep what the tasks of this worker process use."""
    global _adopted
    _adopted = dataset, transform


def _fetch_in_worker(indices, seed, epoch):
    try:
        return _fetch(*_adopted, indices, seed, epoch)
    finally:
        note(None)


def _fetch(dataset, transform, indices, seed, epoch):
    """Return one batch: a tuple of stacked arrays."""
    if transform is None and hasattr(dataset, "batch"):
        note(int(indices[0]))
        return dataset.batch(indices)
    samples = []
    for index in indices:
        note(int(index))
        sample = dataset[int(index)]
        sample = sample if isinstance(sample, tuple) else (sample,)
        if transform is not None:
            sample = transform(*sample, rng=_stream(seed, epoch, int(index)))
            sample = sample if isinstance(sample, tuple) else (sample,)
        samples.append(sample)
    for i, sample in zip(indices, samples, strict=True):
        if not all(hasattr(part, "dtype") or np.isscalar(part) for part in sample):
            kinds = ", ".join(type(part).__name__ for part in sample)
            raise TypeError(f"DataLoader: sample {i} holds {kinds}; it takes arrays and numbers")
        shapes, first = ([np.shape(part) for part in parts] for parts in (sample, samples[0]))
        if shapes != first:
            raise ValueError(
                f"DataLoader: sample {i} has shapes {shapes}, sample {indices[0]} {first}; "
                "all samples of a batch take arrays of the same shapes"
            )
    return tuple(np.stack(parts) for parts in zip(*samples, strict=True))


def _stream(seed, *key):
    """Return the generator of an epoch, or of one sample in it."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


_IDX_DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """Read an array from an IDX file, the format of MNIST, plain or compressed with gzip.

    Parameters
    ----------
    path : path-like
        Compressed where its name ends in .gz.

    Returns
    -------
    ndarray
        Of the dtype and shape that the file declares, in the machine's byte order.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no IDX file, its size is not what it declares, or it is a gzip file that
        becomes more than 8 times as large, and 32 MB.
    MemoryError
        If there is no room for it.

    References
    ----------
    LeCun, Cortes & Burges, "The MNIST database of handwritten digits", section "file formats".
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"read_idx: there is no file {str(path)!r}")
    size = path.stat().st_size
    is_zipped = path.suffix == ".gz"
    with gzip.open(path) if is_zipped else open(path, "rb") as file:
        try:
            dtype, shape = _idx_header(path, file)
            wanted = math.prod(shape) * dtype.itemsize
            if not is_zipped and size != file.tell() + wanted:
                raise _idx_size_error(path, size, file.tell() + wanted, dtype, shape)
            if is_zipped and wanted > _LARGEST_RATIO * size + _SMALL:
                raise ValueError(
                    f"read_idx: {str(path)!r} ({size:,} bytes) declares {dtype.name} of shape "
                    f"{shape}, {wanted:,} bytes; that is more than is taken from so small a gzip "
                    "file: decompress it first"
                )
            memory.demand(wanted, f"read_idx: {str(path)!r}")
            content = np.empty(wanted, np.uint8)
            there = _filled(file, content)
            more = "more than " if file.read(1) else ""
        except (OSError, EOFError, zlib.error) as error:
            kind = "gzip file" if is_zipped else "file"
            raise ValueError(f"read_idx: {str(path)!r} is no whole {kind}: {error}") from None
    if more or there < wanted:
        header = 4 + 4 * len(shape)
        raise _idx_size_error(path, f"{more}{header + there}", header + wanted, dtype, shape)
    try:
        values = content.view(dtype).reshape(shape)
    except ValueError:  # one axis is 0, and the others are more than an address can count
        raise ValueError(f"read_idx: {str(path)!r} is too large, with shape {shape}") from None
    if not dtype.isnative:
        values.byteswap(inplace=True)
    return values.view(dtype.newbyteorder("="))


# A gzip file may become so many times as large, and this much beside [bytes]: MNIST's become 5
# times as large, and a file of zeros a thousand times.
_LARGEST_RATIO, _SMALL = 8, 1 << 25


def _idx_header(path, file):
    """Return the dtype and the shape that an IDX file declares."""
    start = file.read(4)
    if (
        len(start) < 4
        or start[:2] != b"\0\0"
        or start[2] not in _IDX_DTYPES
        or not 0 < start[3] <= 32
    ):
        raise ValueError(
            f"read_idx: {str(path)!r} begins with {start.hex(' ') or 'nothing'}; an IDX file "
            "begins with 00 00, a dtype (08, 09, 0b to 0e) and the number of axes"
        )
    dtype, axes = np.dtype(_IDX_DTYPES[start[2]]), start[3]
    sizes = file.read(4 * axes)
    if len(sizes) < 4 * axes:
        raise ValueError(
            f"read_idx: {str(path)!r} ends within its header: {4 + len(sizes)} of "
            f"{4 + 4 * axes} bytes"
        )
    return dtype, tuple(int(n) for n in np.frombuffer(sizes, ">u4"))


def _idx_size_error(path, size, wanted, dtype, shape):
    """Return the error of a file that is not as long as it says."""
    return ValueError(
        f"read_idx: {str(path)!r} has {size} bytes; {dtype.name} of shape {shape} takes {wanted}"
    )


def _filled(file, content):
    """Read into an array until it is full or the file ends, and return how many bytes came."""
    view, count = memoryview(content), 0
    while count < len(view) and (more := file.readinto(view[count : count + (1 << 20)])):
        count += more
    return count
