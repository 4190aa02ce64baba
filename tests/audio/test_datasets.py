"""Folders with tables of labels: what is read of them, and what is said of those that are wrong."""

import pickle

import numpy as np
import pytest

from minicnn.audio import datasets

soundfile = pytest.importorskip("soundfile")

tables = {
    "classes": "file,label\na.wav,flute\nsub/b.wav,horn\n",
    "tags": 'file,tags\na.wav,"rock; slow;rock"\nsub/b.wav,\n',
    "onsets": "file,time\na.wav,0.5\na.wav,0.25\nsub/b.wav,\n",
    "voice": "file,start,end\na.wav,0.5,1\na.wav,0,0.25\nsub/b.wav,,\n",
    "pitch": "file,time,frequency\na.wav,0,440\na.wav,0.01,\na.wav,0.02,442.5\nsub/b.wav,,\n",
    "multi_f0": "file,time,frequency\na.wav,0,440\na.wav,0,660\na.wav,0.01,0\nsub/b.wav,,\n",
}


@pytest.fixture
def folder(tmp_path):
    """Return a folder with two sounds of a second."""
    (tmp_path / "sub").mkdir()
    for name in ("a.wav", "sub/b.wav"):
        soundfile.write(tmp_path / name, np.zeros(8000), 8000)
    return tmp_path


