"""What all examples have in common."""

import ast
import inspect
import itertools
import json
import os
import re
import subprocess
import sys

import pytest

import minicnn as mc
from tests.examples.conftest import folder, load, names

pytest.importorskip("tyro")
every_example = pytest.mark.parametrize("name", names)


@every_example
def test_the_options_are_keyword_arguments_of_main_and_annotated(name):
    main = load(name).main
    for option in inspect.signature(main).parameters.values():
        assert option.annotation is not option.empty, option
        assert option.default is not option.empty, option
        # What has a place on the command line, not a name, can be left out.
        assert option.kind is option.KEYWORD_ONLY or option.default is None, option
    assert {"out", "quick"} <= set(inspect.signature(main).parameters)


@every_example
def test_a_script_has_fewer_than_150_lines(name):
    assert len((folder / f"{name}.py").read_text().splitlines()) < 150


@every_example
def test_a_script_imports_no_other_framework_and_opens_no_window(name):
    imported = set()
    for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    first = {module.partition(".")[0] for module in imported}
    assert not first & {"torch", "tensorflow", "jax", "keras", "torchvision", "torchaudio"}
    assert "matplotlib.pyplot" not in imported


@pytest.mark.parametrize(
    ("name", "library"),
    [("onset", "librosa"), ("recommendation", "sklearn"), ("conv_arithmetic", "matplotlib"),
     ("lenet5", "tyro")],
)  # fmt: skip
def test_a_missing_library_is_said_in_one_line(name, library, tmp_path):
    missing = f"import runpy, sys; sys.modules[{library!r}] = None; sys.argv = sys.argv[1:]; "
    code = f"{missing} runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, str(folder / f"{name}.py"), "--quick"]
    environment = {**os.environ, "PYTHONPATH": str(folder.parent)}
    options = dict(capture_output=True, text=True, cwd=tmp_path)
    result = subprocess.run(command, env=environment, **options)
    (line,) = result.stderr.splitlines()
    assert result.returncode == 1
    assert line.startswith(f"{name}: ")
    assert library in line
    assert "pip install" in line


@every_example
def test_the_help_names_the_paper_or_slide_and_lists_every_option(name):
    environment = {**os.environ, "PYTHONPATH": str(folder.parent), "COLUMNS": "100"}
    command = [sys.executable, str(folder / f"{name}.py"), "--help"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    text = result.stdout
    about = text.partition("options")[0]
    assert re.search("slide", about)
    assert re.search(r"(19|20)\d\d", about)  # the year of a paper
    assert f"python examples/{name}.py" in about
    for option in inspect.signature(load(name).main).parameters.values():
        keyword = option.kind is option.KEYWORD_ONLY
        written = f"--{option.name.replace('_', '-')}" if keyword else option.name.upper()
        assert written in text, option


@every_example
def test_a_quick_run_returns_its_figures_writes_them_and_draws(name, quick):
    figures, out = quick(name)
    wanted = {"example", "metrics", "baselines", "picture", "parameters", "seconds"}
    assert wanted <= figures.keys()
    assert figures["example"] == name
    assert all(isinstance(value, float) for value in figures["metrics"].values())
    assert json.loads((out / "results.json").read_text()) == figures
    assert (out / figures["picture"]).read_bytes().startswith(b"\x89PNG")
    for picture in out.glob("*.png"):
        assert picture.stat().st_size > 5_000, picture


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "step"),
    [("lenet5", 100), ("image_networks", 30), ("tagging", 20), ("recommendation", 20),
     ("onset", 60), ("voice", 30), ("instruments", 30), ("crepe", 40), ("salience", 12)],
)  # fmt: skip
def test_an_interrupted_run_goes_on_to_the_same_figures(name, step, quick, tmp_path, monkeypatch):
    steps = itertools.count(1)

    def interrupted(optimizer):
        """Forget the gradients before each step, but press Ctrl-C before one of them."""
        if next(steps) == step:
            raise KeyboardInterrupt
        zero_grad(optimizer)

    whole, _ = quick(name)
    zero_grad = mc.optim.Optimizer.zero_grad
    with monkeypatch.context() as patched:
        patched.setattr(mc.optim.Optimizer, "zero_grad", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load(name).main(quick=True, out=tmp_path)
    resumed = load(name).main(quick=True, out=tmp_path, resume=True)
    assert {**resumed, "seconds": 0} == {**whole, "seconds": 0}
