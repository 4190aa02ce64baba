"""Music made on the spot, with exact labels: to learn from where there are no recordings.

Six corpora, endless and the same on every day: clip i follows from the seed, the split and i alone.
Timbres and tempos of the test split do not occur in training; see `instruments`. On one machine
with the same libraries the samples are the same to the bit, in any order and in any process.

Results on generated music say that a network learns its task, not that it matches a paper.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, overload

import numpy as np
from scipy.signal import bilinear, lfilter, oaconvolve

from minicnn.audio import composition
from minicnn.audio.clip import DRUMS, VOICE, Clip, Note, cents_between
from minicnn.audio.composition import Piece, check_notes
from minicnn.audio.drums import DRUMS as _DRUMS
from minicnn.audio.drums import hit
from minicnn.audio.instruments import SPLITS, Timbre, check_split, timbre
from minicnn.audio.style import SOLOISTS, STYLES, TAGS
from minicnn.audio.tone import HIGHEST, sounding, tone
from minicnn.audio.voice import sing
from minicnn.rng import generator

__all__ = [
    "CORPORA", "SOLOISTS", "STYLES", "TAGS", "Clip", "Corpus", "Note", "Piece", "corpus",
    "example", "play",
]  # fmt: skip

# What writes the pieces of a corpus, and how long they are if nothing else is asked for [s].
CORPORA: dict[str, tuple[Callable, float]] = {
    "tones": (composition.tones, 1.0),
    "melodies": (composition.melodies, 4.0),
    "polyphony": (composition.polyphony, 10.0),
    "songs": (composition.songs, 10.0),
    "instruments": (composition.instruments, 3.0),
    "tagged": (composition.tagged, 10.0),
}
_DRY = ("tones", "melodies")  # one source without a room: its pitch is all that is heard


class Corpus(Sequence[Clip]):
    """Clips that are made when they are asked for, and not kept.

    Parameters
    ----------
    name : str
        One of `CORPORA`.
    split : "train", "valid" or "test"
    size : int
        How many clips.
    seconds : float, optional
        How long each is; by default as long as `CORPORA` says.
    sample_rate : int [Hz]
    player : callable
        Takes a `Piece`, the split, the sampling rate and a generator, and returns a `Clip`.
    rng : int, Generator or None
        The seed, or where it is drawn from.

    Raises
    ------
    ValueError
        If there is no such corpus or split, or a number is out of range.
    """

    def __init__(
        self,
        name: str,
        split: str = "train",
        size: int = 100,
        seconds: float | None = None,
        sample_rate: int = 22050,
        *,
        player: Callable[..., Clip] | None = None,
        rng: Any = None,
    ):
        if name not in CORPORA:
            raise ValueError(f"corpus: there is no corpus {name!r}; there are {', '.join(CORPORA)}")
        seconds = CORPORA[name][1] if seconds is None else float(seconds)
        if size < 0:
            raise ValueError(f"corpus: size is {size}; it must be 0 or more")
        _check_sound("corpus", seconds, sample_rate)
        self.name, self.split, self.size = name, check_split("corpus", split), int(size)
        self.seconds, self.sample_rate, self.player = seconds, int(sample_rate), player
        seeded = isinstance(rng, (int, np.integer))
        self.seed = int(rng) if seeded else int(generator(rng).integers(2**63))
        if self.seed < 0:
            raise ValueError(f"corpus: rng is {rng}; a seed is 0 or more")

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, index: int) -> Clip: ...
    @overload
    def __getitem__(self, index: slice) -> list[Clip]: ...
    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.size))]
        piece, rng = self._write(index)
        player, room = self.player or play, self.name not in _DRY
        return player(piece, self.split, self.sample_rate, room=room, rng=rng)

    def piece(self, index: int) -> Piece:
        """Return what is played in a clip, without playing it."""
        return self._write(index)[0]

    def _write(self, index):
        if not -self.size <= index < self.size:
            raise IndexError(f"corpus: there is no clip {index}; there are {self.size}")
        index = int(index) % self.size
        key = zlib.crc32(self.name.encode()), SPLITS.index(self.split), index
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
        return CORPORA[self.name][0](index, self.seconds, self.split, rng), rng


def corpus(
    name: str,
    split: str = "train",
    size: int = 100,
    seconds: float | None = None,
    sample_rate: int = 22050,
    *,
    rng: Any = None,
) -> Corpus:
    """Return a corpus that the synthesised band plays.

    Parameters
    ----------
    name : str
        "tones": one note of any pitch. "melodies": one player, one note at a time, no room.
        "polyphony": two to four players, nobody sings. "songs": about half of the time somebody
        sings. "instruments": solos of the eight instruments of the pitch spiral. "tagged": pieces
        of eight styles with moods and instruments as tags, of those in `TAGS`.
    split : "train", "valid" or "test"
    size : int
        How many clips; the first ones of a larger corpus are those of a smaller one.
    seconds : float, optional
        How long each is: by default 1, 4, 10, 10, 3 and 10 s in the order above.
    sample_rate : int [Hz]
    rng : int, Generator or None
        The seed, or where it is drawn from.

    Returns
    -------
    Corpus
        A sequence of `Clip`; it can be sent to worker processes.

    Raises
    ------
    ValueError
        If there is no such corpus or split, or a number is out of range.
    """
    return Corpus(name, split, size, seconds, sample_rate, rng=rng)


def example(seconds: float = 6.0, sample_rate: int = 22050, *, rng: Any = None) -> Clip:
    """Return a piece for pictures: a violin, then a voice, over piano, bass and drums.

    Parameters
    ----------
    seconds : float
    sample_rate : int [Hz]
    rng : int, Generator or None

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    _check_sound("example", seconds, sample_rate)
    rng = generator(rng)
    return play(composition.example(seconds, "train", rng), "train", sample_rate, rng=rng)


