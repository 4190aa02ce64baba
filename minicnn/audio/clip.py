"""A piece of sound with everything that is true of it: notes, pitches, onsets, voice, tags."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from minicnn.audio.targets import to_cents

VOICE, DRUMS = "voice", "drums"
_ROUNDING = 1e-6  # notes that overlap by no more follow one another [s]


@dataclass(frozen=True)
class Note:
    """One tone, sung syllable or drum hit.

    Attributes
    ----------
    start : float [s]
        When its amplitude passes a tenth of what it rises to: for strings that are struck or
        plucked and for drums less than a millisecond after the first sample, for a bow or a breath
        where the slow rise begins to be heard.
    stop : float [s]
        When it is let go, or has decayed by 40 dB, whichever is first; the short release after it
        and the reverberation are not counted.
    pitch : float [Hz]
        0 for drums.
    instrument : str
    part : int
        Which of the players of a piece plays it.
    loudness : float
        A factor of its amplitude.
    kind : str
        Which drum, or "".
    vibrato : (float, float, float)
        How far up and down [cents], how often [Hz], and the phase at the start [radians].
    glide : (float, float)
        How far above its own pitch it comes from [cents], and how long that takes [s].
    """

    start: float
    stop: float
    pitch: float
    instrument: str
    part: int = 0
    loudness: float = 1.0
    kind: str = ""
    vibrato: tuple[float, float, float] = (0.0, 0.0, 0.0)
    glide: tuple[float, float] = (0.0, 1.0)

    def f0(self, times) -> np.ndarray:
        """Return the fundamental frequency [Hz] at times [s], with vibrato and glide.

        Also before its start and after its stop, where it rises and is released.
        """
        since = np.maximum(np.asarray(times, np.float64) - self.start, 0)
        depth, rate, phase = self.vibrato
        cents = np.zeros(since.shape)
        if depth:  # a player gets to it after the note has begun
            cents += depth * _ease((since - 0.1) / 0.2) * np.sin(2 * np.pi * rate * since + phase)
        if self.glide[0]:
            cents += self.glide[0] * (1 - _ease(since / self.glide[1]))
        return self.pitch * 2 ** (cents / 1200)


@dataclass(frozen=True, eq=False)
class Clip:
    """Sound with its labels. Frame i of what is asked for by frames is at i / frame_rate seconds.

    Attributes
    ----------
    samples : ndarray of float32, shape (n,)
        Within -1 and 1.
    sample_rate : int [Hz]
    notes : tuple of Note
        By their start.
    tempo : float [beats per minute]
        0 without a beat.
    style : str
    instrument : str
        The one that leads, or the only one.
    tags : tuple of str
    timbres : tuple of Timbre
        What the instruments are made of; empty where they are recorded ones.
    """

    samples: np.ndarray
    sample_rate: int
    notes: tuple[Note, ...]
    tempo: float = 0.0
    style: str = ""
    instrument: str = ""
    tags: tuple[str, ...] = ()
    timbres: tuple = ()

    @property
    def seconds(self) -> float:
        """How long it is [s]."""
        return len(self.samples) / self.sample_rate

    @property
    def instruments(self) -> tuple[str, ...]:
        """All instruments that are heard, in alphabetical order."""
        return tuple(sorted({note.instrument for note in self.notes}))

    def onsets(self, combine: float = 0.03) -> np.ndarray:
        """Return when notes and drum hits begin.

        Parameters
        ----------
        combine : float [s]
            Of those that are no further from one that is kept, only the first counts, as onset
            detectors are scored; 0 keeps all, but one only where several are at the same time.

        Returns
        -------
        ndarray [s]
        """
        kept: list[float] = []
        for time in sorted(note.start for note in self.notes):
            if not kept or time - kept[-1] > combine:
                kept.append(time)
        return np.array(kept)

    def f0(self, frame_rate: float, n_frames: int | None = None) -> np.ndarray:
        """Return the fundamental frequency of every source, 0 where it is silent.

        Parameters
        ----------
        frame_rate : float [frames per second]
        n_frames : int, optional
            By default as many as begin within the clip.

        Returns
        -------
        ndarray of float64, shape (n_sources, n_frames) [Hz]
            Part by part; a part that plays chords has as many rows as it plays notes at once.
        """
        times = self._times(frame_rate, n_frames)
        rows: list[np.ndarray] = []
        for part in sorted({note.part for note in self.notes if note.pitch}):
            free: list[tuple[float, np.ndarray]] = []  # until when a row is taken, and the row
            for note in self.notes:
                if note.part != part or not note.pitch:
                    continue
                begin = note.start + _ROUNDING
                index = next((i for i, (t, _) in enumerate(free) if t <= begin), len(free))
                row = free[index][1] if index < len(free) else np.zeros(len(times))
                free[index : index + 1] = [(note.stop, row)]
                first, last = np.searchsorted(times, (note.start, note.stop))
                row[first:last] = note.f0(times[first:last])
            rows.extend(row for _, row in free)
        return np.array(rows).reshape(len(rows), len(times))

    def pitches(self, frame_rate: float, n_frames: int | None = None) -> list[np.ndarray]:
        """Return the pitches that sound in each frame, low to high: what targets are made of.

        Parameters
        ----------
        frame_rate, n_frames
            As `f0` takes them.

        Returns
        -------
        list of n_frames arrays [Hz]
        """
        frames = np.sort(self.f0(frame_rate, n_frames).T, axis=1)
        return [frame[frame > 0] for frame in frames]

    def segments(self, instrument: str = VOICE, gap: float = 0.3) -> np.ndarray:
        """Return when an instrument is heard: by default, the voice.

        Parameters
        ----------
        instrument : str
        gap : float [s]
            Shorter pauses than this, such as between syllables, count as sound.

        Returns
        -------
        ndarray, shape (k, 2) [s]
            Where each segment begins and ends.
        """
        found: list[list[float]] = []
        for note in self.notes:
            if note.instrument != instrument:
                continue
            if found and note.start - found[-1][1] < gap:
                found[-1][1] = max(found[-1][1], note.stop)
            else:
                found.append([note.start, note.stop])
        return np.array(found).reshape(-1, 2)

    def _times(self, frame_rate, n_frames):
        if not frame_rate > 0:
            raise ValueError(f"Clip: the frame rate is {frame_rate}; it must be above 0")
        if n_frames is None:
            n_frames = int(np.ceil(self.seconds * frame_rate - 1e-9))
        return np.arange(n_frames) / frame_rate


def cents_between(low: float, high: float) -> float:
    """Return how many cents one frequency [Hz] is above another."""
    return float(to_cents(high) - to_cents(low))


def _ease(x):
    """Go smoothly from 0 at 0 to 1 at 1."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