def write(folder, text, name="labels.csv"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def load(folder, task, text, **options):
    write(folder, text)
    return datasets.load(folder, task, **options)


def same(first, second):
    """Return whether two labels of any task are the same."""
    if isinstance(first, tuple | list):
        return len(first) == len(second) and all(map(same, first, second))
    return np.array_equal(first, second)


def test_every_task_has_its_labels(folder):
    wanted = {
        "classes": ("flute", "horn"),
        "tags": (("rock", "slow"), ()),
        "onsets": ([0.25, 0.5], []),
        "voice": ([[0, 0.25], [0.5, 1]], np.zeros((0, 2))),
        "pitch": (([0, 0.01, 0.02], [440, 0, 442.5]), ([], [])),
        "multi_f0": (([0, 0.01], [[440, 660], []]), ([], [])),
    }
    for task in datasets.TASKS:
        found = load(folder, task, tables[task])
        assert [track.name for track in found] == ["a.wav", "sub/b.wav"]
        assert found[1].path == folder / "sub" / "b.wav"
        for track, label in zip(found, wanted[task], strict=True):
            assert same(track.label, label), task


def test_classes_and_tags_are_numbered_in_alphabetical_order(folder):
    assert load(folder, "classes", tables["classes"]).names == ("flute", "horn")
    assert load(folder, "tags", tables["tags"]).names == ("rock", "slow")
    with pytest.raises(ValueError, match="onsets have no names"):
        load(folder, "onsets", tables["onsets"]).names  # noqa: B018


@pytest.mark.parametrize("task", datasets.TASKS)
def test_what_spreadsheets_write_is_read_as_what_was_meant(folder, task):
    plain = load(folder, task, tables[task])
    other = tables[task].replace("a.wav", '"a.wav"').replace("\n", "\r\n\r\n")
    if task != "tags":  # decimal commas, and so semicolons between
        other = other.replace(",", ";").replace(".25", ",25").replace("0.5", "0,5")
    found = load(folder, task, b"\xef\xbb\xbf" + other.encode())
    assert len(found) == 2
    for one, two in zip(found, plain, strict=True):
        assert one.name == two.name
        assert same(one.label, two.label)


def test_tabs_and_capital_names_and_backslashes_are_read(folder):
    found = load(folder, "classes", "Label\tFILE\nhorn\tsub\\b.wav\n")
    assert found[0].label == "horn"
    assert found[0].path == folder / "sub" / "b.wav"


def test_a_table_may_be_named_and_files_may_have_their_full_path(folder):
    write(folder, f"file,label\n{folder / 'a.wav'},flute\n", "other.csv")
    assert datasets.load(folder / "other.csv", "classes")[0].path == folder / "a.wav"


@pytest.mark.parametrize(
    ("task", "text", "wanted"),
    [
        ("onsets", "0.5\n0.25\n", [0.25, 0.5]),
        ("onsets", "", []),
        ("onsets", "time\n0.5\n", [0.5]),
        ("voice", "0 0.5 sing\n0.5 1 nosing\n", [[0, 0.5]]),
        ("voice", "start,end\n0.5,1\n", [[0.5, 1]]),
        ("pitch", "0;440\n0,5;0\n", ([0, 0.5], [440, 0])),
        ("pitch", "time\tHz\n0\t440.0\n0.5\t441.0\n", ([0, 0.5], [440, 441])),
        ("multi_f0", "0   440  660\n0.5\n", ([0, 0.5], [[440, 660], []])),
        ("multi_f0", "0\n0.5,440,660\n", ([0, 0.5], [[], [440, 660]])),
        ("multi_f0", "0.0\n0.5\t440\t660\n", ([0, 0.5], [[], [440, 660]])),
        ("multi_f0", "0,0\n0,5;440;660,5\n", ([0, 0.5], [[], [440, 660.5]])),
        ("onsets", "0,25\n0,5\n", [0.25, 0.5]),
    ],
)
def test_labels_may_have_files_of_their_own(folder, task, text, wanted):
    write(folder, text, "a.txt")
    found = load(folder, task, "file,labels\na.wav,a.txt\n")
    assert same(found[0].label, wanted)


def test_a_segment_says_whether_it_is_a_voice(folder):
    table = "file,start,end,label\na.wav,0,0.5,sing\na.wav,0.5,1,NoSing\n"
    assert same(load(folder, "voice", table)[0].label, [[0, 0.5]])


def test_a_data_set_has_splits(folder):
    found = load(folder, "classes", "file,label,split\na.wav,x,train\nsub/b.wav,y,test\n")
    assert found.splits == ("test", "train")
    assert [track.name for track in found.split("train")] == ["a.wav"]
    with pytest.raises(ValueError, match="no split 'valid'; there are test, train"):
        found.split("valid")
    with pytest.raises(ValueError, match="there are no splits"):
        load(folder, "classes", tables["classes"]).split("train")


def test_a_class_has_the_same_number_in_every_split(folder):
    whole = load(folder, "classes", "file,label,split\na.wav,x,train\nsub/b.wav,y,test\n")
    assert whole.split("test").names == whole.split("train").names == ("x", "y")
    assert whole.split("test").split("test").names == ("x", "y")
    assert whole.split("train") != whole.split("test")


def test_a_data_set_prints_what_it_is(folder):
    (folder / "LICENSE").write_text("as you like")
    text = str(load(folder, "onsets", tables["onsets"]))
    assert text == f"{folder}: 2 tracks with onsets; license: see {folder / 'LICENSE'}"
    (folder / "LICENSE").unlink()
    assert "license: unknown" in str(load(folder, "onsets", tables["onsets"]))


def test_tracks_go_to_other_processes(folder):
    write(folder, "0.5\n", "a.txt")
    for text in (tables["onsets"], "file,labels\na.wav,a.txt\n"):
        track = load(folder, "onsets", text)[0]
        assert np.array_equal(pickle.loads(pickle.dumps(track)).label, track.label)


def test_sounds_and_labels_may_be_links_to_where_they_are_kept(folder, tmp_path_factory):
    kept = tmp_path_factory.mktemp("kept")
    (folder / "a.wav").rename(kept / "a.wav")
    (folder / "a.wav").symlink_to(kept / "a.wav")
    write(kept, "0.5\n", "a.txt")
    (folder / "texts").symlink_to(kept)
    (kept / "all").symlink_to(folder)
    write(folder, "file,labels\na.wav,texts/a.txt\n")
    [track] = datasets.load(kept / "all", "onsets")
    samples, label = track.load(8000)
    assert (len(samples), label.tolist()) == (8000, [0.5])
    # A name is taken by its letters, so that none climbs out by way of a link.
    with pytest.raises(ValueError, match=r"texts/\.\./\.\./a\.wav is not inside of"):
        load(folder, "onsets", "file,time\ntexts/../../a.wav,0.5\n")


@pytest.mark.parametrize(
    ("task", "row", "message"),
    [
        ("onsets", "c.wav,0.5", r"c\.wav: there is no file .*c\.wav"),
        ("onsets", "../a.wav,0.5", r"\.\./a\.wav: \.\./a\.wav is not inside of"),
        ("onsets", "/etc/passwd,0.5", r"/etc/passwd is not inside of"),
        ("onsets", "noise.wav,0.5", r"noise\.wav: load: '.*noise\.wav' is no whole sound file"),
        ("onsets", "noise.raw,0", r"noise\.raw: load: '.*noise\.raw' is no whole sound file: raw"),
        (
            "onsets",
            "cut.wav,0.1",
            r"cut\.wav: load: '.*cut\.wav' is cut off: 3,956 of 16,000 bytes",
        ),
        ("onsets", "none.wav,0", r"none\.wav: there are no samples"),
        ("onsets", "b.wav,half", r"b\.wav: labels\.csv line 3: a time is 'half'"),
        ("onsets", "b.wav,nan", "line 3: a time is 'nan'; it must be seconds from 0 on"),
        ("onsets", "b.wav,-1", "line 3: a time is '-1'"),
        ("onsets", "b.wav,1.5", r"line 3: 1\.5 s is beyond the end at 1\.000 s"),
        ("onsets", "b.wav", r"labels\.csv line 3 has 1 values, its columns are file, time"),
        ("onsets", "b.wav,1,2", "line 3 has 3 values"),
        ("onsets", ",0.5", "a row without a file: .*line 3 has 2 values, and no file"),
        ("voice", "b.wav,0.5,0.25", r"line 3: a segment from 0\.5 to 0\.25 s has no length"),
        ("voice", "b.wav,0.5,7", "line 3: 7 s is beyond the end"),
        ("voice", "b.wav,0.5,", "line 3: a time is ''"),
        ("pitch", "b.wav,0.5,-3", "line 3: a frequency is '-3'; it must be Hz, or 0 for none"),
        ("pitch", "b.wav,0.5,1\nb.wav,0.5,2", r"line 4: 0\.5 s follows 0\.5 s; times must grow"),
        ("multi_f0", "b.wav,0.5,1\nb.wav,0.4,2", r"line 4: 0\.4 s follows 0\.5 s; times must grow"),
        ("classes", "b.wav,", "line 3: it has no label"),
        ("classes", "b.wav,x\nb.wav,y", r"line 4: it has the labels \['x', 'y'\] at once"),
    ],
)
def test_what_is_wrong_with_a_track_is_said_and_the_rest_goes_on(folder, task, row, message):
    write(folder, b"no sound", "noise.wav")
    write(folder, bytes(16_000), "noise.raw")
    write(folder, (folder / "a.wav").read_bytes()[:4000], "cut.wav")
    soundfile.write(folder / "none.wav", np.zeros(0), 8000)
    soundfile.write(folder / "b.wav", np.zeros(8000), 8000)
    good = {"voice": "a.wav,0,1", "classes": "a.wav,x", "onsets": "a.wav,0"}.get(task, "a.wav,0,1")
    text = f"{tables[task].splitlines()[0]}\n{good}\n{row}\n"
    with pytest.raises(ValueError, match=f"1 of 2 tracks cannot be used: .*{message}"):
        load(folder, task, text)
    with pytest.warns(RuntimeWarning, match=f"left out 1 of 2 tracks: .*{message}"):
        found = load(folder, task, text, on_error="skip")
    assert [track.name for track in found] == ["a.wav"]
    assert len(found.left_out) == 1
    assert "left out: " in str(found)


def test_of_many_wrong_tracks_some_are_named(folder):
    rows = "".join(f"{i}.wav,x\n" for i in range(9))
    with pytest.raises(ValueError, match=r"9 of 9 tracks .*4\.wav; and 4 more"):
        load(folder, "classes", f"file,label\n{rows}")


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        ("onsets", "0.5\nsoon\n", r"a\.txt line 2: a time is 'soon'"),
        ("onsets", "0.5 3\n", r"a\.txt line 1 has 2 values; onsets needs time"),
        ("voice", "0 1 maybe\n", "label is 'maybe'; a voice is 1, sing"),
        ("pitch", "0,440\n9,440\n", "line 2: 9 s is beyond the end"),
        ("pitch", b"0,\xff\n", r"a\.txt is no UTF-8 text, at byte 2"),
        ("pitch", '0,"440\n', r"a\.txt line 1: unexpected end of data"),
    ],
)
def test_what_is_wrong_with_a_file_of_labels_is_said(folder, task, text, message):
    write(folder, text, "a.txt")
    with pytest.raises(ValueError, match=message):
        load(folder, task, "file,labels\na.wav,a.txt\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels\.csv is empty; its first row must name the columns"),
        ("file,label\n", "has columns file, label; onsets needs file, time, or file, labels"),
        ("file,time,time\n", "has two columns time"),
        (b"file,time\n\xe4.wav,0\n", r"labels\.csv is no UTF-8 text, at byte 10"),
        ("file,labels\na.wav,b.txt\n", r"a\.wav: there is no file .*b\.txt"),
        ("file,labels\na.wav,a.txt\na.wav,a.txt\n", "line 3: it has labels twice"),
        ("file,time,split\na.wav,0,x\na.wav,1,y\n", r"line 2: it is in \['x', 'y'\] at once"),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error(folder, text, message):
    write(folder, "0.5\n", "a.txt")
    with pytest.raises(ValueError, match=message):
        load(folder, "onsets", text)


