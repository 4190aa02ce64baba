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

from minicnn.kernels.threads import set_num_threads
from minicnn.rng import generator


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
        super().__init__(*map(self._open, self.paths))

    @staticmethod
    def _open(path):
        if not os.path.isfile(path):
            raise FileNotFoundError(f"MappedDataset: there is no file {path!r}")
        try:
            return np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"MappedDataset: {path!r} is no whole .npy file: {error}") from None

    def __reduce__(self):
        return type(self), self.paths


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
            If the batches would be others: of another size, or from a set of another length.
        """
        for name, size in self._sizes().items():
            if (kept := state.get(name, size)) != size:
                raise ValueError(f"DataLoader: {name} is {size}, and {kept} in the state")
        self.seed, self.epoch = int(state["seed"]), int(state["epoch"])

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
                    workers.submit(_fetch_in_worker, indices, self.seed, epoch)
                    for indices in itertools.islice(batches, ahead)
                )
                if not pending:
                    return
                yield pending.popleft().result()
        except BrokenProcessPool as error:
            self._workers = None
            raise RuntimeError(
                "DataLoader: a worker process died (out of memory, or a script without "
                "'if __name__ == \"__main__\":'); num_workers=0 shows an error of its own"
            ) from error
        finally:
            for future in pending:
                future.cancel()

    def _start(self):
        try:
            pickle.dumps((self.dataset, self.transform))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ValueError(
                f"DataLoader: dataset or transform cannot be sent to worker processes: {error}"
            ) from None
        pool = worker_pool(self.num_workers, _adopt, self.dataset, self.transform)
        weakref.finalize(self, pool.shutdown, wait=False, cancel_futures=True)
        return pool


def worker_pool(count: int, adopt: Callable | None = None, *arguments: Any) -> Any:
    """Return a pool of processes that end with this one and leave it the other cores.

    Parameters
    ----------
    count : int
    adopt : callable, optional
        Each process calls `adopt(*arguments)` once, before anything else. All of it must be
        picklable.

    Returns
    -------
    concurrent.futures.ProcessPoolExecutor
    """
    # Imported here: multiprocessing would add a third to the time of `import minicnn`.
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Never fork: a child of a process with running OpenMP threads is killed at its first loop.
    available = multiprocessing.get_all_start_methods()
    method = "forkserver" if "forkserver" in available else "spawn"
    return ProcessPoolExecutor(
        count,
        mp_context=multiprocessing.get_context(method),
        initializer=_begin,
        initargs=(adopt, arguments),
    )


def _begin(adopt, arguments):
    """Make this a worker process."""
    import threading

    set_num_threads(1)
    threading.Thread(target=_follow_parent, daemon=True).start()
    if adopt is not None:
        adopt(*arguments)


def _follow_parent():
    """End this worker when its parent ends: a killed one cannot say so."""
    from multiprocessing import parent_process

    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


_adopted: tuple[Any, Any] = (None, None)


def _adopt(dataset, transform):
    """Keep what the tasks of this worker process use."""
    global _adopted
    _adopted = dataset, transform


def _fetch_in_worker(indices, seed, epoch):
    return _fetch(*_adopted, indices, seed, epoch)


def _fetch(dataset, transform, indices, seed, epoch):
    """Return one batch: a tuple of stacked arrays."""
    if transform is None and hasattr(dataset, "batch"):
        return dataset.batch(indices)
    samples = []
    for index in indices:
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
        If the file is no IDX file, or its size is not what it declares.

    References
    ----------
    LeCun, Cortes & Burges, "The MNIST database of handwritten digits", section "file formats".
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"read_idx: there is no file {str(path)!r}")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"read_idx: {str(path)!r} is no whole gzip file: {error}") from None
    if (
        len(content) < 4
        or content[:2] != b"\0\0"
        or content[2] not in _IDX_DTYPES
        or not 0 < content[3] <= 32
    ):
        raise ValueError(
            f"read_idx: {str(path)!r} begins with {content[:4].hex(' ') or 'nothing'}; an IDX file "
            "begins with 00 00, a dtype (08, 09, 0b to 0e) and the number of axes"
        )
    dtype, axes = np.dtype(_IDX_DTYPES[content[2]]), content[3]
    header = 4 + 4 * axes
    if len(content) < header:
        raise ValueError(
            f"read_idx: {str(path)!r} ends within its header: {len(content)} of {header} bytes"
        )
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", axes, 4))
    wanted = header + math.prod(shape) * dtype.itemsize
    if len(content) != wanted:
        raise ValueError(
            f"read_idx: {str(path)!r} has {len(content)} bytes; "
            f"{dtype.name} of shape {shape} takes {wanted}"
        )
    values = np.frombuffer(content, dtype, offset=header).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
