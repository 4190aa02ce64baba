"""What `make torture` says of promises, and when it fails: on files made here."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

KEPT = 'PROMISE = "it is kept"\nMINUTES = 1\n\ndef test_a(count):\n    count(tries=2000)\n'
FILES = {
    "kept": KEPT,
    "partly": KEPT + "def test_of_a_disk():\n    import pytest; pytest.skip('no right to it')\n",
    "only skips": KEPT.replace("    count(tries=2000)", "    import pytest; pytest.skip('no GPU')"),
    "not imported": 'import pytest\npytest.importorskip("no_such")\n' + KEPT,
    "empty": 'PROMISE = "it is kept"\n',
    "failed": KEPT + "def test_b():\n    assert False\n",
}


def session(folder, text, *options):
    """Return the exit code and the line of a session of one file of promises."""
    (folder / "reliability").mkdir()
    file = folder / "reliability" / "test_made_here.py"
    file.write_text(text)
    (folder / "reliability" / "test_beside.py").write_text('PROMISE = "another"')
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = torture")
    plugins = ["-p", "tests.conftest", "-p", "tests.reliability.conftest"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, str(file), "--rootdir", str(folder), *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "another" not in run.stdout
    lines = [line for line in run.stdout.splitlines() if "it is kept: " in line]
    return run.returncode, lines[0] if lines else "", run.stdout


@pytest.mark.parametrize(
    ("file", "code", "state", "says"),
    [
        ("kept", 0, "kept", "2,000 tries (tests: 1 passed;"),
        ("partly", 0, "partly", "but not: of a disk (no right to it)"),
        ("only skips", 1, "FAILED", "but not: a (no GPU)"),
        ("not imported", 5, "FAILED", "but not: all of it (could not import 'no_such'"),
        ("empty", 5, "FAILED", "nothing counted"),
        ("failed", 1, "FAILED", "1 passed, 1 failed"),
    ],
)
def test_a_promise_is_kept_if_it_was_tried_and_says_what_was_not(tmp_path, file, code, state, says):
    found, line, everything = session(tmp_path, FILES[file], "--torture")
    assert found == code, everything
    assert line.startswith(state)
    assert says in line


def test_a_quick_session_may_skip_a_promise(tmp_path):
    code, line, _ = session(tmp_path, FILES["only skips"])
    assert (code, line[:7]) == (0, "skipped")


def test_who_chooses_among_tests_is_not_asked_for_the_others(tmp_path):
    code, line, _ = session(tmp_path, FILES["kept"], "--torture", "-k", "nothing")
    assert (code, line) == (5, "")
