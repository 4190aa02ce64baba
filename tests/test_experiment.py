"""The frame of an experiment: these lines are what --help begins with."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
from minicnn.kernels import NoGPUError

import minicnn as mc
from minicnn import experiment, nn
from minicnn.rng import generator

pytest.importorskip("tyro")


def learn(
    sound: Annotated[Path | None, "what is listened to"] = None,
    *,
    kind: Annotated[Literal["oak", "elm"], "which tree"] = "oak",
    epochs: experiment.Epochs = 5,
    soundfont: experiment.Soundfont = (),
    out: experiment.Out = None,
    resume: experiment.Resume = False,
    quick: experiment.Quick = False,
):
    return dict(locals())


def raising(error):
    """Return a main that raises an error, after a first epoch if there is a folder."""

    def main(*, epochs: experiment.Epochs = 5, out: experiment.Out = None, resume: bool = False):
        if out is not None and out.exists():
            (out / "last.safetensors").write_bytes(b"")
        raise error

    return main


def message(main, *arguments):
    """Return what a command says where it ends, which is one line."""
    with pytest.raises(SystemExit) as ended:
        experiment.command_line(main, arguments)
    text = str(ended.value.code).removeprefix("\n")
    assert "\n" not in text
    return text


def test_options_are_the_keyword_arguments_of_main(tmp_path):
    given = experiment.command_line(
        learn,
        ["--kind", "elm", "--epochs", "2", "--soundfont", "a", "b", "--quick", "--out", "here"],
    )
    assert given == dict(
        sound=None,
        kind="elm",
        epochs=2,
        soundfont=("a", "b"),
        out=Path("here"),
        resume=False,
        quick=True,
    )


def test_an_argument_that_is_not_keyword_only_has_a_place_on_the_command_line():
    assert experiment.command_line(learn, ["a.wav", "--epochs", "2"])["sound"] == Path("a.wav")
    assert experiment.command_line(learn, ["--epochs", "2", "a.wav"])["sound"] == Path("a.wav")


def test_without_out_there_is_a_folder_for_each_run():
    out = experiment.command_line(learn, [])["out"]
    assert out.parent == Path("runs/test_experiment")


def test_the_help_begins_with_the_docstring_and_says_what_each_option_is(capsys):
    with pytest.raises(SystemExit) as ended:
        experiment.command_line(learn, ["--help"])
    assert ended.value.code == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "The frame of an experiment: these lines are what --help begins with." in text
    for option in (
        "[SOUND] what is listened to",
        "--kind {oak,elm} which tree",
        "--epochs INT how many",
        "--out PATH where pictures",
    ):
        assert option in text, option
    assert "no-quick" not in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epoch", "2"], "--epoch"),
        (["--epochs", "two"], "two"),
        (["--kind", "ash"], "oak"),
        (["--epochs"], "--epochs"),
    ],
)
def test_what_is_no_option_is_refused_and_named(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        experiment.command_line(learn, arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError("there is no file 'a.wav'"),
        ValueError("fit: epochs is 0"),
        ModuleNotFoundError("pictures need matplotlib: pip install matplotlib"),
        NoGPUError("device 'cuda' needs a GPU"),
    ],
)
def test_a_wrong_file_or_value_or_a_missing_library_or_gpu_is_said_in_one_line(error):
    assert message(raising(error)) == f"test_experiment: {error}"


def test_a_library_that_nobody_speaks_of_comes_with_what_to_install():
    error = ModuleNotFoundError("No module named 'sklearn.svm'", name="sklearn.svm")
    assert message(raising(error)) == (
        'test_experiment: sklearn is not installed: pip install "minicnn[examples]"'
    )


def test_a_module_that_is_no_librarys_is_missed_with_a_traceback(tmp_path):
    (tmp_path / "script.py").write_text("import minicnn.experiment\nimport my_own_module\n")
    command = [sys.executable, str(tmp_path / "script.py")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert "Traceback" in result.stderr
    assert "No module named 'my_own_module'" in result.stderr
    assert "pip install" not in result.stderr


def test_an_error_of_the_program_itself_shows_where_it_comes_from():
    with pytest.raises(RuntimeError, match="a bug"):
        experiment.command_line(raising(RuntimeError("a bug")), [])


def test_without_tyro_the_command_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tyro", None)
    assert message(learn) == (
        "test_experiment: the command line needs tyro, which is not installed: "
        'pip install "minicnn[examples]"'
    )


@pytest.mark.parametrize("spelling", ["--out {}", "--out={}"])
def test_ctrl_c_says_how_to_go_on_and_that_works(tmp_path, spelling):
    folder = tmp_path / "my --run"
    folder.mkdir()
    given = shlex.split(spelling.format(shlex.quote(str(folder))))
    said = message(raising(KeyboardInterrupt()), "--epochs", "7", *given)
    assert said.startswith("test_experiment: interrupted; go on with: python ")
    _, script, *arguments = shlex.split(said.partition("go on with: ")[2])
    assert script == sys.argv[0]
    going_on = experiment.command_line(learn, arguments)
    assert (going_on["epochs"], going_on["out"], going_on["resume"]) == (7, folder, True)


def test_a_run_that_is_interrupted_again_goes_on_with_the_same_command(tmp_path):
    given = ["--out", str(tmp_path), "--resume"]
    said = message(raising(KeyboardInterrupt()), *given)
    assert shlex.split(said.partition("go on with: ")[2]) == ["python", sys.argv[0], *given]


def test_without_out_the_command_that_goes_on_names_the_folder_that_was_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def main(*, out: experiment.Out = None):
        (out / "second").mkdir(parents=True)
        (out / "second/last.safetensors").write_bytes(b"")
        raise KeyboardInterrupt

    (resume, option, folder) = shlex.split(message(main).partition("go on with: ")[2])[2:]
    assert (resume, option) == ("--resume", "--out")
    assert (tmp_path / folder / "second/last.safetensors").exists()


def test_ctrl_c_before_the_first_checkpoint_leaves_nothing_to_go_on_with(tmp_path):
    said = message(raising(KeyboardInterrupt()), "--out", str(tmp_path / "none"))
    assert said == "test_experiment: interrupted; nothing was trained yet"


@pytest.mark.parametrize("out", [None, "none"])
def test_nothing_cannot_be_resumed(out, tmp_path):
    folder = out and tmp_path / out
    message = "resume takes the folder of a run as out, and there is none"
    with pytest.raises(FileNotFoundError, match=message + (f" at .*{out}" if out else "$")):
        experiment.begin("trees", folder, resume=True)
    assert not any(tmp_path.iterdir())


def test_a_run_begins_with_its_folder_its_seed_and_its_threads(tmp_path):
    before = mc.get_num_threads()
    try:
        drawn = []
        for seed in (1, 1, 2):
            run = experiment.begin("trees", tmp_path / "a/b", seed=seed, threads=1)
            drawn.append(generator().random())
        assert mc.get_num_threads() == 1
        assert run.folder.is_dir()
        assert drawn[0] == drawn[1] != drawn[2]
    finally:
        mc.set_num_threads(before)


def test_the_figures_are_the_last_line_and_in_the_folder(tmp_path, capsys):
    run = experiment.begin("trees", tmp_path)
    figures = run.finish(
        nn.Linear(3, 2),
        {"accuracy": np.float32(2 / 3), "f_measure": float("nan")},
        {"chance, accuracy": 0.5},
        picture="leaves.png",
        kind="oak",
    )
    assert list(figures) == [
        "example", "metrics", "baselines", "kind", "picture", "parameters", "seconds"
    ]  # fmt: skip
    assert figures["metrics"] == {"accuracy": 0.6667, "f_measure": None}
    assert figures["baselines"] == {"chance, accuracy": 0.5}
    assert figures["parameters"] == 8
    assert 0 <= figures["seconds"] < 10
    printed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert printed == figures == json.loads((tmp_path / "results.json").read_text())


def test_without_a_model_and_baselines_there_are_none(tmp_path):
    figures = experiment.begin("trees", tmp_path).finish(None, {}, picture="leaves.png")
    assert (figures["baselines"], figures["parameters"]) == ({}, 0)


def test_figures_that_cannot_be_written_leave_the_earlier_ones(tmp_path):
    run = experiment.begin("trees", tmp_path)
    run.finish(None, {"accuracy": 0.5}, picture="leaves.png")
    with pytest.raises(TypeError):
        run.finish(None, {"accuracy": 0.7}, picture="leaves.png", kind=object())
    assert json.loads((tmp_path / "results.json").read_text())["metrics"] == {"accuracy": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]
