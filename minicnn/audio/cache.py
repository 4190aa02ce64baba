"""Features of all sound files in a folder, computed once and kept.

What is kept is what a front end's `transform` makes of each file: a waveform or a spectrogram as
long as the file, which windows are cut from, or views of it augmented. It lies in a .npy file named
after the content of the sound file and the front end, so it is found again when files are moved or
renamed, and is not when one of the two has changed.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from minicnn.audio import front_end as front_ends
from minicnn.audio import sound
from minicnn.audio.feature_set import FeatureSet
from minicnn.audio.front_end import FrontEnd
from minicnn.checkpoint import written_whole
from minicnn.data import mapped
from minicnn.workers import WorkerPool


@dataclass(frozen=True)
class FolderFeatures(FeatureSet):
    """The features of sound files: a sequence of arrays that are read from disk as needed.

    Attributes
    ----------
    front_end : FrontEnd
    paths : tuple of Path
        The sound files, in alphabetical order.
    entries : tuple of Path
        The .npy file of each, for `numpy.load`.
    failed : dict from Path to str
        Which files have no features, and why.
    """

    front_end: FrontEnd
    paths: tuple[Path, ...]
    entries: tuple[Path, ...]
    failed: dict[Path, str]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index):
        """Return what the front end made of a file, (C, [F,] T), mapped into memory."""
        return mapped(self.entries[index], "folder_features")

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        """The paths as text."""
        return tuple(map(str, self.paths))


def folder_features(
    model: Any,
    folder: str | os.PathLike,
    cache: str | os.PathLike,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> FolderFeatures:
    """Compute the features of all sound files in a folder, or find them where they are kept.

    Files that cannot be read, and files that a worker process dies of, are named in a warning at
    the end and in `failed`; the others have their features.

    Parameters
    ----------
    model : Network or FrontEnd
        See `FrontEnd.of`.
    folder : path-like
        With all folders in it. Which files are sound follows from their names: `sound.SUFFIXES`.
    cache : path-like
        The folder to keep features in; made if it is missing. Several networks may share one.
    workers : int, optional
        How many processes; by default as many as there are cores. They are started afresh (not
        forked), so a script must guard its start with `if __name__ == "__main__":`. With 0 all is
        done in this process.
    progress : bool
        Whether to show a bar.

    Returns
    -------
    FolderFeatures

    Raises
    ------
    NotADirectoryError
        If there is no such folder.
    ValueError
        If there is no sound file in it, or workers is below 0.
    TypeError
        If the network takes no sound.
    RuntimeError
        If no worker process starts, as in a script that does not guard its start.
    """
    front_end, folder, cache = FrontEnd.of(model), Path(folder), Path(cache)
    if not folder.is_dir():
        raise NotADirectoryError(f"folder_features: there is no folder {str(folder)!r}")
    workers = os.cpu_count() or 1 if workers is None else workers
    if workers < 0:
        raise ValueError(f"folder_features: workers is {workers}; it must be 0 or more")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in sound.SUFFIXES)
    if not paths:
        raise ValueError(f"folder_features: there is no sound file in {str(folder)!r}")
    cache.mkdir(parents=True, exist_ok=True)

    outcomes = dict(
        tqdm(
            _outcomes(front_end, paths, cache, min(workers, len(paths))),
            total=len(paths),
            disable=not progress,
            dynamic_ncols=True,
            unit="file",
        )
    )
    made = [path for path in paths if isinstance(outcomes[path], Path)]
    failed = {path: str(outcomes[path]) for path in paths if path not in set(made)}
    if failed:
        warnings.warn(
            f"folder_features: {len(failed)} of {len(paths)} files have no features: "
            + "; ".join(failed.values()),
            RuntimeWarning,
            stacklevel=2,
        )
    entries = tuple(cache / outcomes[path] for path in made)
    return FolderFeatures(front_end, tuple(made), entries, failed)


def _outcomes(
    front_end: FrontEnd, paths: Iterable[Path], cache: Path, workers: int
) -> Iterator[tuple[Path, Path | str]]:
    """Yield each path with the name of its entry, or with why there is none, as they are done.

    When a process dies its whole pool does. There is one task for each process, so the file that
    killed it is among these; each of them gets a process of its own.
    """
    if not workers:
        yield from ((path, _outcome(front_end, path, cache)) for path in paths)
        return
    from concurrent.futures import FIRST_COMPLETED, wait
    from concurrent.futures.process import BrokenProcessPool

    waiting, begun = deque(paths), False
    while waiting:
        running: dict[Any, Path] = {}
        with WorkerPool(workers) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < workers:
                        running[pool.submit(_outcome, front_end, waiting[0], cache)] = waiting[0]
                        waiting.popleft()
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        outcome, begun = future.result(), True
                        yield running.pop(future), outcome
            except BrokenProcessPool:
                pass
        if running and not begun and not _starts():
            raise RuntimeError(
                "folder_features: no worker process starts; a script must guard its own start with "
                "'if __name__ == \"__main__\":', or take workers=0"
            )
        for path in running.values():
            if workers > 1:
                yield from _outcomes(front_end, [path], cache, 1)
            else:
                yield path, f"{str(path)!r}: its worker process died (killed, or out of memory)"


def _starts():
    """Return whether a worker process lives long enough to do anything."""
    from concurrent.futures.process import BrokenProcessPool

    with WorkerPool(1) as pool:
        try:
            return pool.submit(os.getpid).result() > 0
        except BrokenProcessPool:
            return False


def _outcome(front_end, path, cache):
    """Return the name of the entry of a sound file, which is made if there is none, or an error."""
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        digest.update(f"{front_ends.VERSION} {front_end!r}".encode())
        entry = cache / f"{digest.hexdigest()[:40]}.npy"
        if not _is_readable(entry):
            samples, _ = sound.load(path, front_end.sample_rate)
            features = front_end.transform(front_end.lengthened(samples))
            with written_whole(entry) as temporary, open(temporary, "wb") as file:
                np.save(file, features)
        return Path(entry.name)
    except Exception as error:  # whatever it is, it is that of one file
        text = str(error) or type(error).__name__
        return text if str(path) in text else f"{str(path)!r}: {text}"


def _is_readable(entry):
    """Return whether an entry is a whole file of features."""
    try:
        features = mapped(entry, "folder_features")
    except (FileNotFoundError, ValueError):
        return False
    return features.dtype.kind == "f" and features.ndim >= 2
