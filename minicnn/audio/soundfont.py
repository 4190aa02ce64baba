"""The same corpora, played by recorded instruments: the program fluidsynth and a bank of sounds.

Both are installed beside Python, on Debian by
`apt-get install fluidsynth timgm6mb-soundfont fluid-soundfont-gm`. A network that is trained on one
bank and tested on another has not heard the instruments of the test.

What the labels are worth: pitches are nominal, and recordings are up to 16 cents off, with vibrato
of their own, which is not labelled. Onsets are where the amplitude passes a tenth of what it rises
to, as everywhere here. One key of a recorded cello takes 10 ms to get there and another 75, so the
delay of every key is measured, the first time that an instrument is heard, and added to when the
note is asked for. What is left is a few milliseconds: fluidsynth begins notes at every 64th sample,
and soft notes of some instruments rise more slowly, by up to 13 ms.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import struct
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.audio.clip import DRUMS, Clip, Note, cents_between
from minicnn.audio.composition import Piece, check_notes
from minicnn.audio.instruments import INSTRUMENTS, hertz
from minicnn.audio.synth import Corpus, recorded
from minicnn.rng import generator

__all__ = ["Bank", "banks", "corpus"]

# General MIDI: the programs of the instruments, counted from 0, and the keys of the drums.
PROGRAMS = {
    "piano": 0, "vibraphone": 11, "organ": 16, "guitar": 24, "distorted guitar": 30, "bass": 33,
    "violin": 40, "cello": 42, "voice": 53, "trumpet": 56, "saxophone": 66, "clarinet": 71,
    "flute": 73,
}  # fmt: skip
KEYS = {
    "kick": 36, "snare": 38, "clap": 39, "hat": 42, "tom": 45, "open hat": 46, "shaker": 70,
}  # fmt: skip
_FOLDERS = ("/usr/share/sounds/sf2", "/usr/share/sounds/sf3", "/usr/share/soundfonts")
_DRUM_CHANNEL = 9
_TICKS = 10_000  # in a second
_BEND = 200 / 8192  # one step of the pitch wheel [cents]
# What fluidsynth says, and yet ends well: it plays another bank or instrument, or silence.
_UNPLAYABLE = re.compile(
    ".*(?:Failed to load|not a SoundFont|No preset found|Instrument not found).*"
)
_INSTALL = "apt-get install fluidsynth timgm6mb-soundfont fluid-soundfont-gm"


def banks() -> dict[str, str]:
    """Return the banks that are installed: their names, and the paths of their files."""
    files = (path for folder in _FOLDERS for path in sorted(Path(folder).glob("*.sf[23]")))
    return {path.stem: str(path) for path in files if not path.is_symlink()}


@dataclass(frozen=True)
class Bank:
    """A band of recorded instruments, which plays pieces as `synth.play` does.

    Parameters
    ----------
    path : str
        A file of sounds, .sf2 or .sf3, that follows General MIDI; or the name of one in `banks()`.

    Raises
    ------
    FileNotFoundError
        If there is no such bank, or no program fluidsynth.
    """

    path: str

    def __post_init__(self):
        path = banks().get(str(self.path), str(self.path))
        if not os.path.isfile(path):
            raise FileNotFoundError(
                f"soundfont: there is no bank {self.path!r}, installed are "
                f"{', '.join(banks()) or 'none'}; {_INSTALL}"
            )
        object.__setattr__(self, "path", path)
        _program()

    def __call__(
        self,
        piece: Piece,
        split: str = "train",
        sample_rate: int = 22050,
        *,
        room: bool = True,
        rng: Any = None,
    ) -> Clip:
        """Return the sound of a piece; the split says nothing here, as the bank is what differs.

        Raises
        ------
        RuntimeError
            If fluidsynth fails, or the file is no whole bank that has these instruments.
        """
        rng = generator(rng)
        mix = self.render(piece.notes, piece.seconds, sample_rate)
        late = [
            replace(note, start=note.start + self.delay(note, sample_rate)) for note in piece.notes
        ]
        late = [replace(note, stop=max(note.stop, note.start + 0.02)) for note in late]
        return Clip(
            samples=recorded(mix, sample_rate, room, rng),
            sample_rate=sample_rate,
            notes=tuple(sorted(late, key=lambda note: (note.start, note.part, note.pitch))),
            tempo=piece.tempo,
            style=piece.style,
            instrument=piece.instrument,
            tags=piece.tags,
        )

    def delay(self, note: Note, sample_rate: int) -> float:
        """Return how long this note takes until it is heard [s], measured in the bank.

        A short note rises to less than a long one, and passes a tenth of it earlier.
        """
        rises, key = _rises(self.path, note.instrument, sample_rate), _key(note)
        rise = rises[min(rises, key=lambda measured: abs(measured - key))]
        step = _step(sample_rate)
        rise = rise[: max(int((note.stop - note.start) * sample_rate / step), 1)]
        return (int(np.argmax(rise >= 0.1 * rise[-1])) + 0.5) * step / sample_rate

    def render(self, notes: Sequence[Note], seconds: float, sample_rate: int) -> np.ndarray:
        """Return notes as they come from the bank, without a room.

        Parameters
        ----------
        notes : sequence of Note
            Of at most 15 parts beside drums.
        seconds : float
        sample_rate : int [Hz]

        Returns
        -------
        ndarray of float32, shape (n,)
            Exactly so many seconds: cut, or filled up with silence.

        Raises
        ------
        RuntimeError
            If fluidsynth fails, or the file is no whole bank that has these instruments.
        ValueError
            If it has no such sampling rate.
        """
        if not 8000 <= sample_rate <= 96_000:
            raise ValueError(
                f"soundfont: sample_rate is {sample_rate} Hz; fluidsynth has 8000 to 96000"
            )
        with tempfile.TemporaryDirectory() as folder:
            midi, wave = Path(folder, "piece.mid"), Path(folder, "piece.wav")
            midi.write_bytes(standard_midi(notes, seconds + 0.1))
            command = [
                _program(), "-q", "-n", "-i", "-o", "synth.default-soundfont=",
                "-R", "0", "-C", "0", "-r", str(sample_rate), "-T", "wav", "-O", "float",
                "-F", str(wave), self.path, str(midi),
            ]  # fmt: skip
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False
            )
            if done.returncode or not wave.is_file():
                said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
                raise RuntimeError(
                    f"soundfont: fluidsynth ended with {done.returncode} and said: {said}"
                )
            if bad := _UNPLAYABLE.search(done.stderr):
                raise RuntimeError(f"soundfont: {self.path} cannot be played: {bad[0]}")
            sound = _read(wave)[: round(seconds * sample_rate)]
        return np.pad(sound, (0, round(seconds * sample_rate) - len(sound)))


def corpus(
    name: str,
    bank: str | Bank,
    split: str = "train",
    size: int = 100,
    seconds: float | None = None,
    sample_rate: int = 22050,
    *,
    rng: Any = None,
) -> Corpus:
    """Return a corpus of `synth`, played by the instruments of a bank.

    Train on one bank and test on another; the tempos of the splits differ by themselves.

    Parameters
    ----------
    name : str
        As `synth.corpus` takes it.
    bank : str or Bank
        The name of one in `banks()`, or the path of a file.
    split, size, seconds, sample_rate, rng
        As `synth.corpus` takes them.

    Raises
    ------
    FileNotFoundError
        If there is no such bank, or no program fluidsynth.
    ValueError
        If there is no such corpus or split, or a number is out of range.

    Examples
    --------
    >>> train = soundfont.corpus("polyphony", "TimGM6mb")  # doctest: +SKIP
    >>> test = soundfont.corpus("polyphony", "FluidR3_GM", split="test")  # doctest: +SKIP
    """
    player = bank if isinstance(bank, Bank) else Bank(bank)
    return Corpus(name, split, size, seconds, sample_rate, player=player, rng=rng)


def standard_midi(notes: Sequence[Note], seconds: float) -> bytes:
    """Return notes as a standard MIDI file of one track, which lasts so long [s].

    Every player has a channel of its own. A pitch between two keys is reached by the pitch wheel.

    Raises
    ------
    ValueError
        If there are more than 15 parts beside drums, or a note cannot be played.
    """
    check_notes("soundfont", notes)
    parts = sorted({(note.part, note.instrument) for note in notes if note.instrument != DRUMS})
    free = [channel for channel in range(16) if channel != _DRUM_CHANNEL]
    if len(parts) > len(free):
        raise ValueError(f"soundfont: there are {len(parts)} parts; a MIDI file has room for 15")
    channels = dict(zip(parts, free, strict=False))
    loudest = max((note.loudness for note in notes), default=1.0)
    # At the same time a note ends before the next one begins, and the wheel turns between.
    events = [(0.0, 0, bytes([0xC0 | channels[part], PROGRAMS[part[1]]])) for part in parts]
    for note in notes:
        # To fluidsynth the amplitude is the square of the velocity.
        velocity = int(np.clip(round(127 * np.sqrt(note.loudness / loudest)), 1, 127))
        key = _key(note)
        channel = channels.get((note.part, note.instrument), _DRUM_CHANNEL)
        if note.instrument != DRUMS:
            wheel = 8192 + round(cents_between(float(hertz(key)), note.pitch) / _BEND)
            bend = bytes([0xE0 | channel, wheel & 127, wheel >> 7])
            events.append((note.start, 2, bend))
        events.append((note.start, 3, bytes([0x90 | channel, key, velocity])))
        events.append((note.stop, 1, bytes([0x80 | channel, key, 0])))
    return _file(sorted(events), seconds)


def _key(note: Note) -> int:
    """Return the key that plays a note: the nearest to its pitch."""
    if note.instrument == DRUMS:
        return KEYS[note.kind]
    key = round(float(69 + 12 * np.log2(note.pitch / 440)))
    if not 0 <= key <= 127:
        raise ValueError(
            f"soundfont: {note.pitch} Hz has no key; there are keys for "
            f"{hertz(0):.0f} to {hertz(127):.0f} Hz"
        )
    return key


def _file(events: Iterable[tuple[float, int, bytes]], seconds) -> bytes:
    """Return a MIDI file: a second is a quarter note of _TICKS."""
    track, now = bytearray(b"\0\xff\x51\3" + (1_000_000).to_bytes(3, "big")), 0
    for time, _, event in [*events, (seconds, 4, b"\xff\x2f\0")]:
        tick = max(round(time * _TICKS), now)
        track += _variable(tick - now) + event
        now = tick
    header = struct.pack(">4sIHHH", b"MThd", 6, 0, 1, _TICKS)
    return header + struct.pack(">4sI", b"MTrk", len(track)) + bytes(track)


def _variable(number: int) -> bytes:
    """Return a number in sevens of bits, all but the last marked."""
    digits = [number & 127]
    while number := number >> 7:
        digits.append(128 | number & 127)
    return bytes(reversed(digits))


def _program() -> str:
    program = shutil.which("fluidsynth")
    if program is None:
        raise FileNotFoundError(f"soundfont: there is no program fluidsynth; {_INSTALL}")
    return program


def _read(path) -> np.ndarray:
    from scipy.io import wavfile

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that it does not know
        _, samples = wavfile.read(path)
    if samples.dtype.kind == "i":
        samples = samples / np.float32(np.iinfo(samples.dtype).max)
    return samples.reshape(len(samples), -1).mean(axis=1, dtype=np.float32)


@functools.lru_cache(maxsize=64)
def _rises(path: str, instrument: str, sample_rate: int) -> dict[int, np.ndarray]:
    """Return for each key of an instrument how loud it has been up to each millisecond."""
    spec, room = INSTRUMENTS[instrument], 1.5  # a second and a half for each note
    played = [(0.0, kind) for kind in KEYS]
    if instrument != DRUMS:
        played = [(float(hertz(midi)), "") for midi in range(spec.low, spec.high + 1)]
    notes = [
        Note(0.1 + room * i, 0.9 + room * i, pitch, instrument, kind=kind)
        for i, (pitch, kind) in enumerate(played)
    ]
    sound = np.abs(Bank(path).render(notes, room * len(notes) + 0.1, sample_rate))
    step, found = _step(sample_rate), {}
    for note in notes:
        begin = round(note.start * sample_rate)
        steps = sound[begin:][: round(0.8 * sample_rate) // step * step].reshape(-1, step)
        found[_key(note)] = np.maximum.accumulate(steps.max(axis=1))
    return found


def _step(sample_rate: int) -> int:
    """Return how many samples are about a millisecond."""
    return sample_rate // 1000
