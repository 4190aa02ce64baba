"""What a score consists of: one class for each kind of task that `evaluate` knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass

import numpy as np


def part(some: float, whole: float) -> float:
    """Return some / whole; 0 if there is nothing to be a part of."""
    return float(some / whole) if whole else 0.0


@dataclass(frozen=True)
class Matches:
    """How many events, or pitches, were found.

    Those of several files add up: `sum(all_of_them, Matches())` scores them as one, as the papers
    do, so that a file counts by how much is in it.

    Attributes
    ----------
    matched : int
        Pairs of a true one and a found one; nothing is in two pairs.
    n_reference : int
        How many there are.
    n_estimated : int
        How many were found, right or wrong.
    """

    matched: int = 0
    n_reference: int = 0
    n_estimated: int = 0

    def __add__(self, other: Matches) -> Matches:
        return Matches(
            self.matched + other.matched,
            self.n_reference + other.n_reference,
            self.n_estimated + other.n_estimated,
        )

    @property
    def precision(self) -> float:
        """The part of what was found that is right; 0 if nothing was found."""
        return part(self.matched, self.n_estimated)

    @property
    def recall(self) -> float:
        """The part of what there is that was found; 0 if there is nothing."""
        return part(self.matched, self.n_reference)

    @property
    def f_measure(self) -> float:
        """The harmonic mean of precision and recall; 0 if nothing matches."""
        return part(2 * self.matched, self.n_reference + self.n_estimated)

    @property
    def accuracy(self) -> float:
        """Pairs by pairs, misses and false alarms together: the accuracy of several pitches."""
        return part(self.matched, self.n_reference + self.n_estimated - self.matched)


@dataclass(frozen=True)
class MelodyScores:
    """How good the pitch of each frame is.

    Attributes
    ----------
    raw_pitch_accuracy : float
        RPA: of the frames with a true pitch, the part whose pitch is right.
    raw_chroma_accuracy : float
        RCA: the same, octave errors forgiven.
    overall_accuracy : float
        OA: of all frames, the part with the right pitch, or rightly with none.
    voicing_recall, voicing_false_alarm : float
        Of the frames with, and of those without a pitch, the part that is said to have one.
    """

    raw_pitch_accuracy: float
    raw_chroma_accuracy: float
    overall_accuracy: float
    voicing_recall: float
    voicing_false_alarm: float

    @classmethod
    def mean(cls, each: Iterable[MelodyScores]) -> MelodyScores:
        """Return the means over several recordings, one at least, as papers report them."""
        return cls(*np.mean([astuple(scores) for scores in each], axis=0).tolist())


@dataclass(frozen=True)
class TagScores:
    """How good probabilities of tags are.

    Attributes
    ----------
    roc_auc, pr_auc : float
        The means over all tags but the skipped ones.
    roc_auc_of_tags, pr_auc_of_tags : ndarray, shape (n_tags,)
        NaN for a skipped tag.
    skipped : tuple
        Names, or numbers, of the tags that no clip has, or that all have: they have no curve.
    """

    roc_auc: float
    pr_auc: float
    roc_auc_of_tags: np.ndarray
    pr_auc_of_tags: np.ndarray
    skipped: tuple


@dataclass(frozen=True)
class FrameScores:
    """How well frames are told apart, such as those with a voice from those without.

    Attributes
    ----------
    accuracy : float
        The part of all frames that is right.
    precision, recall, f_measure : float
        Of the frames with; 0 where there is nothing to divide by.
    false_alarm : float
        Of the frames without, the part that is said to be one with.
    """

    accuracy: float
    precision: float
    recall: float
    f_measure: float
    false_alarm: float


@dataclass(frozen=True)
class ClassScores:
    """How well things of several classes are told apart, such as instruments.

    Attributes
    ----------
    class_average : float
        The mean of the accuracies of all classes that occur, whatever their sizes.
    accuracy : float
        The part of all that is right.
    accuracy_of_classes : ndarray, shape (n_classes,)
        NaN for a class that does not occur.
    confusion : ndarray of int, shape (n_classes, n_classes)
        How often the class of the row was taken for that of the column.
    absent : tuple
        Names, or numbers, of the classes that do not occur.
    """

    class_average: float
    accuracy: float
    accuracy_of_classes: np.ndarray
    confusion: np.ndarray
    absent: tuple


@dataclass(frozen=True)
class RankingScores:
    """How high the songs that listeners hear are among all that they could be offered.

    Attributes
    ----------
    mean_average_precision, auc : float
        Means over listeners.
    n_listeners : int
        How many were scored.
    n_skipped : int
        How many were not, since none of their songs was held back, or all were.
    """

    mean_average_precision: float
    auc: float
    n_listeners: int
    n_skipped: int
