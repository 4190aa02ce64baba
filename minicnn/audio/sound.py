"""From a sound file, or any samples, to one channel of floats at the rate that a network takes."""

from __future__ import annotations

import contextlib
import importlib
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import mistake
from minicnn.kernels import memory

# What libsndfile reads by the name alone; its raw and text-like formats are left out.
SUFFIXES = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au",
            ".caf", ".w64", ".rf64")  # fmt: skip
FAR_BEYOND = 100  # full scales: 40 dB louder than any mix, and 50 dB below that of 16 bits

BLOCK = 1 << 16  # samples that are read at once: 256 KB per channel


def load(
    path: str | os.PathLike, sample_rate: float | None = None
) -> tuple[np.ndarray, float | int]:
    """Read a sound file: all of it, mixed to one channel, at one rate.

    Parameters
    ----------
    path : path-like
        WAV, FLAC, MP3, Ogg Vorbis, Opus, AIFF and whatever else libsndfile reads, of any number of
        channels and bits. Whole numbers become floats from -1 to 1; floats stay as they are.
    sample_rate : float, optional [Hz]
        To be resampled to; by default the file's own.

    Returns
    -------
    samples : ndarray of float32, shape (n,)
    sample_rate : number [Hz]

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no sound file, is cut off, holds no samples, or some that are not finite.
    MemoryError
        If it declares more samples than there is memory for; `windows` takes such files.
    ModuleNotFoundError
        If soundfile, or soxr where it is needed, is not installed.
    """
    path = Path(path)
    with opened(path, "load") as file:
        declared, own_rate = file.frames, file.samplerate
        memory.demand(8 * declared, f"load: {str(path)!r}")  # the blocks, and all in one
        # Not all at once: a header may declare gigabytes, and nothing is behind it.
        blocks = [np.zeros(0, np.float32), *read_blocks(file)]
    samples = np.concatenate(blocks)
    if len(samples) < declared:
        raise ValueError(
            f"load: {str(path)!r} is cut off: {len(samples):,} of {declared:,} samples are there"
        )
    try:
        checked(samples)
        rate = own_rate if sample_rate is None else sample_rate
        return resample(samples, own_rate, rate), rate
    except ValueError as error:
        raise ValueError(f"load: {str(path)!r}: {error}") from None


@contextlib.contextmanager
def opened(path: Path, function: str) -> Iterator[Any]:
    """Open a sound file for what follows, as a `soundfile.SoundFile`.

    Parameters
    ----------
    path : Path
    function : str
        Whose errors they are.

    Raises
    ------
    FileNotFoundError, ValueError, ModuleNotFoundError
        As `load` does; also if the file turns out to be broken while it is read.
    """
    if not path.is_file():
        folder = ", it is a folder" if path.is_dir() else ""
        raise FileNotFoundError(f"{function}: there is no file {str(path)!r}{folder}")
    if path.suffix.lower() == ".raw":
        raise ValueError(
            f"{function}: {str(path)!r} is no whole sound file: raw samples do not say their rate "
            "and channels; save them as WAV"
        )
    soundfile = needed("soundfile", function)
    try:
        with soundfile.SoundFile(path) as file:
            if cut := _cut_off(file.extra_info) or _cut_off_page(path):
                raise ValueError(f"{function}: {str(path)!r} is cut off: {cut}")
            yield file
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{function}: {str(path)!r} is no whole sound file: {error.error_string}"
        ) from None


def read_blocks(file: Any) -> Iterator[np.ndarray]:
    """Yield the samples of a `soundfile.SoundFile`, mixed to one channel, as many as there are.

    `SoundFile.blocks` does not look at how much was read: where a file is cut off it yields what
    was in its buffer before, again.

    Yields
    ------
    ndarray of float32, shape (m,)
    """
    while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
        yield mono(block)


def mono(channels: np.ndarray) -> np.ndarray:
    """Mix channels, each with the same weight.

    Parameters
    ----------
    channels : array, shape (n, n_channels)

    Returns
    -------
    ndarray, shape (n,)
        Of the same dtype.
    """
    return channels.mean(axis=1, dtype=channels.dtype)


