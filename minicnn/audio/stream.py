"""Sounds read block by block, mixed to one channel and resampled on the way."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from minicnn.audio.sound import BLOCK, needed, opened, read_blocks, suspect_scale


def blocks(
    sound: Any,
    sample_rate: float | None = None,
    rate: float | None = None,
    *,
    progress: bool = False,
) -> Iterator[np.ndarray]:
    """Yield a sound block by block: one channel, at one rate.

    Together the blocks are what reading and resampling all at once gives, to rounding.

    Parameters
    ----------
    sound : path-like, or array of float, shape (n,)
    sample_rate : float, optional [Hz]
        Of samples; by default `rate`. A file knows its own, and has to agree.
    rate : float, optional [Hz]
        To be resampled to, by soxr at its high quality; by default the sound's own.
    progress : bool
        Whether to show a progress bar.

    Yields
    ------
    ndarray of float32, shape (m,)

    Raises
    ------
    FileNotFoundError, ValueError, TypeError, ModuleNotFoundError
        As `windows.pieces` does.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(sound, (str, os.PathLike)):
            name = repr(os.fspath(sound))
            file = stack.enter_context(opened(Path(sound), "windows"))
            own, declared = file.samplerate, file.frames
            if sample_rate not in (None, own):
                raise ValueError(f"windows: {name} has {own} Hz; sample_rate is {sample_rate}")
            parts = read_blocks(file)
        else:
            name, samples = "the samples", _one_channel(sound)
            own, declared = rate if sample_rate is None else sample_rate, len(samples)
            parts = (samples[i : i + BLOCK] for i in range(0, declared, BLOCK))
        to = own if rate is None else rate
        if own is not None and not (0 < own < math.inf and 0 < to < math.inf):
            raise ValueError(f"windows: from {own} to {to} Hz; rates are finite and above 0")
        bar = stack.enter_context(_progress_bar(declared, own, to, progress))
        for block in _resampled(_checked(parts, name, declared), own, to):
            yield block
            bar.update(len(block))


def _progress_bar(declared, own, rate, shown):
    """Return a bar that counts samples and shows seconds."""
    known = own is not None
    total = math.ceil(declared * rate / own) if known else declared
    return tqdm(total=total, unit="s", unit_scale=1 / rate if known else 1.0, disable=not shown)


def _one_channel(samples):
    samples = np.asarray(samples)
    if samples.dtype.kind != "f":
        raise TypeError(f"windows: samples are {samples.dtype}; floats are taken")
    if samples.ndim != 1:
        raise ValueError(f"windows: samples have shape {samples.shape}; one channel is taken, (n,)")
    return samples


def _checked(blocks, name, declared):
    """Yield blocks as float32; raise if there are too few samples, or some are not finite."""
    count = 0
    for block in blocks:
        bad = np.flatnonzero(~np.isfinite(block))
        if bad.size:
            raise ValueError(f"windows: {name}: sample {count + bad[0]:,} is {block[bad[0]]}")
        count += len(block)
        suspect_scale(block)
        yield np.asarray(block, np.float32)
    if not count:
        raise ValueError(f"windows: {name} holds no samples")
    if count < declared:
        raise ValueError(f"windows: {name} is cut off: {count:,} of {declared:,} samples are there")


def _resampled(blocks, own, rate):
    """Yield blocks at another rate; together ceil(n rate / own) samples."""
    if own == rate:
        yield from blocks
        return
    resampler = needed("soxr", "windows").ResampleStream(
        own, rate, 1, dtype="float32", quality="HQ"
    )
    heard = made = 0
    for block in blocks:
        heard += len(block)
        resampled = resampler.resample_chunk(block)
        made += len(resampled)
        yield resampled
    left = math.ceil(heard * rate / own) - made
    rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)[:left]
    yield np.pad(rest, (0, left - len(rest)))


class Held:
    """The samples of a stream that may still be asked for."""

    def __init__(self, blocks):
        self.blocks = blocks
        self.start = self.stop = 0
        self.samples = np.zeros(0, np.float32)

    def reaches(self, stop):
        """Read on until here, and return whether the stream goes so far."""
        new = []
        while self.stop < stop and (block := next(self.blocks, None)) is not None:
            new.append(block)
            self.stop += len(block)
        self.samples = np.concatenate([self.samples, *new]) if new else self.samples
        return self.stop >= stop

    def part(self, start, stop):
        """Return samples from here to there, or to the end: a copy, which may be changed."""
        return self.samples[start - self.start : stop - self.start].copy()

    def forget(self, before):
        """Let go of the samples before this one."""
        before = min(before, self.stop)
        if before > self.start:
            self.samples = self.samples[before - self.start :]
            self.start = before