def play(
    piece: Piece, split: str = "train", sample_rate: int = 22050, *, room: bool = True, rng: Any
) -> Clip:
    """Return the sound of a piece, played by instruments that only this split hears.

    Parameters
    ----------
    piece : Piece
    split : "train", "valid" or "test"
    sample_rate : int [Hz]
    room : bool
        Whether there is reverberation, and louder and softer passages.
    rng : int, Generator or None

    Returns
    -------
    Clip
        Its notes have the vibrato and the glides that were played, and end where they are no
        longer heard.

    Raises
    ------
    ValueError
        If there is no such split, a number is out of range, or a note cannot be played.
    """
    _check_sound("play", piece.seconds, sample_rate)
    check_notes("play", piece.notes)
    top = max((note.pitch for note in piece.notes), default=0)
    if top >= HIGHEST * sample_rate:
        raise ValueError(
            f"play: there is a note of {top} Hz; at {sample_rate} Hz it must be below "
            f"{HIGHEST * sample_rate:.0f} Hz"
        )
    rng = generator(rng)
    players = sorted({(note.part, note.instrument) for note in piece.notes})
    made = {player: timbre(player[1], split, rng=rng) for player in players}
    n = round(piece.seconds * sample_rate)
    mix, notes = np.zeros(n), []
    for player, specimen in made.items():
        plain = [note for note in piece.notes if (note.part, note.instrument) == player]
        played = plain if specimen.instrument == DRUMS else _dressed(plain, specimen, rng)
        for first, samples in _sounds(played, specimen, sample_rate, rng):
            _add(mix, first, samples)
        notes += played
    return Clip(
        samples=recorded(mix, sample_rate, room, rng),
        sample_rate=sample_rate,
        notes=tuple(sorted(notes, key=lambda note: (note.start, note.part, note.pitch))),
        tempo=piece.tempo,
        style=piece.style,
        instrument=piece.instrument,
        tags=piece.tags,
        timbres=tuple(made.values()),
    )


def recorded(mix, sample_rate: int, room: bool, rng) -> np.ndarray:
    """Return what a recording of the mix is like.

    Parameters
    ----------
    mix : ndarray, shape (n,)
    sample_rate : int [Hz]
    room : bool
        Whether there is reverberation, and louder and softer passages.
    rng : Generator

    Returns
    -------
    ndarray of float32, shape (n,)
        With the slopes of a microphone and some noise, at any level: the peak is 0.1 to 0.95.
        Where nothing is played there is the noise alone, as soft as below a full mix.
    """
    if room:
        mix = _reverberated(mix, sample_rate, rng) * _dynamics(len(mix), sample_rate, rng)
    mix = _coloured(mix, sample_rate, rng)
    peak = np.abs(mix).max(initial=0)
    # No recording is silent; 60 to 80 dB are below the peak.
    mix = mix + (peak or 1) * 10 ** rng.uniform(-4, -3) * rng.standard_normal(len(mix))
    peak = np.abs(mix).max() if peak else 1
    return (mix * (10 ** rng.uniform(-1, np.log10(0.95)) / peak)).astype(np.float32)


