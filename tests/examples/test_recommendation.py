"""Songs that nobody has heard are offered to those who will play them, not in any order."""

import json

import numpy as np
import pytest

from .conftest import load

soundfile = pytest.importorskip("soundfile")
pytest.importorskip("sklearn")
pytest.importorskip("librosa")
pytest.importorskip("matplotlib")
pytest.importorskip("soxr")

pictures = ("curves.png", "map.png", "nearest.png")


def beaten(figures):
    """Return what the network has to beat."""
    baselines = figures["baselines"]
    return [auc for name, auc in baselines.items() if not name.startswith("upper bound")]


def test_the_quick_run_offers_new_songs_better_than_by_chance(quick):
    figures, folder = quick("recommendation")
    bound = figures["baselines"]["upper bound, auc"]
    assert 0.58 < figures["metrics"]["auc"] < bound <= 1
    assert len(beaten(figures)) == 2
    assert figures["metrics"]["auc"] > figures["baselines"]["popularity, auc"]
    for name in pictures:
        assert (folder / name).stat().st_size > 10_000


@pytest.fixture
def songs(tmp_path):
    """Return a folder of 24 songs, which are low or high, and from 1 to 4 s long."""
    rng = np.random.default_rng(0)
    rows = ["file,tags,split"]
    for i in range(24):
        seconds, high = 1 + i % 4, i % 2
        times = np.arange(int(8000 * seconds)) / 8000
        hertz = rng.uniform(1500, 2500) if high else rng.uniform(100, 300)
        samples = 0.3 * np.sin(2 * np.pi * hertz * times) + rng.normal(0, 0.01, len(times))
        soundfile.write(tmp_path / f"{i}.wav", samples, 8000)
        tags = f"{'high' if high else 'low'};{'long' if seconds > 2 else 'short'}"
        rows.append(f"{i}.wav,{tags},{'test' if i < 6 else 'valid' if i < 10 else 'train'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    return tmp_path


def write_plays(folder, more=()):
    """Write who plays what: twenty listeners play low songs, twenty high ones."""
    rng = np.random.default_rng(0)
    rows = ["listener,file,count", *more]
    for listener in range(40):
        liked = np.arange(listener % 2, 24, 2)
        for song in rng.choice(liked, 8, replace=False):
            rows.append(f"person {listener},{song}.wav,{rng.integers(1, 9)}")
    (folder / "plays.csv").write_text("\n".join(rows))
    return folder / "plays.csv"


def test_songs_and_plays_of_ones_own_are_learned_from(songs, tmp_path):
    options = dict(data=songs, out=tmp_path / "run", quick=True)
    figures = load("recommendation").main(plays=write_plays(songs), **options)
    assert figures["data"] == str(songs)
    assert figures["metrics"]["auc"] > 0.8
    kept = json.loads((tmp_path / "run" / "results.json").read_text())
    assert kept == figures
    for name in pictures:
        assert (tmp_path / "run" / name).exists()


def test_without_plays_listeners_are_simulated_for_songs_of_ones_own(songs, tmp_path):
    figures = load("recommendation").main(data=songs, out=tmp_path / "run", quick=True, epochs=1)
    assert 0 < figures["metrics"]["auc"] < 1


def test_plays_are_of_songs_that_are_given(songs, tmp_path):
    main = load("recommendation").main
    with pytest.raises(
        ValueError, match="--plays is about the songs in --data, which is not given"
    ):
        main(plays=songs / "plays.csv", out=tmp_path / "run", quick=True)
    with pytest.raises(FileNotFoundError, match=r"read: there is no file '.*plays\.csv'"):
        main(data=songs, plays=songs / "plays.csv", out=tmp_path / "run", quick=True)
    plays = write_plays(songs, more=["somebody,24.wav,1"])
    with pytest.raises(ValueError, match=r"plays\.csv line 2: there is no song '24\.wav'"):
        main(data=songs, plays=plays, out=tmp_path / "run", quick=True)


@pytest.mark.training
def test_new_songs_are_offered_better_than_by_popularity_or_mfcc(tmp_path):
    figures = load("recommendation").main(out=tmp_path / "run")
    assert figures["metrics"]["auc"] >= 0.8
    assert figures["metrics"]["auc"] > max(beaten(figures))
    assert figures["seconds"] < 300
