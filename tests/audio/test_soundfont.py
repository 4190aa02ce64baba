"""Corpora from recorded instruments: the MIDI that is written, the program called, what it gives.

A stand-in for fluidsynth, which records what it is asked for, is put first on the PATH. The last
tests run the program itself, where it and a bank are installed.
"""

import io
import itertools
import json
import os
import re
import shutil
import stat
import struct
import sys
import textwrap

import numpy as np
import pytest

from minicnn.audio import instruments, soundfont, synth
from minicnn.audio.clip import Note
from minicnn.audio.drums import DRUMS
from tests.audio.test_synth import off_pitch

FLOAT, SHORT = (3, "<ff", 0.5), (1, "<hh", 16384)
STAND_IN = """
    #!{python}
    import json, struct, sys
    arguments = sys.argv[1:]
    folder = {folder!r}
    json.dump(arguments, open(folder + "/arguments.json", "w"))
    rate = int(arguments[arguments.index("-r") + 1])
    open(folder + "/piece.mid", "wb").write(open(arguments[-1], "rb").read())
    if {fails}:
        print("first line", file=sys.stderr)
        sys.exit("no such instrument")
    print({warns!r}, file=sys.stderr)
    kind, layout, left = {layout}
    width = struct.calcsize(layout) // 2
    frames = struct.pack(layout, left, 0) * ({seconds} * rate)
    header = struct.pack("<HHIIHH", kind, 2, rate, 2 * width * rate, 2 * width, 8 * width)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + header
    chunks += b"data" + struct.pack("<I", len(frames)) + frames
    with open(arguments[arguments.index("-F") + 1], "wb") as file:
        file.write(b"RIFF" + struct.pack("<I", len(chunks)) + chunks)
"""
real = pytest.mark.skipif(
    shutil.which("fluidsynth") is None or not soundfont.banks(),
    reason="needs fluidsynth and a General MIDI bank",
)


def stand_in(tmp_path, monkeypatch, fails=False, layout=FLOAT, seconds=40, warns=""):
    program = tmp_path / "fluidsynth"
    text = textwrap.dedent(STAND_IN).lstrip()
    program.write_text(
        text.format(
            python=sys.executable,
            folder=str(tmp_path),
            fails=fails,
            layout=layout,
            seconds=seconds,
            warns=warns,
        )
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "bank.sf2").write_bytes(b"RIFF")
    return str(tmp_path / "bank.sf2")


def events(midi):
    """Return time [s] and bytes of everything in a MIDI file of one track, read by the standard."""
    kind, size, layout, tracks, division = struct.unpack(">4sIHHH", midi[:14])
    assert (kind, size, layout, tracks) == (b"MThd", 6, 0, 1)
    kind, size = struct.unpack(">4sI", midi[14:22])
    assert (kind, size) == (b"MTrk", len(midi) - 22)
    at, tick, found, tempo = 22, 0, [], None
    while at < len(midi):
        delta = 0
        while True:
            byte, at = midi[at], at + 1
            delta = delta << 7 | byte & 127
            if byte < 128:
                break
        tick += delta
        lengths = {0xC: 2, 0xF: 3 + midi[at + 2]}  # a program; what is about the file itself
        length = lengths.get(midi[at] >> 4, 3)
        event, at = midi[at : at + length], at + length
        if event[:2] == b"\xff\x51":
            tempo = int.from_bytes(event[3:], "big")
        found.append((tick / division * tempo / 1e6, event))
    return found