def _dressed(notes: list[Note], of: Timbre, rng) -> list[Note]:
    """Return the notes as they are played: with vibrato, glides, and the end that is heard."""
    played: list[Note] = []
    for note in notes:
        if of["vibrato"]:
            depth = of["vibrato"] * rng.uniform(0.6, 1.2)
            rate = of["rate"] * rng.uniform(0.95, 1.05)
            note = replace(note, vibrato=(depth, rate, rng.uniform(0, 2 * np.pi)))
        before = played[-1] if played else None
        if of.instrument == VOICE and before and note.start - before.stop < 1e-6:
            came_from = cents_between(note.pitch, float(before.f0(note.start)))
            note = replace(note, glide=(came_from, rng.uniform(0.04, 0.12)))
        elif of.instrument == VOICE:  # the first note of a breath is found from below
            note = replace(note, glide=(-rng.uniform(0, 120), rng.uniform(0.05, 0.12)))
        played.append(replace(note, stop=note.start + sounding(note, of)))
    return played


def _sounds(notes, of, sample_rate, rng):
    """Yield where each sound begins [samples], and its samples."""
    if of.instrument == VOICE:
        for breath in _breaths(notes):
            yield sing(breath, of, sample_rate, rng=rng)
    elif of.instrument == DRUMS:
        kinds = [kind for kind in _DRUMS if any(note.kind == kind for note in notes)]
        struck = {kind: hit(kind, of, sample_rate, rng=rng) for kind in kinds}
        for note in notes:
            yield int(np.ceil(note.start * sample_rate)), note.loudness * struck[note.kind]
    else:
        for note in notes:
            yield tone(note, of, sample_rate, rng=rng)


def _breaths(notes):
    """Return lists of notes that are sung in one go."""
    breaths: list[list[Note]] = []
    for note in notes:
        if breaths and note.start - breaths[-1][-1].stop < 1e-6:
            breaths[-1].append(note)
        else:
            breaths.append([note])
    return breaths


def _add(mix, first, samples):
    """Add samples to a mix from `first` on; what lies outside of it is lost."""
    begin, end = max(first, 0), min(first + len(samples), len(mix))
    if end > begin:
        mix[begin:end] += samples[begin - first : end - first]


def _reverberated(mix, sample_rate, rng):
    """Return the mix in a room: noise that dies away, softer and duller than what is played."""
    length = rng.uniform(0.3, 1.0)  # to 60 dB down [s]
    wet = 10 ** (rng.uniform(-26, -12) / 20)
    times = np.arange(int(length * sample_rate)) / sample_rate
    tail = rng.standard_normal(len(times)) * np.exp(-np.log(1000) * times / length)
    tail = np.convolve(tail, [0.25, 0.5, 0.25], "same")
    tail[: int(0.01 * sample_rate)] = 0  # the nearest wall
    tail *= wet / np.sqrt((tail**2).sum())
    tail[0] = 1
    return oaconvolve(mix, tail)[: len(mix)]


def _coloured(mix, sample_rate, rng):
    """Return the mix as some microphone hears it: two gentle slopes, by 9 dB at most.

    Without it the mean spectrum alone would tell the instruments apart.
    """
    for lowest, highest in ((150, 600), (1000, 4000)):
        corner = 2 * np.pi * np.exp(rng.uniform(np.log(lowest), np.log(highest)))
        gain = 10 ** (rng.uniform(-9, 9) / 20)
        mix = lfilter(*bilinear([1, corner * gain], [1, corner], sample_rate), mix)
    return mix


def _dynamics(n, sample_rate, rng):
    """Return slow changes of level, by 4 dB up or down at most."""
    points = np.arange(0, n / sample_rate + 2, 2.0)
    decibels = rng.uniform(-4, 4, len(points))
    return 10 ** (np.interp(np.arange(n) / sample_rate, points, decibels) / 20)


def _check_sound(function, seconds, sample_rate):
    if not 0.1 <= seconds <= 3600:
        raise ValueError(f"{function}: seconds is {seconds}; it must be 0.1 to 3600")
    if not 8000 <= sample_rate <= 192_000:
        raise ValueError(f"{function}: sample_rate is {sample_rate} Hz; it must be 8000 to 192000")