def test_a_table_without_tracks_is_a_data_set_of_none(folder):
    assert len(load(folder, "onsets", "file,time\n")) == 0


def test_what_is_asked_for_must_exist(folder):
    with pytest.raises(FileNotFoundError, match=r"there is no file '.*labels\.csv'"):
        datasets.load(folder, "onsets")
    with pytest.raises(FileNotFoundError, match="there is no file 'nowhere'"):
        datasets.load("nowhere", "onsets")
    with pytest.raises(ValueError, match="no task 'beats'; there are classes, tags"):
        datasets.load(folder, "beats")
    with pytest.raises(ValueError, match="on_error is 'ignore'; it must be raise or skip"):
        datasets.load(folder, "onsets", on_error="ignore")


def divided(folder, **splits):
    """Return the parts of tracks that belong to these splits, and of how many that say none."""
    rows = ["file,label,split"]
    for split, count in splits.items():
        named = "" if split == "none" else split
        rows += [f"{split}{i}.wav,{'flute' if i % 2 else 'horn'},{named}" for i in range(count)]
    for row in rows[1:]:
        soundfile.write(folder / row.partition(",")[0], np.zeros(80), 8000)
    write(folder, "\n".join(rows))
    return datasets.parts("classes", "instruments", (1, 1, 1), data=folder, rng=0)


