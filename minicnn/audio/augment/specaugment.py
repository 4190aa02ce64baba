"""SpecAugment: a spectrogram warped in time, and bands and moments of it masked.

Park, Chan, Zhang, Chiu, Zoph, Cubuk & Le, "SpecAugment: a simple data augmentation method for
automatic speech recognition", Interspeech 2019, section 2.

The paper warps the spectrogram as an image, by one point on the middle frequency that moves along
time, while corners and edges stay. All frequencies in one frame are to move alike, and what is left
of such a warp then is a line from the beginning over the point to the end: that is the definition
here. Some texts draw the distance from 0 to W; as in published code it goes both ways here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minicnn.audio.augment import interpolation
from minicnn.audio.augment.augmentation import (
    Augmentation,
    Compose,
    check_framewise,
    check_range,
)
from minicnn.ops import arguments

# Table 1: W, F, m_F, T, p, m_T.
POLICIES = {
    "LB": (80, 27, 1, 100, 1.0, 1),  # LibriSpeech basic
    "LD": (80, 27, 2, 100, 1.0, 2),  # LibriSpeech double
    "SM": (40, 15, 2, 70, 0.2, 2),  # Switchboard mild
    "SS": (40, 27, 2, 70, 0.2, 2),  # Switchboard strong
}


@dataclass(frozen=True)
class TimeWarp(Augmentation):
    """A frame moves to another time, the ends stay, and all between goes along evenly.

    Attributes
    ----------
    reach : float [frames]
        The paper's W. The frame is drawn at least so far from both ends, the distance from -reach
        to reach.
    framewise : tuple of int
        The parts of the sample that have a label for each frame, time last, and are warped along,
        see `interpolation.labels_at`.
    """

    reach: float = 80.0
    framewise: tuple[int, ...] = ()

    def __post_init__(self):
        check_range(self, "reach", self.reach, 0, np.inf)

    def _apply(self, parts, rng):
        last = parts[0].shape[-1] - 1
        if last < 2 * self.reach:
            raise ValueError(
                f"TimeWarp: none of {last + 1} frames is {self.reach:g} from both ends; "
                f"reach is at most {last // 2}"
            )
        check_framewise(self, parts, self.framewise)
        point = rng.uniform(self.reach, last - self.reach)
        to = point + rng.uniform(-self.reach, self.reach)
        positions = np.interp(np.arange(last + 1), [0, to, last], [0, point, last])
        parts[0] = interpolation.at(parts[0], positions)
        for i in self.framewise:
            parts[i] = interpolation.labels_at(parts[i], positions)


@dataclass(frozen=True)
class FrequencyMasks(Augmentation):
    """Neighbouring bins that are masked in all frames.

    Attributes
    ----------
    width : int [bins]
        The paper's F: each mask has from 0 to so many, or all that there are.
    count : int
        How many masks; they may overlap.
    value : float
        What takes their place; 0 is the mean of a normalised spectrogram.
    """

    width: int = 27
    count: int = 1
    value: float = 0.0

    def __post_init__(self):
        check_range(self, "width", self.width, 0, np.inf)
        check_range(self, "count", self.count, 0, np.inf)

    def _apply(self, parts, rng):
        x = parts[0].copy()
        for start, stop in _masks(x.shape[-2], self.width, self.count, rng):
            x[..., start:stop, :] = self.value
        parts[0] = x


@dataclass(frozen=True)
class TimeMasks(Augmentation):
    """Neighbouring frames that are masked in all bins.

    Attributes
    ----------
    width : int [frames]
        The paper's T: each mask has from 0 to so many.
    count : int
        How many masks; they may overlap.
    fraction : float, in [0, 1]
        The paper's p: no mask is longer than this part of the input.
    value : float
        What takes their place; 0 is the mean of a normalised spectrogram.
    """

    width: int = 100
    count: int = 1
    fraction: float = 1.0
    value: float = 0.0

    def __post_init__(self):
        check_range(self, "width", self.width, 0, np.inf)
        check_range(self, "count", self.count, 0, np.inf)
        check_range(self, "fraction", self.fraction, 0, 1)

    def _apply(self, parts, rng):
        x = parts[0].copy()
        n = x.shape[-1]
        longest = min(self.width, int(self.fraction * n))
        for start, stop in _masks(n, longest, self.count, rng):
            x[..., start:stop] = self.value
        parts[0] = x


class SpecAugment(Compose):
    """Time warp, frequency masks and time masks, one after the other.

    The policies of the paper are for utterances of a thousand frames and more, of 80 bands: shorter
    excerpts need a smaller `reach`, and shorter masks.

    Parameters
    ----------
    policy : "LB", "LD", "SM" or "SS"
        LibriSpeech basic and double, Switchboard mild and strong.
    reach : float, optional [frames]
        Instead of the policy's W; 0 warps nothing.
    value : float
        What takes the place of the masked.
    framewise : tuple of int
        The parts of the sample that are warped along, see `TimeWarp`.

    Raises
    ------
    ValueError
        If there is no such policy.
    """

    def __init__(
        self,
        policy: str = "LD",
        *,
        reach: float | None = None,
        value: float = 0.0,
        framewise: tuple[int, ...] = (),
    ):
        chosen = arguments.choice("SpecAugment", "policy", policy, POLICIES)
        w, f, frequency_masks, t, p, time_masks = chosen
        super().__init__(
            TimeWarp(w if reach is None else reach, framewise),
            FrequencyMasks(f, frequency_masks, value),
            TimeMasks(t, time_masks, p, value),
        )


def _masks(n, width, count, rng):
    """Return where each mask begins and ends."""
    lengths = rng.integers(min(width, n), size=count, endpoint=True)
    starts = rng.integers(n - lengths, endpoint=True)
    return zip(starts, starts + lengths, strict=True)
