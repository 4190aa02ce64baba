"""Music made on the spot: its labels are true, and no test timbre is heard in training."""

import hashlib
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import get_window

import minicnn as mc
from minicnn import data, models
from minicnn.audio import composition, drums, instruments, synth, tone, voice
from minicnn.audio.clip import Note

RATE = 22050
PITCHED = [name for name in instruments.INSTRUMENTS if name != "drums"]
TONES = [name for name in PITCHED if name != "voice"]
SLOW = ("bowed", "blown", "sung")


def rng(seed=0):
    return np.random.default_rng(seed)


def sound(note, seed=0, sample_rate=RATE):
    """Return a note, as it is played, in a second of silence."""
    timbre = instruments.timbre(note.instrument, rng=rng(seed))
    if note.instrument == "voice":
        first, samples = voice.sing([note], timbre, sample_rate, rng=rng(seed))
    else:
        first, samples = tone.tone(note, timbre, sample_rate, rng=rng(seed))
    whole = np.zeros(sample_rate)
    synth._add(whole, first, samples)
    return whole


def middle(name):
    spec = instruments.INSTRUMENTS[name]
    return float(instruments.hertz((spec.low + spec.high) / 2 + 0.3))


def off_pitch(samples, f0, sample_rate=RATE):
    """Return how far the fundamental is from f0 [cents], at every sample but the outer ones."""
    phase = tone.phase_of(f0, sample_rate)
    window = get_window("hann", round(0.08 * sample_rate))
    turned = np.convolve(samples * np.exp(-1j * phase), window, "valid")
    error = np.diff(np.unwrap(np.angle(turned))) * sample_rate / (2 * np.pi)
    centre = f0[len(window) // 2 :][: len(error)]
    return 1200 * np.log2(np.maximum(1 + error / centre, 0.1))  # any, where it is silent


@pytest.mark.parametrize("name", synth.CORPORA)
def test_clips_are_sound(name):
    seconds = {"tones": 0.5, "melodies": 2.0}.get(name, 3.0)
    clips = synth.corpus(name, size=8, seconds=seconds, sample_rate=16000, rng=3)
    assert len(clips) == 8
    for clip in clips:
        assert clip.samples.dtype == np.float32
        assert clip.samples.shape == (seconds * 16000,)
        assert np.isfinite(clip.samples).all()
        assert 0.09 < np.abs(clip.samples).max() <= 0.96
        assert clip.notes
        assert all(0 < note.start < note.stop <= seconds + 0.06 for note in clip.notes)
        assert set(clip.tags) <= set(synth.TAGS)


def test_a_clip_follows_from_seed_split_and_index_alone():
    clips = synth.corpus("polyphony", size=5, seconds=1.0, rng=7)
    third = clips[3]
    again = synth.corpus("polyphony", size=50, seconds=1.0, rng=7)[3]
    assert np.array_equal(third.samples, again.samples)
    assert third.notes == again.notes
    assert third.timbres == again.timbres
    others = (
        clips[2],
        synth.corpus("polyphony", size=5, seconds=1.0, rng=8)[3],
        synth.corpus("polyphony", "test", size=5, seconds=1.0, rng=7)[3],
    )
    for other in others:
        assert not np.array_equal(third.samples, other.samples)


def test_clips_are_the_same_to_the_bit_in_another_process_with_other_threads():
    script = (
        "import hashlib; from minicnn.audio import synth;"
        "digest = hashlib.sha256();"
        "[digest.update(synth.corpus(name, size=9, seconds=2.0, rng=1)[8].samples)"
        " for name in synth.CORPORA]; print(digest.hexdigest())"
    )
    wanted = hashlib.sha256()
    for name in synth.CORPORA:
        wanted.update(synth.corpus(name, size=9, seconds=2.0, rng=1)[8].samples)
    root = Path(__file__).parents[2]
    for threads in ("1", "2"):
        environment = {"OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=root, env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.strip() == wanted.hexdigest()


def first_second(clip, *, rng):
    return clip.samples[:8000], clip.tempo


def test_worker_processes_make_the_same_clips():
    clips = synth.corpus("melodies", size=4, seconds=1.0, sample_rate=8000, rng=0)
    with_workers = data.DataLoader(clips, 2, transform=first_second, num_workers=1, rng=0)
    here = data.DataLoader(clips, 2, transform=first_second, rng=0)
    for (a, _), (b, _) in zip(with_workers, here, strict=True):
        assert np.array_equal(a, b)
    with_workers.close()
    assert np.array_equal(pickle.loads(pickle.dumps(clips))[1].samples, clips[1].samples)


def test_a_corpus_is_a_sequence():
    clips = synth.corpus("tones", size=3, rng=0)
    assert np.array_equal(clips[-1].samples, clips[2].samples)
    assert [clip.instrument for clip in clips[1:]] == PITCHED[1:3]
    assert clips.piece(1).notes[0].start == clips[1].notes[0].start
    with pytest.raises(IndexError, match="no clip 3; there are 3"):
        clips[3]


def test_the_seed_may_be_a_generator_or_that_of_manual_seed():
    assert synth.corpus("tones", rng=rng(5)).seed == synth.corpus("tones", rng=rng(5)).seed
    mc.manual_seed(1)
    first = synth.corpus("tones").seed
    mc.manual_seed(1)
    assert synth.corpus("tones").seed == first
    assert synth.corpus("tones").seed != first


def test_what_cannot_be_made_is_said():
    for arguments, message in (
        (dict(name="noise"), "no corpus 'noise'; there are tones, melodies"),
        (dict(name="tones", split="dev"), "split is 'dev'; it must be one of train, valid, test"),
        (dict(name="tones", size=-1), "size is -1; it must be 0 or more"),
        (dict(name="tones", seconds=0), "seconds is 0.0; it must be 0.1 to 3600"),
        (dict(name="tones", seconds=float("nan")), "seconds is nan"),
        (dict(name="tones", sample_rate=100), "sample_rate is 100 Hz; it must be 8000 to 192000"),
        (dict(name="tones", rng=-1), "rng is -1; a seed is 0 or more"),
    ):
        with pytest.raises(ValueError, match=message):
            synth.corpus(**arguments)
    with pytest.raises(ValueError, match="example: seconds is 0"):
        synth.example(seconds=0)
    with pytest.raises(ValueError, match="no instrument 'kazoo'; there are piano"):
        instruments.timbre("kazoo", rng=rng())


def test_where_nothing_is_played_there_is_only_the_noise_of_a_recording():
    for room in (False, True):
        for seed in range(5):
            silent = synth.play(synth.Piece((), 1.0), room=room, rng=seed)
            assert 0 < np.abs(silent.samples).max() < 0.006
            assert silent.samples.dtype == np.float32


def test_two_instruments_of_one_part_are_played_once_each():
    notes = Note(0.1, 0.5, 220.0, "piano"), Note(0.6, 0.9, 440.0, "flute")
    clip = synth.play(synth.Piece(notes, 1.0), rng=0)
    assert [note.instrument for note in clip.notes] == ["piano", "flute"]
    assert sorted(timbre.instrument for timbre in clip.timbres) == ["flute", "piano"]


def test_notes_that_cannot_be_played_are_said():
    for arguments, message in (
        ((0.1, 0.5, 0.0, "piano"), "the piano has a note of 0.0 Hz; a pitch is above 0"),
        ((0.1, 0.5, float("nan"), "piano"), "a note of nan Hz"),
        ((0.1, 0.5, 4000.0, "piano"), "4000.0 Hz; at 8000 Hz it must be below 3600 Hz"),
        ((0.1, 0.5, 4000.0, "flute"), "4000.0 Hz; at 8000 Hz it must be below 3600 Hz"),
        ((0.1, 0.5, 0.0, "drums"), "there is no drum ''; there are kick, snare"),
        ((0.1, 0.5, 440.0, "kazoo"), "no instrument 'kazoo'; there are piano"),
        ((0.5, 0.5, 440.0, "piano"), "from 0.5 to 0.5 s; it must stop after its start"),
        ((0.1, float("inf"), 440.0, "piano"), "from 0.1 to inf s"),
        ((0.1, 0.5, 440.0, "piano", 0, 0.0), "loudness is 0.0; it must be above 0"),
    ):
        with pytest.raises(ValueError, match=f"play: .*{message}"):
            synth.play(synth.Piece((Note(*arguments),), 1.0), sample_rate=8000, rng=0)
    with pytest.raises(ValueError, match="play: seconds is -1"):
        synth.play(synth.Piece((), -1.0), rng=0)


def cells(values):
    return {int(value * 10) for value in values}


def test_no_test_timbre_shares_a_value_with_any_in_training():
    heard = {split: [] for split in instruments.SPLITS}
    for split in instruments.SPLITS:
        for name in instruments.INSTRUMENTS:
            heard[split] += [instruments.timbre(name, split, rng=rng(i)) for i in range(40)]
    used = {
        split: [cells(values) for values in zip(*(t.coordinates for t in timbres), strict=True)]
        for split, timbres in heard.items()
    }
    for train, valid, test in zip(used["train"], used["valid"], used["test"], strict=True):
        assert train == {0, 2, 4, 5, 7, 9}
        assert valid == {3, 8}
        assert test == {1, 6}
    # And apart: from the last value of a cell to the first of the next one is a fifth of a cell.
    for train, test in zip(
        zip(*(t.coordinates for t in heard["train"]), strict=True),
        zip(*(t.coordinates for t in heard["test"]), strict=True),
        strict=True,
    ):
        assert np.abs(np.subtract.outer(train, test)).min() > 0.019


@pytest.mark.parametrize("name", [name for name in synth.CORPORA if name != "tones"])
def test_no_test_tempo_and_no_test_timbre_occurs_in_the_training_clips(name):
    made = {s: synth.corpus(name, s, size=8, seconds=1.0, rng=2) for s in instruments.SPLITS}
    found = {s: [t for clip in clips for t in clip.timbres] for s, clips in made.items()}
    values = {s: {v for t in timbres for v in t.coordinates} for s, timbres in found.items()}
    assert all(values.values())
    assert not values["train"] & values["test"]
    assert not values["train"] & values["valid"]
    more = {s: synth.corpus(name, s, size=60, rng=2) for s in instruments.SPLITS}
    tempos = {s: {c.piece(i).tempo for i in range(60)} for s, c in more.items()}
    assert len(tempos["test"]) > 5
    assert not tempos["train"] & tempos["test"]
    assert not tempos["train"] & tempos["valid"]
    assert not tempos["valid"] & tempos["test"]


def test_every_style_has_tempos_for_every_split_also_in_a_mood():
    for style in synth.STYLES.values():
        low, high = style.tempo
        for bounds in ((low, (low + high) // 2), ((low + high) // 2, high)):
            assert all(len(instruments.tempos(*bounds, s)) for s in instruments.SPLITS)


@pytest.mark.parametrize("name", PITCHED)
def test_the_pitch_is_exact_to_a_cent(name):
    note = Note(0.05, 0.95, middle(name), name)
    samples = sound(note)
    error = off_pitch(samples, note.f0(np.arange(RATE) / RATE))
    inside = error[round(0.1 * RATE) : round(0.7 * RATE)]
    assert abs(np.median(inside)) < 1


@pytest.mark.parametrize("name", ["violin", "voice", "saxophone"])
def test_the_pitch_is_exact_while_it_moves(name):
    note = Note(0.05, 0.95, middle(name), name, vibrato=(40.0, 5.5, 1.0), glide=(-100.0, 0.3))
    error = off_pitch(sound(note), note.f0(np.arange(RATE) / RATE))
    inside = error[round(0.1 * RATE) : round(0.7 * RATE)]
    assert np.percentile(np.abs(inside), 90) < 3
    assert abs(np.median(inside)) < 1
    held = off_pitch(sound(note), np.full(RATE, note.pitch))
    assert np.abs(held[round(0.1 * RATE) : round(0.7 * RATE)]).max() > 15  # the measure sees it


@pytest.mark.parametrize("name", TONES)
def test_a_tone_begins_when_its_amplitude_passes_a_tenth(name):
    limit = 0.012 if instruments.INSTRUMENTS[name].family in SLOW else 0.005
    for seed in range(5):
        note = Note(0.3, 0.9, middle(name), name)
        samples = np.abs(sound(note, seed))
        begin = np.argmax(samples >= 0.1 * samples.max()) / RATE
        assert abs(begin - 0.3) < limit


def test_a_voice_begins_within_15_milliseconds_of_its_label():
    clips = synth.corpus("tones", size=30 * len(PITCHED), rng=5)
    late = []
    for i in range(PITCHED.index("voice"), len(clips), len(PITCHED)):
        (note,), samples = clips[i].notes, np.abs(clips[i].samples)
        assert note.instrument == "voice"
        late.append(np.argmax(samples >= 0.1 * samples.max()) / RATE - note.start)
    assert min(late) > -0.001
    assert max(late) < 0.015  # a consonant before it, or the glide from below
    assert np.median(late) < 0.006


def test_a_drum_begins_on_its_first_millisecond():
    kit = instruments.timbre("drums", rng=rng())
    for drum in drums.DRUMS:
        samples = np.abs(drums.hit(drum, kit, RATE, rng=rng()))
        assert np.argmax(samples >= 0.1 * samples.max()) < 0.002 * RATE
        assert samples[-1] < 1e-3 * samples.max()


def test_a_tone_is_silent_after_its_release():
    for name in PITCHED:
        samples = sound(Note(0.1, 0.5, middle(name), name))
        assert not samples[round(0.8 * RATE) :].any()
        assert np.abs(samples[round(0.5 * RATE) :]).max() > 0  # it is not cut off


def test_a_string_is_labelled_until_it_is_40_decibels_down():
    note = Note(0.0, 60.0, middle("guitar"), "guitar")
    timbre = instruments.timbre("guitar", rng=rng())
    length = tone.sounding(note, timbre)
    _, samples = tone.tone(note, timbre, RATE, rng=rng())
    power = [(samples[round(t * RATE) :][: RATE // 20] ** 2).mean() for t in (0.02, length)]
    assert length < 3
    # All partials but the first are gone by then, so the whole is down by more.
    assert 38 < 10 * np.log10(power[0] / power[1]) < 55


@pytest.mark.parametrize("name", PITCHED)
def test_there_is_nothing_between_the_partials_of_a_high_tone(name):
    rate = 16000
    pitch = float(instruments.hertz(instruments.INSTRUMENTS[name].high))
    samples = sound(Note(0.05, 0.95, pitch, name), sample_rate=rate)[2000:14000]
    spectrum = np.abs(np.fft.rfft(samples * get_window("blackmanharris", len(samples))))
    frequency = np.arange(len(spectrum)) * rate / len(samples)
    timbre = instruments.timbre(name, rng=rng())
    k = np.arange(1, 200)
    # Strings are stretched: a partial that were folded at 8 kHz would be at none of these.
    partials = pitch * k * np.sqrt((1 + timbre["stretch"] * k**2) / (1 + timbre["stretch"]))
    near = np.abs(frequency[:, None] - partials).min(axis=1) < 25
    assert spectrum[~near].max() < 10 ** (-50 / 20) * spectrum.max()
    assert spectrum[frequency > 0.47 * rate].max() < 10 ** (-50 / 20) * spectrum.max()


def test_the_recurrence_is_the_sum_of_sines():
    phase = np.cumsum(rng().uniform(0.01, 0.2, 9000))
    amplitudes = rng(1).random((-(-9000 // tone.HOP) + 1, 30))
    at = np.arange(len(amplitudes)) * tone.HOP
    wanted = sum(
        np.interp(np.arange(9000), at, a) * np.sin((k + 1) * phase)
        for k, a in enumerate(amplitudes.T)
    )
    assert np.allclose(tone.rotating_sum(phase, amplitudes), wanted, atol=1e-9)


def test_a_formant_is_where_a_vowel_has_it():
    frequency = np.arange(50.0, 5000.0, 5.0)
    gain = voice.throat(frequency[None], np.array([[800.0, 1800.0, 2600.0, 3300.0, 4200.0]]))[0]
    peaks = frequency[1:-1][(gain[1:-1] > gain[:-2]) & (gain[1:-1] > gain[2:])]
    assert np.allclose(peaks, [800, 1800, 2600, 3300, 4200], atol=60)


def test_a_voice_glides_from_note_to_note_without_a_jump():
    clips = synth.corpus("melodies", size=len(PITCHED), rng=0)
    sung = [i for i in range(len(clips)) if clips.piece(i).instrument == "voice"]
    clip = clips[sung[0]]
    tied = [
        (a, b) for a, b in zip(clip.notes, clip.notes[1:], strict=False) if b.start - a.stop < 1e-6
    ]
    assert tied
    for a, b in tied:
        assert b.f0(b.start) == pytest.approx(a.f0(b.start), rel=1e-9)
        assert b.glide[0]


def test_melodies_have_one_pitch_at_a_time_within_what_networks_know():
    clips = synth.corpus("melodies", size=24, rng=0)
    lowest, highest = 32.7, 1975.5  # of CREPE's bins
    assert models.crepe("tiny", rng=0).n_bins == 360
    for clip in clips[:12]:
        f0 = clip.f0(100)
        assert f0.shape[0] == 1
        sounding = f0[f0 > 0]
        assert lowest < sounding.min()
        assert sounding.max() < highest
        assert sounding.size > 50


def test_a_sung_melody_has_one_pitch_at_a_time():
    clips = synth.corpus("melodies", size=600, sample_rate=8000, rng=1)
    sung = [i for i in range(600) if clips.piece(i).instrument == "voice"]
    assert len(sung) > 50
    assert {clips[i].f0(100).shape[0] for i in sung} == {1}


def test_a_note_that_is_asked_for_too_early_is_cut_at_its_start():
    style = synth.STYLES["ballad"]
    band = composition._Band.of(style, "train", 2.0, rng())
    band.play(band.join("voice"), -0.01, 0.5, 69, 1.0)
    assert (band.notes[0].start, band.notes[0].stop) == (0.02, 0.49)


def test_where_a_melody_has_no_pitch_it_is_quiet():
    quiet, loud = [], []
    for clip in synth.corpus("melodies", size=12, rng=1):
        f0 = clip.f0(100)[0]
        power = np.square(clip.samples.reshape(-1, 441)).mean(axis=1)[:200]
        voiced = f0[1::2][:200] > 0
        near = np.convolve(voiced, np.ones(9), "same") > 0  # releases, and attacks
        quiet += power[~near].tolist()
        loud += power[voiced].tolist()
    assert np.median(quiet) < 0.003 * np.median(loud)


def test_nobody_sings_in_polyphony_and_in_songs_somebody_does_about_half_of_the_time():
    polyphony = synth.corpus("polyphony", size=40, rng=0)
    for i in range(40):
        assert all(note.instrument != "voice" for note in polyphony.piece(i).notes)
        assert 2 <= len({note.part for note in polyphony.piece(i).notes}) <= 4
    songs = synth.corpus("songs", size=60, seconds=8.0, rng=0)
    sung = [note.stop - note.start for i in range(60)
            for note in songs.piece(i).notes if note.instrument == "voice"]  # fmt: skip
    assert 0.35 < sum(sung) / (60 * 8.0) < 0.65


def test_voice_is_not_told_by_level():
    loud, sung = [], []
    for clip in synth.corpus("songs", size=16, seconds=8.0, rng=4):
        power = np.square(clip.samples.reshape(-1, RATE // 10)).mean(axis=1)
        times = (np.arange(len(power)) + 0.5) / 10
        inside = np.zeros(len(power), bool)
        for start, stop in clip.segments():
            inside |= (times >= start) & (times < stop)
        loud += (10 * np.log10(power / np.median(power))).tolist()
        sung += inside.tolist()
    loud, sung = np.array(loud), np.array(sung)
    # The area under the curve of the best threshold there could be, 0.5 for chance.
    area = (loud[sung][:, None] > loud[~sung]).mean()
    assert 0.35 < area < 0.65


def test_soloists_come_in_turn():
    solos = synth.corpus("instruments", size=16, rng=0)
    counts = Counter(solos.piece(i).instrument for i in range(16))
    assert counts == dict.fromkeys(synth.SOLOISTS, 2)
    for i in range(16):
        assert {note.instrument for note in solos.piece(i).notes} == {solos.piece(i).instrument}


def test_every_tag_is_given_to_some_pieces_and_not_to_all():
    pieces = synth.corpus("tagged", size=160, rng=0)
    counts = Counter(tag for i in range(160) for tag in pieces.piece(i).tags)
    assert set(counts) == set(synth.TAGS)
    assert all(3 <= count <= 120 for count in counts.values()), counts
    for i in range(40):
        piece = pieces.piece(i)
        assert piece.style in piece.tags
        assert ("voice" in piece.tags) == any(n.instrument == "voice" for n in piece.notes)
        assert not {"happy", "sad"} <= set(piece.tags)


def test_the_example_has_a_melody_chords_drums_and_a_voice():
    clip = synth.example(rng=0)
    assert clip.seconds == 6
    assert clip.instruments == ("bass", "drums", "piano", "violin", "voice")
    assert len(clip.segments())
    assert max(len(frame) for frame in clip.pitches(10)) >= 4
    assert np.array_equal(clip.samples, synth.example(rng=0).samples)


@pytest.mark.slow
def test_unseen_specimens_are_told_apart_but_less_well_than_those_of_training():
    import librosa
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(clip):
        mfcc = librosa.feature.mfcc(y=clip.samples, sr=RATE, n_mfcc=20, hop_length=1024)[1:]
        return np.concatenate([mfcc.mean(axis=1), mfcc.std(axis=1)])

    scores = {}
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    for split, size in (("train", 240), ("test", 96)):
        clips = list(synth.corpus("instruments", split, size, rng=0))
        x, y = [features(clip) for clip in clips], [clip.instrument for clip in clips]
        if split == "train":
            model.fit(x, y)
        scores[split] = model.score(x, y)
    assert scores["test"] > 0.5  # chance is 0.125
    assert scores["test"] < scores["train"]