def test_notes_are_where_and_what_they_are_in_the_midi_file():
    notes = [
        Note(0.5, 1.0, 440.0, "piano", 3, 1.0),
        Note(1.0, 1.5, float(instruments.hertz(69.25)), "flute", 4, 0.25),
        Note(1.2345, 1.3, 0.0, "drums", 5, 1.0, kind="snare"),
    ]
    found = events(soundfont.standard_midi(notes, 2.5))
    assert found[0][1] == b"\xff\x51\x03" + (1_000_000).to_bytes(3, "big")
    assert found[1:] == [
        (0.0, bytes([0xC0, 0])),
        (0.0, bytes([0xC1, 73])),
        (0.5, bytes([0xE0, 0, 64])),  # the wheel in its middle
        (0.5, bytes([0x90, 69, 127])),
        (1.0, bytes([0x80, 69, 0])),
        (1.0, bytes([0xE1, 1024 & 127, 9216 >> 7])),  # an eighth of two semitones up
        (1.0, bytes([0x91, 69, 64])),
        (1.2345, bytes([0x99, 38, 127])),
        (1.3, bytes([0x89, 38, 0])),
        (1.5, bytes([0x81, 69, 0])),
        (2.5, b"\xff\x2f\x00"),
    ]


def test_a_midi_file_is_read_by_others():
    mido = pytest.importorskip("mido")
    piece = synth.corpus("polyphony", size=2, seconds=4.0, rng=0).piece(1)
    midi = soundfont.standard_midi(piece.notes, 4.0)
    read = mido.MidiFile(file=io.BytesIO(midi))
    assert read.length == pytest.approx(4.0)
    assert sum(m.type == "note_on" for m in read.tracks[0]) == len(piece.notes)


def test_a_midi_file_has_room_for_15_parts():
    notes = [Note(0.0, 1.0, 440.0, "piano", part) for part in range(16)]
    channels = {
        event[0] & 15 for _, event in events(soundfont.standard_midi(notes[:15], 2.0))[1:-1]
    }
    assert channels == set(range(16)) - {9}
    with pytest.raises(ValueError, match="16 parts; a MIDI file has room for 15"):
        soundfont.standard_midi(notes, 2.0)


def test_two_instruments_of_one_part_have_channels_of_their_own():
    notes = Note(0.1, 0.5, 440.0, "piano"), Note(0.6, 0.9, 440.0, "flute")
    found = [event for _, event in events(soundfont.standard_midi(notes, 1.0))]
    programs = {event[0] & 15: event[1] for event in found if event[0] >> 4 == 0xC}
    struck = [event[0] & 15 for event in found if event[0] >> 4 == 0x9]
    assert [programs[channel] for channel in struck] == [0, 73]


def test_notes_that_no_midi_file_can_hold_are_said():
    for arguments, message in (
        ((0.1, 0.5, 30_000.0, "piano"), "30000.0 Hz has no key; there are keys for 8 to 12544 Hz"),
        ((0.1, 0.5, 7.0, "piano"), "7.0 Hz has no key"),
        ((0.1, 0.5, 0.0, "piano"), "the piano has a note of 0.0 Hz; a pitch is above 0"),
        ((0.1, 0.5, 440.0, "piano", 0, 0.0), "loudness is 0.0; it must be above 0"),
        ((0.1, 0.5, 0.0, "drums"), "there is no drum ''; there are kick"),
    ):
        with pytest.raises(ValueError, match=f"soundfont: .*{message}"):
            soundfont.standard_midi([Note(*arguments)], 1.0)


def test_every_instrument_and_drum_has_its_program_or_key():
    assert set(soundfont.PROGRAMS) == set(instruments.INSTRUMENTS) - {"drums"}
    assert set(soundfont.KEYS) == set(DRUMS)


def test_the_program_is_called_without_its_room_and_its_sound_is_read(tmp_path, monkeypatch):
    bank = soundfont.Bank(stand_in(tmp_path, monkeypatch))
    notes = [Note(0.5, 1.0, 440.0, "piano")]
    sound = bank.render(notes, 2.0, 16000)
    assert sound.dtype == np.float32
    assert np.allclose(sound, 0.25)  # the mean of both sides
    arguments = json.loads((tmp_path / "arguments.json").read_text())
    settings = dict(itertools.pairwise(arguments))
    assert (settings["-R"], settings["-C"], settings["-r"]) == ("0", "0", "16000")
    assert arguments[-2] == bank.path
    assert (tmp_path / "piece.mid").read_bytes() == soundfont.standard_midi(notes, 2.1)