def resample(samples, from_rate: float, to_rate: float) -> np.ndarray:
    """Return samples at another rate, without what the new rate cannot hold.

    By soxr at its high quality, as librosa does it: ceil(n to_rate / from_rate) samples, the first
    at the same time.

    Parameters
    ----------
    samples : array, shape (n,)
    from_rate, to_rate : float [Hz]

    Returns
    -------
    ndarray, shape (n',)
        Of the same dtype.

    Raises
    ------
    ValueError, TypeError
        If a rate is not above 0, or samples are not one channel of float32 or float64.
    ModuleNotFoundError
        If soxr is not installed.
    """
    samples = np.asarray(samples)
    if samples.ndim != 1:
        raise ValueError(f"resample: samples have shape {samples.shape}; it takes (n,)")
    if samples.dtype.kind != "f" or samples.itemsize < 4:
        raise TypeError(f"resample: samples are {samples.dtype}; float32 or float64 is taken")
    if not (0 < from_rate < math.inf and 0 < to_rate < math.inf):
        raise ValueError(
            f"resample: from {from_rate} to {to_rate} Hz; both rates must be finite and above 0"
        )
    if from_rate == to_rate:
        return samples
    soxr = needed("soxr", "resample")
    wanted = math.ceil(len(samples) * to_rate / from_rate)
    resampled = soxr.resample(samples, from_rate, to_rate, quality="HQ")[:wanted]
    return np.pad(resampled, (0, wanted - len(resampled)))


def checked(samples) -> np.ndarray:
    """Return samples as they come if they are one channel of finite floats, and raise if not.

    Parameters
    ----------
    samples : array, shape (n,)

    Raises
    ------
    ValueError
        If there are none, more than one axis, or values that are not finite.
    TypeError
        If they are no floats: whole numbers do not say what full scale is; or are of 16 bits.
    """
    samples = np.asarray(samples)
    if samples.dtype.kind != "f":
        raise TypeError(f"samples are {samples.dtype}; floats are taken, with full scale at 1")
    if samples.itemsize < 4:
        raise TypeError(f"samples are {samples.dtype}; float32 or float64 is taken")
    if samples.ndim != 1:
        raise ValueError(
            f"samples have shape {samples.shape}; one channel is taken, (n,): mix others by mono"
        )
    if not samples.size:
        raise ValueError("there are no samples")
    bad = np.flatnonzero(~np.isfinite(samples))
    if bad.size:
        raise ValueError(
            f"sample {bad[0]:,} is {samples[bad[0]]}; {bad.size:,} of {samples.size:,} are not "
            "finite"
        )
    suspect_scale(samples)
    return samples


def suspect_scale(samples: np.ndarray) -> None:
    """Warn where floats are as large as whole numbers of 16 bits."""
    if samples.size and (samples.max() >= FAR_BEYOND or samples.min() <= -FAR_BEYOND):
        mistake.likely(
            f"samples reach {FAR_BEYOND} and more; floats have full scale at 1: divide what was "
            "whole numbers of 16 bits by 32768"
        )


def needed(module: str, function: str) -> Any:
    """Import what the extra "audio" brings, or say how to get it.

    Raises
    ------
    ModuleNotFoundError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ModuleNotFoundError(
            f'{function}: needs {module}, which is not installed: pip install "minicnn[audio]"',
            name=module,
        ) from None


def _cut_off(log):
    """Return how much of what a file's header declares is there, as text, if it is not all.

    libsndfile reads such a file without complaint, and says so in its log only. Programs that write
    to a pipe cannot know, and declare about 2 or 4 GiB.
    """
    # "RIFF" in capitals, of WAV, is left out: some programs count it wrong in files that are whole.
    sizes = r"(?:data|SSND|Data Size|riff|Riff size)\s*: (\d+) \(should be (\d+)\)"
    for declared, there in re.findall(sizes, log):
        piped = 0x7FFF0000 <= int(declared) < 1 << 32
        if int(there) < int(declared) and not piped:
            return f"{int(there):,} of {int(declared):,} bytes are there"
    return None


def _cut_off_page(path):
    """Return that the last page of an Ogg file is missing, if it is: the one with the flag 4.

    A page is 27 bytes, the last of which counts its segments, a byte for the length of each of
    these, and the segments.
    """
    with open(path, "rb") as file:
        if file.read(4) != b"OggS":
            return None
        file.seek(max(path.stat().st_size - (1 << 16), 0))  # no page is longer
        _, found, after = file.read().rpartition(b"OggS")
    page = found + after
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    whole = lengths and page[5] & 4 and len(page) >= 27 + len(lengths) + sum(lengths)
    return "its last page is missing" if found and not whole else None
