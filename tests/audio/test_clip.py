"""What a clip says about its sound: by frames, by onsets, by segments."""

import numpy as np
import pytest

from minicnn.audio.clip import Clip, Note


def clip(*notes, seconds=2.0):
    return Clip(np.zeros(round(8000 * seconds), np.float32), 8000, notes)


def test_a_pitch_is_heard_from_the_start_of_its_note_to_before_its_stop():
    f0 = clip(Note(0.5, 1.0, 220.0, "flute")).f0(frame_rate=10)
    assert f0.shape == (1, 20)
    assert np.flatnonzero(f0[0]).tolist() == [5, 6, 7, 8, 9]
    assert set(f0[0].tolist()) == {0.0, 220.0}


def test_notes_that_one_part_plays_at_once_have_rows_of_their_own():
    piano = [Note(0.0, 1.0, 200.0, "piano"), Note(0.0, 0.5, 300.0, "piano")]
    later = Note(1.0, 1.5, 400.0, "piano")
    f0 = clip(*piano, Note(0.2, 0.4, 100.0, "bass", part=1), later).f0(10)
    assert f0.shape == (3, 20)
    assert f0[:, 3].tolist() == [200, 300, 100]
    assert f0[:, 12].tolist() == [400, 0, 0]


def test_notes_that_touch_share_a_row_also_where_rounding_lets_them_overlap():
    before, after = Note(0.1, np.nextafter(0.7, 1), 200.0, "voice"), Note(0.7, 1.0, 300.0, "voice")
    f0 = clip(before, after).f0(10)
    assert f0.shape == (1, 20)
    assert f0[0, 5:11].tolist() == [200, 200, 300, 300, 300, 0]


def test_the_pitches_of_a_frame_are_in_order_and_drums_have_none():
    notes = Note(0.0, 1.0, 300.0, "flute"), Note(0.0, 1.0, 100.0, "bass", part=1)
    pitches = clip(*notes, Note(0.0, 2.0, 0.0, "drums", part=2)).pitches(10)
    assert len(pitches) == 20
    assert pitches[3].tolist() == [100, 300]
    assert pitches[15].tolist() == []


def test_there_are_as_many_frames_as_are_asked_for():
    some = clip(Note(0.0, 9.0, 300.0, "flute"))
    assert some.f0(100, 7).shape == (1, 7)
    assert some.f0(43.07).shape == (1, 87)
    assert clip().f0(100).shape == (0, 200)
    assert len(clip().pitches(100, 3)) == 3
    with pytest.raises(ValueError, match="frame rate is 0; it must be above 0"):
        some.f0(0)


def test_of_onsets_that_are_close_the_first_one_counts():
    notes = [Note(t, 1.0, 100.0, "piano") for t in (0.1, 0.1, 0.12, 0.2, 0.23)]
    assert clip(*notes).onsets().tolist() == [0.1, 0.2]
    assert clip(*notes).onsets(combine=0).tolist() == [0.1, 0.12, 0.2, 0.23]
    assert clip().onsets().shape == (0,)


def test_a_short_pause_does_not_end_a_segment():
    sung = [Note(a, b, 200.0, "voice") for a, b in ((0.1, 0.5), (0.5, 0.8), (0.9, 1.0), (1.5, 1.8))]
    some = clip(*sung, Note(0.0, 2.0, 100.0, "bass", part=1))
    assert some.segments().tolist() == [[0.1, 1.0], [1.5, 1.8]]
    assert some.segments(gap=0.05).tolist() == [[0.1, 0.8], [0.9, 1.0], [1.5, 1.8]]
    assert some.segments("bass").tolist() == [[0.0, 2.0]]
    assert some.segments("flute").shape == (0, 2)
    assert some.instruments == ("bass", "voice")
    assert some.seconds == 2


def test_a_glide_comes_from_the_pitch_that_it_says_and_arrives():
    note = Note(1.0, 2.0, 440.0, "voice", glide=(-1200.0, 0.1))
    assert note.f0([0.5, 1.0, 1.05, 1.1, 1.9]) == pytest.approx([220, 220, 311.127, 440, 440])


def test_a_vibrato_goes_as_far_and_as_fast_as_it_says():
    note = Note(0.0, 9.0, 440.0, "violin", vibrato=(50.0, 5.0, 0.3))
    cents = 1200 * np.log2(note.f0(np.arange(1, 9, 0.001)) / 440)
    assert np.abs(cents).max() == pytest.approx(50, abs=0.1)
    assert (np.diff(np.sign(cents)) > 0).sum() == 40
    assert note.f0([0.05]).tolist() == [440.0]  # it begins without