def test_a_sound_of_whole_numbers_is_within_one(tmp_path, monkeypatch):
    bank = soundfont.Bank(stand_in(tmp_path, monkeypatch, layout=SHORT))
    assert np.allclose(bank.render([], 1.0, 8000), 0.25, atol=1e-4)


def test_what_the_program_says_when_it_fails_is_passed_on(tmp_path, monkeypatch):
    bank = soundfont.Bank(stand_in(tmp_path, monkeypatch, fails=True))
    with pytest.raises(RuntimeError, match="fluidsynth ended with 1 and said: no such instrument"):
        bank.render([], 1.0, 8000)
    with pytest.raises(ValueError, match="192000 Hz; fluidsynth has 8000 to 96000"):
        bank.render([], 1.0, 192_000)


@pytest.mark.parametrize(
    "warns",
    [
        "Failed to load the SoundFont bank.sf2",
        "Parameter 'bank.sf2' not a SoundFont or MIDI file or error occurred identifying it.",
        "fluidsynth: warning: No preset found on channel 0 [bank=0 prog=0]",
        "fluidsynth: warning: Instrument not found on channel 0 [bank=0 prog=73], substituted "
        "[bank=0 prog=0]",
    ],
)
def test_what_the_program_only_warns_of_is_an_error(tmp_path, monkeypatch, warns):
    bank = soundfont.Bank(stand_in(tmp_path, monkeypatch, warns="first line\n" + warns))
    with pytest.raises(RuntimeError, match=re.escape(f"bank.sf2 cannot be played: {warns}")):
        bank.render([], 1.0, 8000)


def test_a_sound_that_is_too_short_is_filled_up(tmp_path, monkeypatch):
    path = stand_in(tmp_path, monkeypatch, seconds=2)
    clip = soundfont.corpus("tones", path, size=1, seconds=4.0, rng=0)[0]
    assert clip.samples.shape == (4 * 22050,)


def test_without_the_program_or_the_bank_it_is_said_what_to_install(tmp_path, monkeypatch):
    path = stand_in(tmp_path, monkeypatch)
    with pytest.raises(FileNotFoundError, match=r"no bank 'none.sf2'.*apt-get install fluidsynth"):
        soundfont.corpus("tones", "none.sf2")
    (tmp_path / "fluidsynth").unlink()
    with pytest.raises(FileNotFoundError, match="no program fluidsynth; apt-get install"):
        soundfont.corpus("tones", path)
    with pytest.raises(FileNotFoundError, match="no program fluidsynth; apt-get install"):
        soundfont.Bank(path)


def test_the_same_pieces_are_played_as_by_the_synthesised_band(tmp_path, monkeypatch):
    path = stand_in(tmp_path, monkeypatch)
    clips = soundfont.corpus("tagged", path, "test", size=3, seconds=2.0, rng=5)
    others = synth.corpus("tagged", "test", size=3, seconds=2.0, rng=5)
    assert clips.piece(2) == others.piece(2)
    clip, other = clips[2], others[2]
    assert (clip.tags, clip.style, clip.tempo) == (other.tags, other.style, other.tempo)
    assert len(clip.notes) == len(other.notes)
    assert clip.timbres == ()


@real
@pytest.mark.parametrize("bank", soundfont.banks().values())
def test_recorded_instruments_have_the_pitch_that_is_asked_for(bank):
    for name, limit in (("piano", 12), ("guitar", 12), ("trumpet", 12), ("clarinet", 12)):
        midi = sum((instruments.INSTRUMENTS[name].low, instruments.INSTRUMENTS[name].high)) // 2
        note = Note(0.1, 0.9, float(instruments.hertz(midi + 0.4)), name)
        sound = soundfont.Bank(bank).render([note], 1.0, 22050)[:22050]
        error = off_pitch(sound, np.full(22050, note.pitch))
        assert abs(np.median(error[round(0.15 * 22050) : round(0.6 * 22050)])) < limit


