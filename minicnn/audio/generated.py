"""Music made on the spot as tracks with labels, in the place of a data set of recordings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn.audio import sound
from minicnn.audio.datasets import Dataset
from minicnn.audio.style import SOLOISTS, TAGS
from minicnn.audio.synth import Corpus

FRAME_RATE = 200.0  # of labels that are given by frames [Hz]


def _pitch(clip):
    """Return the times and the pitch of the only player, 0 Hz where there is none."""
    rows = clip.f0(FRAME_RATE)
    if len(rows) > 1:
        raise ValueError(f"generated: pitch takes one source, and there are {len(rows)}")
    frequency = rows[0] if len(rows) else np.zeros(rows.shape[1])
    return np.arange(len(frequency)) / FRAME_RATE, frequency


def _pitches(clip):
    """Return the times and all pitches that sound at each."""
    pitches = clip.pitches(FRAME_RATE)
    return np.arange(len(pitches)) / FRAME_RATE, pitches


# From a clip; those of classes and tags also from a piece.
LABELS: dict[str, Callable[[Any], Any]] = {
    "classes": lambda clip: clip.instrument,
    "tags": lambda clip: clip.tags,
    "onsets": lambda clip: clip.onsets(),
    "voice": lambda clip: clip.segments(),
    "pitch": _pitch,
    "multi_f0": _pitches,
}
NAMES = {"classes": SOLOISTS, "tags": TAGS}


@dataclass(frozen=True)
class GeneratedTrack:
    """A clip of a corpus, which is made whenever it is asked for; see `datasets.Track`."""

    corpus: Corpus
    index: int
    task: str

    @property
    def name(self) -> str:
        """Of the corpus, the split and the number of the clip."""
        return f"{self.corpus.name} {self.corpus.split} {self.index}"

    @property
    def split(self) -> str:
        """The part of the corpus."""
        return self.corpus.split

    @property
    def label(self) -> Any:
        """What is to be learned of it; for classes and tags nothing has to sound."""
        if self.task in NAMES:
            return LABELS[self.task](self.corpus.piece(self.index))
        return self.load(self.corpus.sample_rate)[1]

    def load(self, sample_rate: float) -> tuple[np.ndarray, Any]:
        """Return the samples at this rate [Hz], and the label."""
        clip = self.corpus[self.index]
        samples = sound.resample(clip.samples, clip.sample_rate, sample_rate)
        return samples, LABELS[self.task](clip)


@dataclass(frozen=True)
class GeneratedDataset(Dataset):
    """Clips of a corpus with their labels for a task."""

    @property
    def names(self) -> tuple[str, ...]:
        """All classes or tags: number i of a network's outputs is names[i]."""
        if self.task not in NAMES:
            raise ValueError(f"{self.name}: {self.task} have no names; classes and tags have")
        return NAMES[self.task]


def dataset(corpora: Sequence[Corpus], task: str) -> Dataset:
    """Return the clips of corpora, such as those of several splits, as tracks with labels.

    Parameters
    ----------
    corpora : sequence of Corpus
    task : str
        One of `datasets.TASKS`.

    Raises
    ------
    ValueError
        If there is no such task, or classes are asked of another corpus than instruments.
    """
    if task not in LABELS:
        raise ValueError(f"generated: there is no task {task!r}; there are {', '.join(LABELS)}")
    others = sorted({corpus.name for corpus in corpora} - {"instruments"})
    if task == "classes" and others:
        raise ValueError(f"generated: classes are those of instruments, not of {others[0]}")
    tracks = tuple(
        GeneratedTrack(corpus, i, task) for corpus in corpora for i in range(len(corpus))
    )
    name = f"generated {', '.join(sorted({corpus.name for corpus in corpora}))}"
    return GeneratedDataset(name, task, tracks, "none needed: it is generated")  # type: ignore[arg-type]
