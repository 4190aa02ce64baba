"""Augmentations: random changes of a sample that leave its meaning, or take its label along.

Each is a small object. It is called with a sample, an input and any targets, and a generator, as
`minicnn.data.DataLoader(transform=...)` calls it, and returns as many arrays; its method `batch`
does the same with stacked samples and one seed for each, and finds the same numbers. Inputs are
spectrograms (..., frequency, time) or waveforms (..., samples) of float32 or float64; they are not
changed in place, and keep their dtype. Parts of a sample are counted from 0, the input.

The ranges are those of Schlüter & Grill, "Exploring data augmentation for improved singing voice
detection with neural networks", ISMIR 2015, section 3, and the code behind it, and of Park et al.,
"SpecAugment", Interspeech 2019, table 1. The former found pitch, time and filters to help,
and noise, dropout and loudness not to.
"""

from minicnn.audio.augment.augmentation import Apply, Augmentation, Compose, Sometimes
from minicnn.audio.augment.level import GaussianNoise, InputDropout, Loudness, RandomFilter
from minicnn.audio.augment.specaugment import (
    POLICIES,
    FrequencyMasks,
    SpecAugment,
    TimeMasks,
    TimeWarp,
)
from minicnn.audio.augment.time_pitch import (
    RandomCrop,
    StretchShift,
    WaveformShift,
    WaveformStretch,
)

__all__ = [
    "POLICIES",
    "Apply",
    "Augmentation",
    "Compose",
    "FrequencyMasks",
    "GaussianNoise",
    "InputDropout",
    "Loudness",
    "RandomCrop",
    "RandomFilter",
    "Sometimes",
    "SpecAugment",
    "StretchShift",
    "TimeMasks",
    "TimeWarp",
    "WaveformShift",
    "WaveformStretch",
]
