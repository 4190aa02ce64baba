"""The simulated population plays what it likes, and what is popular; tables of plays are read."""

import numpy as np
import pytest

from minicnn.audio import listeners


def styles(n_songs=200, count=4, seed=0):
    return np.eye(count)[np.random.default_rng(seed).integers(0, count, n_songs)]


def test_a_population_follows_from_its_seed():
    songs = styles()
    first, again, other = (
        listeners.simulate(songs, 300, rng=seed, progress=False) for seed in (1, 1, 2)
    )
    assert first.plays.shape == (300, 200)
    assert first.tastes.shape == (300, 4)
    assert (first.plays != again.plays).nnz == 0
    assert (first.plays != other.plays).nnz > 0


def test_everybody_plays_something_and_some_play_a_lot():
    counts = listeners.simulate(styles(), 2000, plays=50, rng=0, progress=False).plays.sum(axis=1)
    assert counts.min() >= 1
    assert counts.mean() == pytest.approx(50, rel=0.1)
    assert np.median(counts) < 0.75 * counts.mean()
    even = listeners.simulate(styles(), 50, plays=20, activity=0, rng=0, progress=False).plays.sum(
        axis=1
    )
    assert set(even.tolist()) == {20}


def test_without_tastes_songs_are_played_as_popular_as_they_are():
    found = listeners.simulate(
        styles(50), 3000, plays=100, taste=0, popularity=1, rng=0, progress=False
    )
    parts = found.plays.sum(axis=0) / found.plays.sum()
    assert np.allclose(parts, found.popularity, rtol=0.05)
    assert np.allclose(np.sort(found.popularity)[::-1] * np.arange(1, 51), found.popularity.max())


def test_tastes_decide_by_the_formula():
    songs = styles(40, 3)
    found = listeners.simulate(
        songs, 1, plays=200_000, popularity=0.5, activity=0, rng=3, progress=False
    )
    features = (songs - songs.mean(axis=0)) / songs.std(axis=0)
    liking = features @ found.tastes[0]
    chances = found.popularity * np.exp(2 * (liking - liking.mean()) / liking.std())
    parts = found.plays.toarray()[0] / found.plays.sum()
    assert np.allclose(parts, chances / chances.sum(), atol=0.004)


def test_likers_of_a_style_play_it_most():
    songs = styles()
    found = listeners.simulate(songs, 500, rng=0, progress=False)
    by_style = found.plays @ songs
    favourite = by_style.argmax(axis=1) == found.tastes.argmax(axis=1)
    assert favourite.mean() > 0.7


def test_a_strong_taste_leaves_one_song_for_each_listener():
    songs = np.random.default_rng(1).normal(size=(200, 4))
    found = listeners.simulate(songs, 50, taste=1e5, rng=0, progress=False)
    features = (songs - songs.mean(axis=0)) / songs.std(axis=0)
    favourite = (found.tastes @ features.T).argmax(axis=1)
    played = found.plays.toarray()
    assert (played[np.arange(50), favourite] == played.sum(axis=1)).all()
    assert len(set(favourite)) > 10


def test_a_feature_that_all_songs_share_decides_nothing():
    songs = np.hstack([styles(), np.ones((200, 1))])
    assert listeners.simulate(songs, 5, rng=0, progress=False).plays.sum() > 0


@pytest.mark.parametrize(
    ("songs", "options", "message"),
    [
        (np.ones(3), {}, r"songs are \(3,\); they must be \(songs, features\)"),
        (np.zeros((0, 3)), {}, r"songs are \(0, 3\)"),
        (np.full((2, 2), np.nan), {}, "all finite"),
        (np.ones((3, 2)), {}, "all 3 songs have the same features"),
        (styles(), dict(n_listeners=0), "n_listeners is 0; it must be at least 1"),
        (styles(), dict(plays=0.5), r"plays is 0\.5"),
        (styles(), dict(taste=-1), "taste is -1"),
        (styles(), dict(popularity=np.nan), "popularity is nan"),
        (styles(), dict(activity=-1), "activity is -1"),
        (styles(), dict(taste=np.inf), "taste is inf; it must be at least 0, and finite"),
    ],
)
def test_a_population_that_cannot_be_is_an_error(songs, options, message):
    with pytest.raises(ValueError, match=message):
        listeners.simulate(songs, **{"n_listeners": 3, **options}, progress=False)


def test_songs_may_all_be_alike_where_taste_does_not_matter():
    assert listeners.simulate(np.ones((3, 2)), 2, taste=0, rng=0, progress=False).plays.shape == (
        2,
        3,
    )


songs = ("a.wav", "sub/b.wav", "c.wav")


@pytest.mark.parametrize(
    "text",
    [
        "listener,file,count\nann,a.wav,2\nbob,sub/b.wav,1\nann,sub/b.wav,4\nann,a.wav,1\n",
        "file;count;listener\r\na.wav;3;ann\r\n\r\nsub/b.wav;1;bob\r\nsub/b.wav;4;ann\r\n",
        "\ufeffListener\tFile\tCount\nann\t a.wav\t3\nbob\tsub/b.wav\t1\nann\tsub/b.wav\t4\n",
    ],
)
def test_a_table_says_who_plays_what(tmp_path, text):
    (tmp_path / "plays.csv").write_bytes(text.encode())
    found = listeners.read(tmp_path / "plays.csv", songs)
    assert found.toarray().tolist() == [[3, 4, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has columns ; plays need listener, file, count"),
        ("listener,file\nann,a.wav\n", "has columns listener, file; plays need"),
        ("listener,file,count\n", "has no rows but the names"),
        ("listener,file,count\nann,a.wav\n", "plays.csv line 2 has 2 values, not listener"),
        ("listener,file,count\nann,d.wav,1\n", "line 2: there is no song 'd.wav'"),
        ("listener,file,count\nann,a.wav,-1\n", "line 2: a count is '-1'; it must be a whole"),
        ("listener,file,count\nann,a.wav,1\nann,a.wav,1.5\n", r"line 3: a count is '1\.5'"),
    ],
)
def test_a_table_of_plays_that_cannot_be_used_is_an_error(tmp_path, text, message):
    (tmp_path / "plays.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        listeners.read(tmp_path / "plays.csv", songs)


def test_a_table_of_plays_must_exist(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"read: there is no file '.*plays\.csv'"):
        listeners.read(tmp_path / "plays.csv", songs)
