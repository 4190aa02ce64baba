"""Public data sets through mirdata: small ones, written here in those data sets' own layouts."""

import importlib
import inspect
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minicnn.audio import datasets, mirdata_sets
from tests.audio.mirdata_layouts import layouts

mirdata = pytest.importorskip("mirdata")
soundfile = pytest.importorskip("soundfile")


def write(folder, name, text=None):
    """Write a file: a second of silence, or this text."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if text is None:
        soundfile.write(path, np.zeros(8000), 8000)
    else:
        path.write_text(text)


def write_index(folder, name, **parts):
    """Write the list of files that mirdata keeps of a data set, beside the data."""
    without_sums = {
        part: {
            key: {what: [path, "0" * 32] for what, path in files.items()}
            for key, files in some.items()
        }
        for part, some in parts.items()
    }
    (folder / name).write_text(json.dumps({"version": "1.0", **without_sums}))


def index_name(name):
    """Return what mirdata calls the index of a data set."""
    return Path(mirdata.initialize(name).index_path).name


@pytest.fixture
def vocadito(tmp_path):
    for key in ("1", "2"):
        write(tmp_path, f"Audio/vocadito_{key}.wav")
        write(
            tmp_path, f"Annotations/F0/vocadito_{key}_f0.csv", "0.0,0.0\n0.01,220.0\n0.02,221.5\n"
        )
        notes = "0.5,220.0,0.25\n0.1,110.0,0.2\n"
        write(tmp_path, f"Annotations/Notes/vocadito_{key}_notesA1.csv", notes)
    files = {
        key: {
            "audio": f"Audio/vocadito_{key}.wav",
            "f0": f"Annotations/F0/vocadito_{key}_f0.csv",
            "notesA1": f"Annotations/Notes/vocadito_{key}_notesA1.csv",
            "notesA2": f"Annotations/Notes/vocadito_{key}_notesA1.csv",
            "lyrics": f"Annotations/Lyrics/vocadito_{key}.txt",
        }
        for key in ("1", "2")
    }
    write_index(tmp_path, "vocadito_index_1.0.json", tracks=files)
    return tmp_path


def test_vocadito_has_pitches_and_segments_and_onsets(vocadito):
    found = datasets.load(f"mirdata:vocadito:{vocadito}", "pitch")
    assert [track.name for track in found] == ["1", "2"]
    assert found[0].path == vocadito / "Audio" / "vocadito_1.wav"
    times, frequencies = found[0].label
    assert np.allclose(times, [0, 0.01, 0.02])
    assert np.allclose(frequencies, [0, 220, 221.5])
    assert "Creative Commons Attribution 4.0" in found.license
    assert "DISCLAIMER" not in found.license
    voice = datasets.load(f"mirdata:vocadito@1.0:{vocadito}", "voice")[1].label
    assert np.allclose(voice, [[0.1, 0.3], [0.5, 0.75]])
    onsets = datasets.load(f"mirdata:vocadito:{vocadito}", "onsets")[1].label
    assert np.allclose(onsets, [0.1, 0.5])


def test_orchset_has_one_pitch_that_counts_as_several(tmp_path):
    write(tmp_path, "audio/mono/Bach-ex1.wav")
    write(tmp_path, "GT/Bach-ex1.mel", "0.00\t0\n0.01\t440.0\n")
    files = {
        "audio_mono": "audio/mono/Bach-ex1.wav",
        "audio_stereo": "audio/stereo/Bach-ex1.wav",
        "melody": "GT/Bach-ex1.mel",
    }
    write_index(tmp_path, "orchset_index_1.0.json", tracks={"Bach-ex1": files})
    times, frequencies = datasets.load(f"mirdata:orchset:{tmp_path}", "multi_f0")[0].label
    assert times.tolist() == [0, 0.01]
    assert [some.tolist() for some in frequencies] == [[], [440]]


def test_medley_solos_db_has_instruments_and_splits(tmp_path):
    rows, files = ["subset,instrument,instrument_id,song_id,uuid4"], {}
    for key, subset, instrument in (("k1", "training", "flute"), ("k2", "test", "violin")):
        write(tmp_path, f"audio/{key}.wav")
        rows.append(f"{subset},{instrument},3,0,{key}")
        files[key] = {"audio": f"audio/{key}.wav"}
    write(tmp_path, "annotation/Medley-solos-DB_metadata.csv", "\n".join(rows))
    write_index(tmp_path, "medley_solos_db_index_1.2.json", tracks=files)
    found = datasets.load(f"mirdata:medley_solos_db:{tmp_path}", "classes")
    assert found.names == ("flute", "violin")
    assert found.splits == ("test", "training")
    assert [track.label for track in found.split("test")] == ["violin"]


def test_guitarset_has_the_onsets_and_pitches_of_all_strings(tmp_path):
    key, annotations = "00_BN1-129-Eb_comp", []
    for string in range(6):
        source = {"data_source": str(string)}
        notes = [{"time": 0.1 * string, "duration": 0.1, "value": 60.0, "confidence": None}]
        # Two strings sound.
        sound = {"frequency": 100.0 * (string + 1), "voiced": True, "index": 0}
        contour = {
            "time": [i * 0.0058 for i in range(4)],
            "value": [sound if string < 2 else sound | {"frequency": 0.0, "voiced": False}] * 4,
        }
        annotations += [
            {"namespace": "note_midi", "annotation_metadata": source, "data": notes},
            {"namespace": "pitch_contour", "annotation_metadata": source, "data": contour},
        ]
    write(tmp_path, f"annotation/{key}.jams", json.dumps({"annotations": annotations}))
    write(tmp_path, f"audio_mono-mic/{key}_mic.wav")
    files = dict.fromkeys(("audio_hex_cln", "audio_hex", "audio_mix"), "none.wav")
    files |= {"jams": f"annotation/{key}.jams", "audio_mic": f"audio_mono-mic/{key}_mic.wav"}
    write_index(tmp_path, "guitarset_index_1.1.0.json", tracks={key: files})
    onsets = datasets.load(f"mirdata:guitarset:{tmp_path}", "onsets")[0].label
    assert np.allclose(onsets, [0, 0.1, 0.2, 0.3, 0.4, 0.5])
    times, frequencies = datasets.load(f"mirdata:guitarset:{tmp_path}", "multi_f0")[0].label
    assert len(times) == len(frequencies)
    assert frequencies[1].tolist() == [100, 200]


def test_slakh_has_the_pitches_of_its_mixes(tmp_path):
    import pretty_midi

    write(tmp_path, "slakh/train/Track00001/mix.wav")
    midi = pretty_midi.PrettyMIDI()
    piano, drums = pretty_midi.Instrument(0), pretty_midi.Instrument(0, is_drum=True)
    piano.notes = [pretty_midi.Note(90, pitch, 0, 0.5) for pitch in (69, 81)]
    drums.notes = [pretty_midi.Note(90, 36, 0, 0.5)]
    midi.instruments = [piano, drums]
    midi.write(str(tmp_path / "all.mid"))
    files = {"mix": "slakh/train/Track00001/mix.wav", "midi": "all.mid", "metadata": "none.yaml"}
    name = index_name("slakh")
    write_index(tmp_path, name, tracks={}, multitracks={"Track00001": files})
    index = json.loads((tmp_path / name).read_text())
    index["version"] = "2100-redux"
    index["multitracks"]["Track00001"]["tracks"] = []
    (tmp_path / name).write_text(json.dumps(index))
    found = datasets.load(f"mirdata:slakh:{tmp_path}", "multi_f0")
    assert found.splits == ("train",)
    times, frequencies = found[0].label
    assert np.allclose(frequencies[len(times) // 4], [440, 880])


def test_rwc_says_where_somebody_sings(tmp_path):
    activity = "Piece No.\t1\n0.0\tb\n0.2\tm:withm\n0.5\ts:electricguitar\n0.7\tf:solo\n0.9\tend\n"
    write(tmp_path, "voca.txt", activity)
    write(tmp_path, "audio.wav")
    files = dict.fromkeys(("sections", "beats", "chords"), "none.txt")
    files |= {"audio": "audio.wav", "voca_inst": "voca.txt"}
    write_index(tmp_path, index_name("rwc_popular"), tracks={"RM-P001": files})
    label = datasets.load(f"mirdata:rwc_popular:{tmp_path}", "voice")[0].label
    assert np.allclose(label, [[0.2, 0.5], [0.7, 0.9]])


def test_gtzan_is_named_by_genre(tmp_path):
    write(tmp_path, "gtzan_genre/genres/hiphop/hiphop.00000.wav")
    files = {"audio": "gtzan_genre/genres/hiphop/hiphop.00000.wav", "beats": None, "tempo": None}
    write_index(tmp_path, index_name("gtzan_genre"), tracks={"hiphop.00000": files})
    assert datasets.load(f"mirdata:gtzan_genre:{tmp_path}", "classes")[0].label == "hip-hop"
    assert datasets.load(f"mirdata:gtzan_genre:{tmp_path}", "tags")[0].label == ("hip-hop",)


def test_classes_of_irmas_are_those_of_its_training_part(tmp_path):
    train = "IRMAS-TrainingData/flu/[flu][nod][cou_fol]0001__1.wav"
    test = "IRMAS-TestingData-Part1/Part1/01 - Some Song-3"
    write(tmp_path, train)
    write(tmp_path, f"{test}.wav")
    write(tmp_path, f"{test}.txt", "pia\t\nsax\t\n")
    files = {
        "0001__1": {"audio": train, "annotation": train},
        "1": {"audio": f"{test}.wav", "annotation": f"{test}.txt"},
    }
    write_index(tmp_path, index_name("irmas"), tracks=files)
    found = datasets.load(f"mirdata:irmas:{tmp_path}", "classes")
    assert found.names == ("flu",)
    assert found.splits == ("train",)
    tags = datasets.load(f"mirdata:irmas:{tmp_path}", "tags")
    assert tags.names == ("flu", "pia", "sax")
    assert [track.label for track in tags.split("test")] == [("pia", "sax")]


def same(found, wanted):
    """Return whether two labels of any task are the same, numbers but for rounding."""
    if isinstance(wanted, str):
        return found == wanted
    if isinstance(found, np.ndarray):
        return found.shape == np.shape(wanted) and np.allclose(found, wanted)
    return len(found) == len(wanted) and all(map(same, found, wanted))


@pytest.mark.parametrize("name", layouts)
def test_labels_are_found_where_the_data_set_has_them(tmp_path, name):
    key, files, texts, labels, split = layouts[name]
    write(tmp_path, files["audio"])
    for path, text in texts.items():
        write(tmp_path, path, text)
    write_index(tmp_path, index_name(name), tracks={key: files})
    assert labels.keys() == mirdata_sets.SETS[name].labels.keys()
    for task, wanted in labels.items():
        (track,) = datasets.load(f"mirdata:{name}:{tmp_path}", task)
        assert track.path == tmp_path / files["audio"]
        assert track.split == split
        assert same(track.label, wanted), task


@pytest.mark.parametrize(
    ("name", "midi", "table"),
    [
        (
            "groove_midi",
            "drummer1/eval_session/1_funk-groove1_138_beat_4-4.mid",
            ("info.csv", "id,bpm,duration,split\nkey,138,1.0,test\n"),
        ),
        (
            "maestro",
            "2018/key.midi",
            ("maestro-v2.0.0.json", '[{"midi_filename": "key.midi", "split": "test"}]'),
        ),
    ],
)
def test_onsets_are_those_of_the_midi_file(tmp_path, name, midi, table):
    import pretty_midi

    played = pretty_midi.PrettyMIDI()
    played.instruments = [pretty_midi.Instrument(0, is_drum=name == "groove_midi")]
    played.instruments[0].notes = [pretty_midi.Note(90, 38, at, at + 0.1) for at in (0.5, 0.25)]
    sound = midi.rpartition(".")[0] + ".wav"
    write(tmp_path, sound)
    write(tmp_path, *table)
    played.write(str(tmp_path / midi))
    write_index(tmp_path, index_name(name), tracks={"key": {"audio": sound, "midi": midi}})
    (track,) = datasets.load(f"mirdata:{name}:{tmp_path}", "onsets")
    assert track.split == "test"
    assert np.allclose(track.label, [0.25, 0.5], atol=0.003)


def test_a_track_without_sound_is_left_out(vocadito):
    (vocadito / "Audio" / "vocadito_1.wav").unlink()
    source = f"mirdata:vocadito:{vocadito}"
    with pytest.raises(ValueError, match=r"1 of 2 tracks cannot be used: 1: there is no file"):
        datasets.load(source, "pitch")
    with pytest.warns(RuntimeWarning, match="left out 1 of 2 tracks"):
        found = datasets.load(source, "pitch", on_error="skip")
    assert [track.name for track in found] == ["2"]


def test_a_label_that_mirdata_cannot_read_names_the_track(vocadito):
    write(vocadito, "Annotations/F0/vocadito_2_f0.csv", "nonsense\n")
    found = datasets.load(f"mirdata:vocadito:{vocadito}", "pitch")
    assert len(found[0].label) == 2
    with pytest.raises(ValueError, match="vocadito: the pitch of 2 cannot be read"):
        found[1].label  # noqa: B018


def test_what_mirdata_raises_of_one_track_leaves_that_track_out(vocadito):
    path = vocadito / "vocadito_index_1.0.json"
    index = json.loads(path.read_text())
    index["tracks"]["1"]["audio"] = None  # no pair of a path and a sum
    path.write_text(json.dumps(index))
    source = f"mirdata:vocadito:{vocadito}"
    message = r"1 of 2 tracks cannot be used: 1: mirdata cannot read it: TypeError\("
    with pytest.raises(ValueError, match=message):
        datasets.load(source, "pitch")
    with pytest.warns(RuntimeWarning, match="left out 1 of 2 tracks"):
        found = datasets.load(source, "pitch", on_error="skip")
    assert [track.name for track in found] == ["2"]


@pytest.mark.parametrize("text", ['{"version": "1.0", "tracks": {', "[]"])
def test_a_broken_index_is_named(vocadito, text):
    write(vocadito, "vocadito_index_1.0.json", text)
    message = r"load: the index .*vocadito_index_1\.0\.json.? cannot be read: "
    with pytest.raises(ValueError, match=message):
        datasets.load(f"mirdata:vocadito:{vocadito}", "pitch", on_error="skip")


def test_tracks_go_to_other_processes(vocadito):
    track = datasets.load(f"mirdata:vocadito:{vocadito}", "pitch")[0]
    copy = pickle.loads(pickle.dumps(track))
    assert np.array_equal(copy.label[1], track.label[1])


def test_what_is_not_there_is_said(vocadito, tmp_path):
    with pytest.raises(ValueError, match="vocadito has no tags; it has pitch, voice, onsets"):
        datasets.load(f"mirdata:vocadito:{vocadito}", "tags")
    with pytest.raises(ValueError, match="mirdata's 'vocalise' is none that has a recipe"):
        datasets.load("mirdata:vocalise:/", "tags")
    with pytest.raises(FileNotFoundError, match="there is no folder '/nowhere'"):
        datasets.load("mirdata:vocadito:/nowhere", "pitch")
    (vocadito / "vocadito_index_1.0.json").unlink()
    mirdata_sets._opened.cache_clear()
    with pytest.raises(FileNotFoundError, match=r"put vocadito_index_1\.0\.json into"):
        datasets.load(f"mirdata:vocadito:{vocadito}", "pitch")


def test_mirdata_is_asked_for_when_it_is_needed(tmp_path):
    code = (
        "import sys; from minicnn.audio import datasets;"
        "assert not {'mirdata', 'librosa', 'soundfile'} & set(sys.modules);"
        "sys.modules['mirdata'] = None; datasets.load('mirdata:vocadito:.', 'pitch')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'load needs mirdata: pip install "minicnn[data]"' in done.stderr


@pytest.mark.parametrize("name", mirdata_sets.SETS)
def test_what_a_recipe_names_exists_in_mirdata(name):
    """That mirdata's class of tracks knows each attribute, for data sets that are not here."""
    recipe = mirdata_sets.SETS[name]
    module = importlib.import_module(f"mirdata.datasets.{name}")
    text = Path(module.__file__).read_text(encoding="utf-8")
    source = text.partition("class MultiTrack(" if recipe.mixes else "class Track(")[2]
    closures = [inspect.getclosurevars(read).nonlocals for read in recipe.labels.values()]
    attributes = {each["name"] for each in closures if "name" in each}
    attributes |= {recipe.sound, *([recipe.split] if recipe.split else [])}
    for attribute in attributes:
        assert re.search(rf"self\.{attribute} = |def {attribute}\(self", source), attribute
