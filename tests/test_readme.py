"""The README's code runs as it stands, and its commands are those of the Makefile."""

import re
from pathlib import Path

root = Path(__file__).parents[1]
readme = (root / "README.md").read_text()


def test_the_python_blocks_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)
    assert len(blocks) >= 3
    names: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    accuracy, checked, *table = capsys.readouterr().out.splitlines()
    assert float(accuracy) > 0.9
    assert any("406,253" in line for line in table)
    assert checked == "True"
    assert (tmp_path / "stripes.safetensors").exists()


def test_the_commands_are_targets_of_the_makefile():
    targets = re.findall(r"^(\w+):", (root / "Makefile").read_text(), flags=re.MULTILINE)
    named = set(re.findall(r"make (run|test|bench|\w+)  ", readme))
    assert {"run", "test"} <= named <= set(targets)


def test_every_promise_has_its_row():
    files = [*(root / "tests" / "reliability").glob("test_*.py")]
    assert len(files) >= 3
    for path in files:
        promise = re.search('^PROMISE = "(.+)"', path.read_text(), flags=re.MULTILINE)[1]
        assert f"| [{promise}](tests/reliability/{path.name}) |" in readme


def test_the_extras_are_those_of_setup():
    setup = (root / "setup.py").read_text()
    for extra in ("examples", "audio", "plot", "data", "gpu12", "gpu13", "test", "bench", "lint"):
        assert f'"{extra}":' in setup
        assert f"`{extra}`" in readme
