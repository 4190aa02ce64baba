"""Music to play: styles, chords, melodies and beats, down to the notes of each player.

Nothing here sounds. A piece is played by the band of `synth` or by recorded instruments of
`soundfont`, which know what the notes of an instrument are like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from minicnn.audio.clip import DRUMS, VOICE, Note
from minicnn.audio.drums import DRUMS as _DRUMS
from minicnn.audio.instruments import INSTRUMENTS, hertz, tempos
from minicnn.audio.style import SOLOISTS, STYLES, TAGS, Style

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
_STRUCK = ("piano", "guitar", "vibraphone")
_LAST = 0.06  # no note begins so shortly before the end [s]
# Degrees of the scale, a bar each.
_PROGRESSIONS = ((0, 4, 5, 3), (0, 5, 3, 4), (0, 3, 4, 0), (5, 3, 0, 4), (0, 3, 0, 4))


@dataclass(frozen=True)
class Piece:
    """What is to be played: `Clip` describes the fields."""

    notes: tuple[Note, ...]
    seconds: float
    tempo: float = 0.0
    style: str = ""
    instrument: str = ""
    tags: tuple[str, ...] = ()


def check_notes(function: str, notes: Sequence[Note]) -> None:
    """Raise ValueError where there is a note that no instrument can play."""
    for note in notes:
        name = note.instrument
        if name not in INSTRUMENTS:
            wrong = f"there is no instrument {name!r}; there are {', '.join(INSTRUMENTS)}"
        elif name == DRUMS and note.kind not in _DRUMS:
            wrong = f"there is no drum {note.kind!r}; there are {', '.join(_DRUMS)}"
        elif name != DRUMS and not 0 < note.pitch < np.inf:
            wrong = f"the {name} has a note of {note.pitch} Hz; a pitch is above 0"
        elif not -np.inf < note.start < note.stop < np.inf:
            wrong = f"a note is from {note.start} to {note.stop} s; it must stop after its start"
        elif not 0 < note.loudness < np.inf:
            wrong = f"a note's loudness is {note.loudness}; it must be above 0"
        else:
            continue
        raise ValueError(f"{function}: {wrong}")


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
        start, stop = max(start, 0.02), min(start + length, self.seconds)
        if start > self.seconds - _LAST:
            return
        pitch = float(hertz(midi + self.tuning))
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
        line = self._line(first, last, *_register(self.parts[part], self.mood, self.rng))
        for i, (start, length, midi) in enumerate(line):
            room = line[i + 1][0] - start if i + 1 < len(line) else np.inf
            tied = touch == 1 and room < length + 0.05
            held = room if tied else min(touch * length, room - 0.01)
            self.play(part, start, held, midi, loudness)

    def _line(self, first, last, low, high):
        """Return start [s], length [s] and pitch of notes that walk up and down the scale."""
        scale = [m for m in range(low, high + 1) if (m - self.key) % 12 in self.scale] or [low]
        factor = {"sad": 2.0, "happy": 0.5}.get(self.mood, 1.0)
        lengths = np.maximum(factor * np.array(self.style.lengths), 0.25)
        position = int(self.rng.integers(len(scale)))
        line: list[tuple[float, float, int]] = []
        beat, end = 0.0, float(self.style.beats * (last - first))
        while beat < end:
            length = min(float(self.rng.choice(lengths)), end - beat)
            if beat == 0 or self.rng.random() > 0.12:  # else a rest
                bar, within = first + int(beat // self.style.beats), beat % self.style.beats
                step = position + int(self.rng.integers(-2, 3))
                position = min(max(step, 0), len(scale) - 1)
                if within % 1 == 0:
                    position = self._in_harmony(scale, position, bar)
                line.append((self.time(bar, within), length * 60 / self.tempo, scale[position]))
            beat += length
        return line

    def _in_harmony(self, scale, position, bar):
        """Return the nearest position in the scale that belongs to the chord of a bar."""
        degree = self.progression[bar % len(self.progression)]
        chord = {(self.key + self.scale[(degree + step) % 7]) % 12 for step in (0, 2, 4)}
        fitting = (i for i, midi in enumerate(scale) if midi % 12 in chord)
        return min(fitting, key=lambda i: abs(i - position), default=position)

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
