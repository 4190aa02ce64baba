"""What music there is: styles, who plays in them and when, and the tags that pieces are given."""

from __future__ import annotations

from dataclasses import dataclass

from minicnn.audio.clip import VOICE
from minicnn.audio.instruments import INSTRUMENTS


@dataclass(frozen=True)
class Style:
    """What pieces of a style have in common. Times are in beats from the start of a bar.

    Attributes
    ----------
    tempo : (int, int) [beats per minute]
    moods : tuple of str
        Tags that all its pieces have.
    lead, chords : tuple of str
        The instruments that may play them.
    chord_rhythm : tuple of (float, float)
        When chords begin, and for how long they are held.
    bass_rhythm : tuple of (float, float, int)
        The same of the bass, and which note of the chord it plays.
    drums : dict of str to tuple of float
        When each drum is hit.
    lengths : tuple of float
        How long notes of the melody may be.
    beats : int
        In a bar.
    minor : float
        How probable a minor key is.
    broken : bool
        Whether the notes of a chord follow one another.
    swing : float
        How late every second half of a beat comes.
    sevenths : bool
        Whether chords have four notes.
    """

    tempo: tuple[int, int]
    moods: tuple[str, ...]
    lead: tuple[str, ...]
    chords: tuple[str, ...]
    chord_rhythm: tuple[tuple[float, float], ...]
    bass_rhythm: tuple[tuple[float, float, int], ...]
    drums: dict[str, tuple[float, ...]]
    lengths: tuple[float, ...]
    beats: int = 4
    minor: float = 0.5
    broken: bool = False
    swing: float = 0.0
    sevenths: bool = False


_EIGHTHS = tuple(i / 2 for i in range(8))
STYLES: dict[str, Style] = {
    "ambient": Style(
        (60, 80), ("calm",), ("flute", "violin", "vibraphone", VOICE), ("organ", "cello"),
        ((0, 4),), ((0, 4, 0),), {}, (1, 2, 2, 3),
    ),
    "ballad": Style(
        (64, 92), ("calm",), ("saxophone", "violin", "piano", VOICE, VOICE), ("piano", "guitar"),
        tuple((b, 1.0) for b in range(4)), ((0, 2, 0), (2, 2, 2)),
        {"kick": (0, 2.5), "snare": (1, 3), "hat": _EIGHTHS}, (0.5, 1, 1, 2), minor=0.7,
    ),
    "dance": Style(
        (116, 140), ("energetic",), ("organ", "vibraphone", VOICE, VOICE), ("organ",),
        ((0.5, 0.3), (1.5, 0.3), (2.5, 0.3), (3.5, 0.3)),
        tuple((b, 0.4, 0) for b in _EIGHTHS),
        {"kick": (0, 1, 2, 3), "clap": (1, 3), "open hat": (0.5, 1.5, 2.5, 3.5)},
        (0.25, 0.5, 0.5, 1), minor=0.8,
    ),
    "folk": Style(
        (88, 124), (), ("flute", "violin", "guitar", VOICE), ("guitar",),
        tuple((b, 0.5) for b in _EIGHTHS), ((0, 2, 0), (2, 2, 2)),
        {"shaker": _EIGHTHS}, (0.5, 0.5, 1), minor=0.2, broken=True,
    ),
    "jazz": Style(
        (132, 184), (), ("saxophone", "trumpet", "clarinet", "vibraphone", "piano"),
        ("piano", "guitar"), ((1.5, 0.4), (3, 0.6)),
        ((0, 0.9, 0), (1, 0.9, 1), (2, 0.9, 2), (3, 0.9, 1)),
        {"hat": (0, 1, 1.5, 2, 3, 3.5), "snare": (3.5,)}, (0.5, 0.5, 0.5, 1), swing=0.16,
        sevenths=True,
    ),
    "march": Style(
        (96, 124), (), ("trumpet", "clarinet", "flute"), ("organ", "piano"),
        ((1, 0.4), (3, 0.4)), ((0, 0.6, 0), (2, 0.6, 2)),
        {"kick": (0, 2), "snare": (1, 2.75, 3, 3.25, 3.5)}, (0.5, 0.75, 0.25, 1), minor=0.1,
    ),
    "rock": Style(
        (112, 160), ("energetic",), ("distorted guitar", VOICE, VOICE), ("distorted guitar",),
        ((0, 1.4), (1.5, 1.4), (3, 0.9)), tuple((b, 0.45, 0) for b in _EIGHTHS),
        {"kick": (0, 2, 2.5), "snare": (1, 3), "hat": _EIGHTHS}, (0.5, 0.5, 1, 1.5), minor=0.6,
    ),
    "waltz": Style(
        (120, 176), (), ("violin", "clarinet", "piano", "flute"), ("piano", "guitar"),
        ((1, 0.6), (2, 0.6)), ((0, 0.9, 0),), {}, (0.5, 1, 1, 2), beats=3, minor=0.3,
    ),
}  # fmt: skip
TAGS: tuple[str, ...] = (
    *STYLES,
    "calm", "energetic", "happy", "sad",
    *(name for name in INSTRUMENTS if name not in ("bass", "cello")),
)  # fmt: skip
# The eight classes of the paper of the pitch spiral.
SOLOISTS = (
    "clarinet", "distorted guitar", VOICE, "flute", "piano", "saxophone", "trumpet", "violin",
)  # fmt: skip