def test_parts_may_have_other_names(tmp_path):
    parts = divided(tmp_path, training=3, Validation=2, eval=4)
    assert [{track.split for track in part} for part in parts] == [
        {"training"}, {"Validation"}, {"eval"},
    ]  # fmt: skip


def some_tracks(folder, splits):
    """Write a table of as many tracks as there are splits, each of a class of its own."""
    rows = []
    for i, split in enumerate(splits):
        soundfile.write(folder / f"{i}.wav", np.zeros(800), 8000)
        rows.append(f"{i}.wav,class {i:02},{split}\n")
    write(folder, "file,label,split\n" + "".join(rows))


def parts(folder, rng=0):
    found = datasets.parts("classes", "instruments", (9, 9, 9), data=folder, rng=rng)
    return found, [[int(track.name[:-4]) for track in part] for part in found]


@pytest.mark.parametrize(
    "names",
    [("train", "valid", "test"), ("training", "validation", "Test"), ("Train", "val", "test")],
)
def test_parts_that_a_data_set_has_are_taken_as_they_are(tmp_path, names):
    train, valid, test = names
    some_tracks(tmp_path, [test, train, valid, "", "omitted", train])
    assert parts(tmp_path)[1] == [[1, 5], [2], [0]]


def test_parts_that_a_data_set_lacks_are_drawn_from_the_seed(tmp_path):
    some_tracks(tmp_path, [""] * 30)
    _, found = parts(tmp_path)
    assert [len(part) for part in found] == [24, 3, 3]
    assert sorted(i for part in found for i in part) == list(range(30))
    assert all(part == sorted(part) for part in found)
    assert parts(tmp_path)[1] == found
    assert parts(tmp_path, rng=1)[1] != found
    folds = tmp_path / "folds"
    folds.mkdir()
    some_tracks(folds, ["fold 0", "fold 1"] * 15)
    assert parts(folds)[1] == found


@pytest.mark.parametrize("learned", ["train", "training", ""])
def test_what_is_kept_for_the_test_is_never_learned_from(tmp_path, learned):
    some_tracks(tmp_path, [learned] * 12 + ["test"] * 8)
    _, (train, valid, test) = parts(tmp_path)
    assert test == list(range(12, 20))
    assert len(valid) == 1
    assert sorted(train + valid) == list(range(12))


def test_what_is_kept_for_validation_is_not_drawn_for_the_test(tmp_path):
    some_tracks(tmp_path, ["valid"] * 4 + [""] * 6)
    _, (train, valid, test) = parts(tmp_path)
    assert valid == [0, 1, 2, 3]
    assert sorted(train + test) == list(range(4, 10))