@real
@pytest.mark.parametrize("bank", soundfont.banks().values())
@pytest.mark.parametrize(
    ("rate", "names"),
    [
        (22050, ("piano", "cello", "clarinet")),
        pytest.param(22050, tuple(soundfont.PROGRAMS), marks=pytest.mark.slow),
        pytest.param(8000, tuple(soundfont.PROGRAMS), marks=pytest.mark.slow),
    ],
    ids=["some", "all", "all at 8 kHz"],
)
def test_the_onsets_of_recorded_instruments_are_where_they_are_heard(bank, rate, names):
    player = soundfont.Bank(bank)
    lengths = itertools.cycle((0.15, 0.3, 0.6, 0.9))
    notes = []
    for part, name in enumerate(names):
        low, high = instruments.INSTRUMENTS[name].low, instruments.INSTRUMENTS[name].high
        for midi in np.linspace(low + 0.3, high - 0.3, 9):
            start = 0.1 + 1.31 * len(notes)
            pitch = float(instruments.hertz(midi))
            notes.append(Note(start, start + next(lengths), pitch, name, part))
    for kind in soundfont.KEYS:
        start = 0.1 + 1.31 * len(notes)
        notes.append(Note(start, start + 0.05, 0.0, "drums", 13, kind=kind))
    sound = np.abs(player.render(notes, 1.31 * len(notes) + 0.1, rate))
    late = []
    for note in notes:
        heard = sound[round(note.start * rate) : round(note.stop * rate)]
        heard = np.argmax(heard >= 0.1 * heard.max()) / rate
        assert 0 < player.delay(note, rate) < note.stop - note.start
        late.append(heard - player.delay(note, rate))
    block = 64 / rate  # fluidsynth begins notes at such steps, here and where it is measured
    assert np.abs(late).max() < 0.012 + block
    assert np.percentile(np.abs(late), 90) < 0.001 + block
    assert abs(np.median(late)) < 0.001


@real
def test_a_damaged_bank_is_not_replaced_by_that_of_the_system(tmp_path):
    whole = min(soundfont.banks().values(), key=os.path.getsize)
    with open(whole, "rb") as file:
        (tmp_path / "cut.sf2").write_bytes(file.read(2_000_000))
    with pytest.raises(RuntimeError, match="cut.sf2 cannot be played: .*Failed to load"):
        soundfont.Bank(str(tmp_path / "cut.sf2")).render([], 1.0, 22050)


@real
def test_what_is_no_bank_is_not_replaced_by_that_of_the_system(tmp_path):
    path = tmp_path / "text.sf2"
    notes = [Note(0.1, 0.5, 440.0, "piano")]
    for content in (b"", b"no bank\n" * 100, soundfont.standard_midi(notes, 1.0)):
        path.write_bytes(content)
        with pytest.raises(RuntimeError, match="text.sf2 cannot be played: "):
            soundfont.Bank(str(path)).render(notes, 1.0, 22050)


@real
def test_a_recorded_clip_is_the_same_every_time():
    bank = next(iter(soundfont.banks()))
    clips = soundfont.corpus("polyphony", bank, size=3, seconds=3.0, rng=0)
    first, again = clips[2], clips[2]
    assert np.array_equal(first.samples, again.samples)
    assert first.samples.shape == (3 * 22050,)
    assert first.samples.std() > 0.001
    assert len(first.onsets()) > 3


@real
def test_two_banks_play_the_same_notes_with_other_sounds():
    if len(soundfont.banks()) < 2:
        pytest.skip("needs two banks")
    one, other = (
        soundfont.corpus("melodies", bank, size=1, seconds=2.0, rng=0)[0]
        for bank in list(soundfont.banks())[:2]
    )
    assert [note.pitch for note in one.notes] == [note.pitch for note in other.notes]
    assert np.corrcoef(one.samples, other.samples)[0, 1] < 0.9
