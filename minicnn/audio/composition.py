"""Music to play: styles, chords, melodies and beats, down to the notes of each player.

Nothing here sounds. A piece is played by the band of `synth` or by recorded instruments of
`soundfont`, which know what the notes of an instrument are like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from minicnn.audio.clip import DRUMS, VOICE, Note
from minicnn.audio.instruments import INSTRUMENTS, hertz, tempos

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
_STRUCK = ("piano", "guitar", "vibraphone")
_LAST = 0.06  # no note begins so shortly before the end [s]


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
_PROGRESSIONS = ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (5, 3, 0, 4), (0, 3, 0, 4))
TAGS: tuple[str, ...] = (
    *STYLES,
    "calm", "energetic", "happy", "sad",
    *(name for name in INSTRUMENTS if name not in ("bass", "cello")),
)  # fmt: skip


@dataclass(frozen=True)
class Piece:
    """What is to be played: `Clip` describes the fields."""

    notes: tuple[Note, ...]
    seconds: float
    tempo: float = 0.0
    style: str = ""
    instrument: str = ""
    tags: tuple[str, ...] = ()


@dataclass
class _Band:
    """A piece while it is being written: the key, the bars, and what is written so far."""

    style: Style
    tempo: int
    seconds: float
    key: int
    scale: tuple[int, ...]
    progression: tuple[int, ...]
    tuning: float  # [semitones]
    begin: float  # when the first bar does [s]
    mood: str  # "happy", "sad" or ""
    rng: np.random.Generator
    notes: list[Note] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, style: Style, split: str, seconds: float, rng, *, mood: str = "") -> _Band:
        """Return a band that has agreed on key, tempo and chords."""
        low, high = style.tempo
        if mood:  # the sad half of a style is the slow one
            middle = (low + high) // 2
            low, high = (low, middle) if mood == "sad" else (middle, high)
        minor = {"sad": 1.0, "happy": 0.0}.get(mood, style.minor)
        return cls(
            style=style,
            tempo=int(rng.choice(tempos(low, high, split))),
            seconds=seconds,
            key=int(rng.integers(12)),
            scale=MINOR if rng.random() < minor else MAJOR,
            progression=_PROGRESSIONS[rng.integers(len(_PROGRESSIONS))],
            tuning=rng.uniform(-0.5, 0.5),
            begin=rng.uniform(0.02, 0.3),
            mood=mood,
            rng=rng,
        )

    @property
    def bars(self) -> int:
        return max(int(np.ceil((self.seconds - self.begin) / self.bar)), 1)

    @property
    def bar(self) -> float:
        """The length of a bar [s]."""
        return self.style.beats * 60 / self.tempo

    def time(self, bar: int, beat: float) -> float:
        """Return when a beat is [s], as a person plays it."""
        if self.style.swing and beat % 1 == 0.5:
            beat += self.style.swing
        return self.begin + bar * self.bar + beat * 60 / self.tempo + self.rng.normal(0, 0.003)

    def midi(self, degree: int, low: float) -> int:
        """Return the lowest note of a degree of the scale from `low` on."""
        pitch = self.key + self.scale[degree % 7]
        return int(pitch + 12 * np.ceil((low - pitch) / 12))

    def join(self, instrument: str) -> int:
        """Return the number of one more player."""
        self.parts.append(instrument)
        return len(self.parts) - 1

    def play(self, part: int, start: float, length: float, midi: float, loudness: float) -> None:
        """Write a note, unless the piece is over."""
        start = max(start, 0.02)
        if start > self.seconds - _LAST:
            return
        pitch = float(hertz(midi + self.tuning))
        stop = min(start + length, self.seconds)
        loudness *= self.rng.uniform(0.8, 1.2)
        self.notes.append(Note(start, stop, pitch, self.parts[part], part, loudness))

    def chords(self, instrument: str, loudness: float = 0.35) -> None:
        """Write the chords of all bars."""
        part = self.join(instrument)
        power = instrument == "distorted guitar"
        low = {"distorted guitar": 40, "guitar": 45, "cello": 40}.get(instrument, 52)
        low += int(self.rng.integers(0, 6))
        for bar in range(self.bars):
            degree = self.progression[bar % len(self.progression)]
            steps = (0, 2, 4, 6) if self.style.sevenths else (0, 2, 4)
            tones = sorted(self.midi(degree + step, low) for step in steps)
            if power:
                root = self.midi(degree, low)
                tones = [root, root + 7, root + 12]
            for i, (beat, length) in enumerate(self.style.chord_rhythm):
                chosen = [tones[i % len(tones)]] if self.style.broken else tones
                start = self.time(bar, beat)
                for midi in chosen:
                    late = abs(self.rng.normal(0, 0.003))
                    held = 0.95 * length * 60 / self.tempo - late
                    self.play(part, start + late, held, midi, loudness)

    def bass(self, loudness: float = 0.6) -> None:
        """Write the bass of all bars."""
        part = self.join("bass")
        for bar in range(self.bars):
            degree = self.progression[bar % len(self.progression)]
            for beat, length, step in self.style.bass_rhythm:
                midi = self.midi(degree + 2 * step, 29)
                self.play(
                    part, self.time(bar, beat), 0.9 * length * 60 / self.tempo, midi, loudness
                )

    def drums(self, loudness: float = 0.7) -> None:
        """Write the beat of all bars."""
        part = self.join(DRUMS)
        for bar in range(self.bars):
            for drum, beats in self.style.drums.items():
                soft = 0.4 if drum in ("hat", "open hat", "shaker") else 1.0
                for beat in beats:
                    start = max(self.time(bar, beat), 0.02)
                    strength = soft * loudness * self.rng.uniform(0.7, 1.2)
                    if start <= self.seconds - _LAST:
                        self.notes.append(
                            Note(start, start + 0.05, 0.0, DRUMS, part, strength, kind=drum)
                        )

    def melody(self, part: int, first: int, last: int, loudness: float, touch: float) -> None:
        """Write a melody from bar `first` to before bar `last`; `touch` 1 leaves no gaps."""
        low, high = _register(self.parts[part], self.mood, self.rng)
        lengths = np.array(self.style.lengths) * {"sad": 2.0, "happy": 0.5}.get(self.mood, 1.0)
        position = self.rng.integers(len(self._scale_within(low, high)))
        bounds: list[tuple[float, float, int]] = []
        beat, end = 0.0, self.style.beats * (last - first)
        while beat < end:
            length = float(min(self.rng.choice(lengths), end - beat))
            bar, within = first + int(beat // self.style.beats), beat % self.style.beats
            if beat == 0 or self.rng.random() > 0.12:
                degree = self.progression[bar % len(self.progression)]
                scale = self._scale_within(low, high)
                position = np.clip(position + self.rng.integers(-2, 3), 0, len(scale) - 1)
                if within % 1 == 0:  # on the beat a note of the chord
                    harmony = {(self.key + self.scale[(degree + s) % 7]) % 12 for s in (0, 2, 4)}
                    position = min(
                        (i for i, midi in enumerate(scale) if midi % 12 in harmony),
                        key=lambda i: abs(i - position),
                        default=position,
                    )
                bounds.append((self.time(bar, within), length * 60 / self.tempo, scale[position]))
            beat += length
        for i, (start, length, midi) in enumerate(bounds):
            following = bounds[i + 1][0] if i + 1 < len(bounds) else np.inf
            tied = following - start < length + 0.05
            held = following - start if tied and touch == 1 else min(
                touch * length, following - start - 0.01
            )  # fmt: skip
            self.play(part, start, held, midi, loudness)

    def _scale_within(self, low, high):
        inside = [midi for midi in range(low, high + 1) if (midi - self.key) % 12 in self.scale]
        return inside or [low]

    def piece(self, style: str = "", instrument: str = "", moods: Sequence[str] = ()) -> Piece:
        """Return what was written."""
        heard = {note.instrument for note in self.notes}
        tags = {style, *moods, *heard} & set(TAGS)
        return Piece(
            notes=_in_order(self.notes),
            seconds=self.seconds,
            tempo=float(self.tempo),
            style=style,
            instrument=instrument,
            tags=tuple(tag for tag in TAGS if tag in tags),
        )


def tones(index: int, seconds: float, split: str, rng) -> Piece:
    """Write one note of any pitch, of each instrument in turn."""
    pitched = [name for name in INSTRUMENTS if name != DRUMS]
    instrument = pitched[index % len(pitched)]
    spec = INSTRUMENTS[instrument]
    pitch = float(hertz(rng.uniform(spec.low, spec.high)))
    start = rng.uniform(0.05, 0.2) * seconds
    stop = rng.uniform(0.7, 0.95) * seconds
    note = Note(start, stop, pitch, instrument, 0, rng.uniform(0.3, 1.0))
    return Piece((note,), seconds, instrument=instrument, tags=_tags(instrument))


def melodies(index: int, seconds: float, split: str, rng) -> Piece:
    """Write a melody for one player, never two notes at once, of each instrument in turn."""
    pitched = [name for name in INSTRUMENTS if name not in (DRUMS, "organ", "distorted guitar")]
    instrument = pitched[index % len(pitched)]
    band = _Band.of(_any_style(rng), split, seconds, rng)
    band.melody(band.join(instrument), 0, band.bars, 1.0, _touch(instrument, rng))
    return band.piece(instrument=instrument)


def polyphony(index: int, seconds: float, split: str, rng) -> Piece:
    """Write a melody with chords, bass and drums, or some of them; nobody sings."""
    name = list(STYLES)[index % len(STYLES)]
    style = STYLES[name]
    band = _Band.of(style, split, seconds, rng)
    lead = str(rng.choice([i for i in (*style.lead, *_STRUCK) if i != VOICE]))
    if rng.random() < 0.8:
        band.chords(str(rng.choice(style.chords)))
    if rng.random() < 0.7 or not band.parts:
        band.bass()
    if style.drums and rng.random() < 0.4:
        band.drums(0.5)
    band.melody(band.join(lead), 0, band.bars, 0.8, _touch(lead, rng))
    return band.piece(name, lead, style.moods)


def songs(index: int, seconds: float, split: str, rng) -> Piece:
    """Write a song: half of the time somebody sings, else an instrument leads, or nobody does."""
    sung = [name for name, style in STYLES.items() if VOICE in style.lead]
    name = sung[index % len(sung)]
    style = STYLES[name]
    band = _Band.of(style, split, seconds, rng)
    instrument = str(rng.choice(["violin", "saxophone", "flute", "trumpet", *_STRUCK]))
    voice, lead = band.join(VOICE), band.join(instrument)
    band.chords(str(rng.choice(style.chords)))
    band.bass()
    if style.drums:
        band.drums()
    bar = 0
    while bar < band.bars:
        end = min(bar + max(round(rng.uniform(2, 5) / band.bar), 1), band.bars)
        who = rng.choice([voice, lead, -1], p=[0.6, 0.25, 0.15])
        if who >= 0:
            sings = who == voice
            loudness = rng.uniform(0.5, 1.0) if sings else rng.uniform(0.8, 1.4)
            band.melody(int(who), bar, end, loudness, 1.0 if sings else 0.9)
        # Without a voice all others are louder: or the level alone would tell when it is there.
        _level(band, bar, end, rng.uniform(0.8, 1.3) * {voice: 1.0, lead: 1.3}.get(int(who), 1.9))
        bar = end
    heard = VOICE if any(note.instrument == VOICE for note in band.notes) else instrument
    return band.piece(name, heard, style.moods)


# The eight classes of the paper of the pitch spiral.
SOLOISTS = (
    "clarinet", "distorted guitar", VOICE, "flute", "piano", "saxophone", "trumpet", "violin",
)  # fmt: skip


def instruments(index: int, seconds: float, split: str, rng) -> Piece:
    """Write a solo of each of the eight instruments in turn; piano and guitar add chords."""
    instrument = SOLOISTS[index % len(SOLOISTS)]
    band = _Band.of(_any_style(rng), split, seconds, rng)
    band.melody(band.join(instrument), 0, band.bars, 1.0, _touch(instrument, rng))
    if instrument in ("piano", "distorted guitar") and rng.random() < 0.7:
        band.chords(instrument, 0.5)
    return band.piece(instrument=instrument)


def tagged(index: int, seconds: float, split: str, rng) -> Piece:
    """Write a piece of each style in turn, some of them happy or sad.

    Happy is major, the faster tempos of the style, a high melody of short notes; sad is minor, the
    slower ones, a low melody of long notes, and soft drums.
    """
    name = list(STYLES)[index % len(STYLES)]
    style = STYLES[name]
    mood = str(rng.choice(["happy", "sad", ""], p=[0.35, 0.35, 0.3]))
    band = _Band.of(style, split, seconds, rng, mood=mood)
    lead = str(rng.choice(style.lead))
    touch = {"sad": 1.0, "happy": 0.5}.get(mood) or _touch(lead, rng)
    band.melody(band.join(lead), 0, band.bars, rng.uniform(0.7, 1.1), touch)
    band.chords(str(rng.choice(style.chords)), 0.5 if name == "rock" else 0.35)
    if rng.random() < 0.85:
        band.bass()
    if style.drums and rng.random() < 0.9:
        band.drums(0.3 if mood == "sad" or "calm" in style.moods else 0.8)
    return band.piece(name, lead, [*style.moods, mood])


def example(seconds: float, split: str, rng) -> Piece:
    """Write a piece with a melody, chords, bass and drums, of which somebody sings the second half.

    For pictures: everything that there is to hear is in it.
    """
    style = STYLES["ballad"]
    band = _Band.of(style, split, seconds, rng, mood="happy")
    half = max(band.bars // 2, 1)
    band.melody(band.join("violin"), 0, half, 0.9, 0.95)
    band.melody(band.join(VOICE), half, max(band.bars, half + 1), 1.0, 1.0)
    band.chords("piano")
    band.bass()
    band.drums()
    return band.piece("ballad", "violin", style.moods)


def _register(instrument, mood, rng):
    """Return the lowest and highest note of a melody: two octaves at most of what there is."""
    low, high = INSTRUMENTS[instrument].low, INSTRUMENTS[instrument].high
    span = min(int(rng.integers(12, 25)), high - low)
    room = high - span - low
    first, last = {"sad": (0.0, 0.3), "happy": (0.7, 1.0)}.get(mood, (0.0, 1.0))
    low += round(room * rng.uniform(first, last))
    return low, low + span


def _touch(instrument, rng):
    """Return how long notes are held, of the time to the next: a singer's are tied."""
    return 1.0 if instrument == VOICE else float(rng.uniform(0.55, 0.97))


def _level(band, first, last, factor):
    """Make all that is played in some bars louder or softer, the singing too."""
    start, stop = (band.begin + bar * band.bar - 0.02 for bar in (first, last))
    for i, note in enumerate(band.notes):
        if start <= note.start < stop:
            band.notes[i] = replace(note, loudness=note.loudness * factor)


def _any_style(rng):
    return STYLES[list(STYLES)[rng.integers(len(STYLES))]]


def _tags(instrument):
    return (instrument,) if instrument in TAGS else ()


def _in_order(notes):
    return tuple(sorted(notes, key=lambda note: (note.start, note.part, note.pitch)))