def test_a_class_has_its_number_in_every_part_even_if_it_is_in_one_only(tmp_path):
    some_tracks(tmp_path, ["train"] * 5 + ["test"] * 2)
    found, _ = parts(tmp_path)
    assert all(part.names == tuple(f"class {i:02}" for i in range(7)) for part in found)


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ([""] * 2, "2 tracks are too few for 3 parts"),
        (["train", "test"], "1 tracks are too few for 2 parts"),
        (["test"] * 9, "0 tracks are too few for 2 parts"),
        (["valid", "test"], "0 tracks are too few for 1 parts"),
        ([], "0 tracks are too few for 3 parts"),
    ],
)
def test_there_must_be_tracks_enough_for_all_parts(tmp_path, splits, message):
    some_tracks(tmp_path, splits)
    with pytest.raises(ValueError, match=message):
        parts(tmp_path)


def test_without_a_data_set_parts_are_generated_from_the_seed():
    options = dict(seconds=0.5, sample_rate=8000)
    one, again, other = (
        datasets.parts("tags", "tagged", (3, 0, 2), rng=rng, **options)
        for rng in (4, np.int64(4), 5)
    )
    assert [len(part) for part in one] == [3, 0, 2]
    assert [track.split for track in (one.train[0], one.test[0])] == ["train", "test"]
    assert one.valid.names == one.train.names
    first, same_, different = (found.test[1].load(8000)[0] for found in (one, again, other))
    assert np.array_equal(first, same_)
    assert len(first) == 4000
    assert not np.array_equal(first, different)
    drawn = datasets.parts("tags", "tagged", (1, 1, 1), rng=np.random.default_rng(0), **options)
    assert drawn.train[0].corpus.seed == drawn.test[0].corpus.seed


def test_the_last_of_two_banks_plays_the_test():
    soundfont = pytest.importorskip("minicnn.audio.soundfont")
    banks = sorted(soundfont.banks())
    if len(banks) < 2:
        pytest.skip("there are no two banks of sounds")
    found = datasets.parts("tags", "tagged", (1, 1, 1), soundfont=banks[:2], rng=0)
    paths = [soundfont.banks()[name] for name in banks[:2]]
    assert [part[0].corpus.player.path for part in found] == [paths[0], paths[0], paths[1]]


def test_a_bank_of_sounds_is_not_passed_over_where_nothing_is_generated(tmp_path):
    some_tracks(tmp_path, [""] * 5)
    with pytest.raises(ValueError, match=r"soundfont \(some\.sf2\) plays what is generated"):
        datasets.parts("classes", "instruments", (1, 1, 1), data=tmp_path, soundfont=("some.sf2",))


def test_pitches_are_those_of_the_nearest_time():
    label = np.array([0.1, 0.2, 0.3]), np.array([100.0, 0, 300])
    found = datasets.pitches_at(label, [0, 0.04, 0.1, 0.14, 0.16, 0.26, 0.39, 0.5])
    assert found == [100, 100, 100, 100, 0, 300, 300, 0]


def test_several_pitches_are_those_of_the_nearest_time():
    label = np.array([0, 0.5]), [np.array([100.0, 200]), np.array([])]
    found = datasets.pitches_at(label, [0.1, 0.3, 2])
    assert [each.tolist() for each in found] == [[100, 200], [], []]


def test_between_stretches_of_a_sparse_label_there_is_no_pitch():
    at = np.r_[np.arange(1, 2, 0.01), np.arange(8, 9, 0.01)]
    found = datasets.pitches_at((at, np.full(len(at), 440.0)), [0.5, 1.5, 3, 7.5, 8.5, 20])
    assert found == [0, 440, 0, 0, 440, 0]


def test_a_label_of_one_time_holds_for_all():
    assert datasets.pitches_at(([0.5], np.array([440.0])), [0, 9]) == [440, 440]


def test_where_a_label_is_empty_there_is_no_pitch(folder):
    one = load(folder, "pitch", tables["pitch"])[1].label
    several = load(folder, "multi_f0", tables["multi_f0"])[1].label
    assert datasets.pitches_at(one, [0, 1]) == [0, 0]
    assert [each.tolist() for each in datasets.pitches_at(several, [0, 1])] == [[], []]
    assert datasets.pitches_at(one, []) == []
