"""The instruments of the band: what each may sound like, and which of that training hears.

An instrument is a range for each number that makes up its sound. One specimen of it, a timbre, has
a value in each range: its coordinates, from 0 to 1. Every range is cut into ten cells, of which six
are for training, two for validation and two for testing, so that no test timbre shares a value with
any in training; it lies between them. Tempos are divided alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

SPLITS = ("train", "valid", "test")
_CELLS = 10
_INNER = 0.8  # of a cell is used, so that splits do not touch
_TEMPO_CELL = 2  # [beats per minute]


@dataclass(frozen=True)
class Instrument:
    """What all specimens of an instrument have in common.

    Attributes
    ----------
    family : "struck", "plucked", "bowed", "blown", "sung" or "beaten"
    low, high : int
        The notes that it plays [MIDI numbers, 69 is 440 Hz].
    ranges : dict of str to (float, float)
        The lowest and the highest value of each number of a timbre; see `RANGES`.
    resonances : tuple of (float, float, float)
        Of its body: centre [Hz], width [octaves] and gain [dB].
    """

    family: str
    low: int
    high: int
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    resonances: tuple[tuple[float, float, float], ...] = ()

    @property
    def decays(self) -> bool:
        """Whether its tones die away by themselves."""
        return self.family in ("struck", "plucked")


# What a timbre is made of, and the range of an instrument that says nothing else.
RANGES: dict[str, tuple[float, float]] = {
    "slope": (-7.0, -5.0),  # how partials fall off [dB per octave]
    "even": (1.0, 1.0),  # amplitude of even partials
    "contact": (0.0, 0.0),  # where a string is struck or plucked [of its length]; 0 for no string
    "attack": (0.002, 0.003),  # how long the amplitude rises [s]
    "decay": (1.5, 3.0),  # how long A3 takes to fall by 40 dB [s]
    "damping": (0.1, 0.3),  # how much faster each further partial does
    "stretch": (0.0, 0.0),  # inharmonicity B: partial k is at k sqrt(1 + B k^2)
    "knock": (0.0, 0.0),  # amplitude of the noise of the first moment
    "breath": (0.0, 0.0),  # amplitude of the noise that goes along
    "bloom": (0.2, 0.5),  # how much later each octave of partials rises: an exponent
    "vibrato": (0.0, 0.0),  # depth [cents]
    "rate": (4.5, 6.5),  # of the vibrato [Hz]
    "swell": (0.0, 0.1),  # depth of slow changes of amplitude
    "release": (0.012, 0.025),  # how fast it ends [s]
    "size": (0.88, 1.14),  # by which its resonances are moved
    "body": (0.7, 1.3),  # by which their gains [dB] are multiplied
}

INSTRUMENTS: dict[str, Instrument] = {
    "piano": Instrument(
        "struck", 33, 93,
        dict(slope=(-11, -7), contact=(0.11, 0.15), attack=(0.002, 0.004), decay=(2.0, 4.0),
             damping=(0.15, 0.45), stretch=(2e-4, 8e-4), knock=(0.02, 0.06)),
        ((180, 1.0, 4), (1200, 1.2, -3)),
    ),
    "vibraphone": Instrument(
        "struck", 53, 89,
        dict(slope=(-22, -15), attack=(0.002, 0.003), decay=(2.5, 5.0), damping=(0.8, 1.6),
             even=(0.02, 0.2), knock=(0.01, 0.03), swell=(0.1, 0.3)),
    ),
    "guitar": Instrument(
        "plucked", 40, 81,
        dict(slope=(-6, -3.5), contact=(0.16, 0.3), attack=(0.0015, 0.0025), decay=(1.2, 2.2),
             damping=(0.35, 0.8), stretch=(2e-5, 1e-4), knock=(0.03, 0.09)),
        ((105, 0.3, 7), (210, 0.4, 6), (2500, 0.8, -4)),
    ),
    "distorted guitar": Instrument(
        "plucked", 40, 79,
        dict(slope=(-2.5, -0.8), contact=(0.06, 0.1), attack=(0.004, 0.007), decay=(7.0, 12.0),
             damping=(0.005, 0.02), knock=(0.05, 0.12), breath=(0.01, 0.03)),
        ((120, 0.5, 5), (2400, 0.6, 7), (9000, 0.8, -30)),
    ),
    "bass": Instrument(
        "plucked", 28, 52,
        dict(slope=(-9, -6), contact=(0.12, 0.22), attack=(0.003, 0.005), decay=(1.5, 3.0),
             damping=(0.2, 0.5), stretch=(2e-5, 1e-4), knock=(0.01, 0.03)),
    ),
    "violin": Instrument(
        "bowed", 55, 93,
        dict(slope=(-6.5, -4.5), attack=(0.035, 0.065), breath=(0.008, 0.02), vibrato=(12, 28),
             rate=(5.0, 6.5), release=(0.02, 0.04)),
        ((285, 0.25, 7), (470, 0.3, 5), (1300, 0.4, -6), (2600, 0.5, 9)),
    ),
    "cello": Instrument(
        "bowed", 36, 67,
        dict(slope=(-7, -5), attack=(0.04, 0.07), breath=(0.008, 0.02), vibrato=(10, 22),
             rate=(4.5, 6.0), release=(0.025, 0.05)),
        ((110, 0.3, 6), (220, 0.3, 6), (600, 0.4, -5), (1800, 0.5, 5)),
    ),
    "flute": Instrument(
        "blown", 60, 93,
        dict(slope=(-17, -12), attack=(0.03, 0.055), breath=(0.03, 0.08), vibrato=(4, 10),
             rate=(4.5, 5.5), swell=(0.08, 0.25), bloom=(0.3, 0.6)),
    ),
    "clarinet": Instrument(
        "blown", 50, 86,
        dict(slope=(-9, -6), even=(0.03, 0.16), attack=(0.025, 0.05), breath=(0.004, 0.012),
             bloom=(0.4, 0.8)),
        ((1500, 0.5, 4), (3200, 0.6, -5)),
    ),
    "saxophone": Instrument(
        "blown", 46, 76,
        dict(slope=(-6, -4), attack=(0.025, 0.045), breath=(0.015, 0.04), vibrato=(8, 22),
             rate=(4.5, 6.0)),
        ((420, 0.4, 5), (1150, 0.35, 9), (2100, 0.4, -6)),
    ),
    "trumpet": Instrument(
        "blown", 54, 82,
        dict(slope=(-5.5, -3.5), attack=(0.02, 0.04), breath=(0.004, 0.012), bloom=(0.9, 1.6),
             vibrato=(0, 8)),
        ((1250, 0.8, 9), (2600, 0.5, 4), (6000, 0.8, -12)),
    ),
    "organ": Instrument(
        "blown", 36, 84,
        dict(slope=(-4, -1), even=(0.8, 1.2), attack=(0.008, 0.016), breath=(0.002, 0.006),
             bloom=(0, 0.1), swell=(0, 0.06)),
    ),
    "voice": Instrument(
        "sung", 48, 79,
        dict(slope=(-7.5, -5), attack=(0.03, 0.06), breath=(0.01, 0.04), vibrato=(25, 70),
             rate=(4.8, 6.4), size=(0.95, 1.25), release=(0.02, 0.04)),
    ),
    "drums": Instrument(
        "beaten", 0, 0,
        dict(size=(0.7, 1.4), decay=(0.7, 1.4), breath=(0.6, 1.4)),
    ),
}  # fmt: skip
# Drawbars: an organ's pipes sound at these partials and nowhere else.
ORGAN_PARTIALS = (1, 2, 3, 4, 6, 8, 10, 12, 16)


@dataclass(frozen=True)
class Timbre:
    """One specimen of an instrument.

    Attributes
    ----------
    instrument : str
    coordinates : tuple of float
        Where it lies in each of `RANGES`, 0 to 1.
    """

    instrument: str
    coordinates: tuple[float, ...]

    def __getitem__(self, name: str) -> float:
        low, high = INSTRUMENTS[self.instrument].ranges.get(name, RANGES[name])
        return low + (high - low) * self.coordinates[list(RANGES).index(name)]

    def resonance(self, frequency) -> np.ndarray:
        """Return by what the body multiplies amplitudes at frequencies [Hz]."""
        octaves = np.log2(np.asarray(frequency, np.float64) / self["size"])
        decibels = np.zeros(octaves.shape)
        for centre, width, gain in INSTRUMENTS[self.instrument].resonances:
            decibels += gain * np.exp(-0.5 * ((octaves - np.log2(centre)) / width) ** 2)
        return 10 ** (self["body"] * decibels / 20)


def timbre(instrument: str, split: str = "train", *, rng) -> Timbre:
    """Return a specimen of an instrument that only this split hears.

    Parameters
    ----------
    instrument : str
        One of `INSTRUMENTS`.
    split : "train", "valid" or "test"
    rng : Generator

    Raises
    ------
    ValueError
        If there is no such instrument or split.
    """
    if instrument not in INSTRUMENTS:
        raise ValueError(
            f"timbre: there is no instrument {instrument!r}; there are {', '.join(INSTRUMENTS)}"
        )
    cells = [cell for cell in range(_CELLS) if owner(cell) == check_split("timbre", split)]
    chosen = rng.choice(cells, len(RANGES))
    inside = (1 - _INNER) / 2 + _INNER * rng.random(len(RANGES))
    return Timbre(instrument, tuple(((chosen + inside) / _CELLS).tolist()))


def tempos(low: float, high: float, split: str) -> np.ndarray:
    """Return the tempos from low to high that only this split hears [beats per minute]."""
    return np.array(
        [t for t in range(int(low), int(high) + 1) if owner(t // _TEMPO_CELL) == split], np.int64
    )


def owner(cell: int) -> str:
    """Return which split a cell of timbres or of tempos belongs to."""
    return {1: "test", 3: "valid"}.get(cell % 5, "train")


def check_split(function: str, split: str) -> str:
    """Return a split; raise ValueError where it is none."""
    if split not in SPLITS:
        raise ValueError(f"{function}: split is {split!r}; it must be one of {', '.join(SPLITS)}")
    return split


def hertz(midi) -> np.ndarray:
    """Return the frequency [Hz] of notes, 69 for 440 Hz, 12 to the octave; also between them."""
    return 440.0 * 2 ** ((np.asarray(midi, np.float64) - 69) / 12)
