"""The gallery runs scripts, keeps what they did, and writes it into README.md."""

import json
import re
import sys

import pytest
from PIL import Image

from tests.examples.conftest import folder, load

gallery = load("gallery")

README = "# title\n\n<!-- gallery -->\n<!-- /gallery -->\n\nafter it\n"
SCRIPT = '''"""Do notes {name}? A network | finds out.

More about it.
"""
import json, pathlib, sys
from PIL import Image

out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
out.mkdir(parents=True)
Image.new("RGB", ({width}, 300), "red").save(out / "best.png")
figures = dict(example="{name}", metrics=dict(f_measure={score}, cents=12.34), picture="best.png",
               baselines={{"spectral flux": 0.5}}, parameters=1234, seconds=1.0)
(out / "results.json").write_text(json.dumps(figures))
'''


@pytest.fixture
def root(tmp_path):
    """Return a folder with a README and three examples: of two, one has a wide picture."""
    (tmp_path / "examples").mkdir()
    (tmp_path / "README.md").write_text(README)
    for name, width in (("begin", 1800), ("end", 600), ("gallery", 10)):
        write(tmp_path, name, width=width)
    return tmp_path


def write(root, name, score=0.9712, width=600, more=""):
    text = SCRIPT.format(name=name, score=score, width=width) + more
    (root / "examples" / f"{name}.py").write_text(text)


def rows(root):
    """Return the rows of the README's table by their names."""
    text = (root / "README.md").read_text()
    between = text.partition(gallery.BEGIN)[2].partition(gallery.END)[0]
    return {found[2]: found[1] for found in re.finditer(r"^(\| \[`(\w+)`\].*)$", between, re.M)}


def test_every_script_but_itself_has_a_row(root):
    gallery.main(root=root)
    assert list(rows(root)) == ["begin", "end"]
    for part in (
        "[`begin`](examples/begin.py)<br>Do notes begin?",
        '<img src="docs/gallery/begin.png"',
        "f measure 0.971<br>cents 12.3",
        "spectral flux 0.500",
        "1,234",
        "0 min 0",
    ):
        assert part in rows(root)["begin"]
    assert "finds out" not in rows(root)["begin"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.000"),
        (0.98765, "0.988"),
        (12.34, "12.3"),
        (6.0, "6"),
        (12345.0, "12,345"),
        (0, "0.000"),
    ],
)
def test_numbers_are_as_short_as_one_reads_them(value, text):
    assert gallery.short(value) == text


def test_a_script_without_a_network_has_no_parameters():
    figures = dict(task="it draws", picture="a.png", metrics={}, baselines={}, parameters=0)
    cells = gallery.row("draw", figures | {"whole_seconds": 61}).split(" | ")
    assert cells[2:] == ["", "", "", "1 min 01 s |"]


def test_what_stands_around_the_table_stays(root):
    gallery.main(root=root)
    text = (root / "README.md").read_text()
    assert text.startswith("# title\n\n<!-- gallery -->\n")
    assert text.endswith("<!-- /gallery -->\n\nafter it\n")
    gallery.main(root=root)
    assert (root / "README.md").read_text().count("[`begin`]") == 1


def test_above_the_table_stand_the_machine_and_the_date(root, monkeypatch):
    monkeypatch.setattr(gallery, "machine", lambda: "a processor, 2 cores")
    monkeypatch.setattr(gallery.time, "strftime", lambda _: "2026-02-03")
    gallery.main(root=root)
    above = (root / "README.md").read_text().partition("| example")[0]
    assert "2026-02-03: a processor, 2 cores." in above
    assert "generated on the\nspot" in above


def test_machines_of_several_runs_are_all_named(root, monkeypatch):
    monkeypatch.setattr(gallery.time, "strftime", lambda _: "2026-02-03")
    for name, machine in (("begin", "a laptop, 8 cores"), ("end", "a server, 64 cores")):
        monkeypatch.setattr(gallery, "machine", lambda machine=machine: machine)
        gallery.main(only=(name,), root=root)
    above = (root / "README.md").read_text().partition("| example")[0]
    assert "2026-02-03: a laptop, 8 cores (begin); 2026-02-03: a server, 64 cores (end)." in above


def test_this_machine_has_a_name_and_cores():
    assert re.fullmatch(r"\S.*, [1-9]\d* cores", gallery.machine())


def test_wide_pictures_become_smaller_and_small_ones_stay(root):
    gallery.main(root=root)
    with Image.open(root / "docs/gallery/begin.png") as wide:
        assert wide.size == (900, 150)
    with Image.open(root / "docs/gallery/end.png") as small:
        assert small.size == (600, 300)


def test_only_some_are_run_and_the_other_rows_stay(root):
    gallery.main(root=root)
    for name in ("begin", "end"):
        write(root, name, score=0.5)
    gallery.main(only=("end",), root=root)
    assert "f measure 0.971" in rows(root)["begin"]
    assert "f measure 0.500" in rows(root)["end"]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("raise ValueError('no such bank')", "begin failed: ValueError: no such bank"),
        ("sys.exit('begin: no sound')", "begin failed: begin: no sound"),
        ("sys.exit(3)", "begin failed: it ended with 3"),
        ("(out / 'results.json').unlink()", "begin failed: .*No such file.*results.json"),
        ("(out / 'best.png').unlink()", "begin failed: .*No such file.*best.png"),
        ("(out / 'results.json').write_text('{}')", "begin failed: its results lack 'picture'"),
        ("(out / 'results.json').write_text('{')", "begin failed: Expecting property name"),
    ],
)
def test_a_script_that_fails_is_named_and_keeps_its_row(root, more, message):
    gallery.main(root=root)
    write(root, "begin", score=0.1, more=more)
    write(root, "end", score=0.5)
    with pytest.raises(SystemExit, match=message):
        gallery.main(root=root)
    assert "f measure 0.971" in rows(root)["begin"]
    assert "f measure 0.500" in rows(root)["end"]


def test_a_script_that_never_succeeded_has_no_row(root):
    write(root, "begin", more="sys.exit(1)")
    with pytest.raises(SystemExit):
        gallery.main(root=root)
    assert list(rows(root)) == ["end"]


def test_a_script_that_is_gone_loses_its_row(root):
    gallery.main(root=root)
    (root / "examples/begin.py").unlink()
    gallery.main(only=("end",), root=root)
    assert list(rows(root)) == ["end"]


def test_what_is_left_after_an_interruption_is_named_and_what_was_done_is_written(
    root, monkeypatch
):
    run = gallery.run

    def interrupted(name, root):
        if name == "end":
            raise KeyboardInterrupt
        return run(name, root)

    monkeypatch.setattr(gallery, "run", interrupted)
    with pytest.raises(SystemExit, match="interrupted; go on with --only end$"):
        gallery.main(root=root)
    assert list(rows(root)) == ["begin"]


def test_the_readme_is_written_whole_or_not_at_all(root, monkeypatch):
    gallery.main(root=root)
    before = (root / "README.md").read_text()

    written = type(root).write_text

    def half(path, text):
        written(path, text[: len(text) // 2])
        raise OSError("the disk is full")

    monkeypatch.setattr(type(root), "write_text", half)
    with pytest.raises(OSError, match="the disk is full"):
        gallery.write(root)
    assert (root / "README.md").read_text() == before
    assert {path.name for path in root.iterdir()} == {"README.md", "docs", "examples", "runs"}


@pytest.mark.parametrize(
    "text", ["", "<!-- gallery -->\n", "<!-- /gallery -->\n<!-- gallery -->\n"]
)
def test_a_readme_without_marks_is_refused_before_anything_runs(root, text):
    (root / "README.md").write_text(text)
    with pytest.raises(ValueError, match="README.md takes a line <!-- gallery -->, and below it"):
        gallery.main(root=root)
    assert not (root / "runs").exists()
    assert (root / "README.md").read_text() == text


def test_a_script_that_is_not_there_is_refused(root):
    with pytest.raises(ValueError, match="there is no middle; there are begin, end"):
        gallery.main(only=("begin", "middle"), root=root)
    assert not (root / "runs").exists()


def test_the_command_line_takes_names(root, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gallery.py"])
    gallery.experiment.command_line(gallery.main, ["--only", "end", "--root", str(root)])
    assert list(rows(root)) == ["end"]


ours = folder.parent
made = rows(ours)


def test_the_readme_says_what_is_in_the_gallery():
    text = (ours / "README.md").read_text()
    assert f"<!-- gallery -->\n{gallery.section(ours)}<!-- /gallery -->\n" in text


@pytest.mark.skipif(not made, reason="`make gallery` has not been run")
def test_every_example_has_a_row_and_every_row_an_example():
    assert list(made) == gallery.scripts(ours)


@pytest.mark.parametrize("name", made)
def test_a_row_says_what_its_script_does_and_shows_a_picture(name):
    assert gallery.task(folder / f"{name}.py") in made[name]
    with Image.open(ours / "docs/gallery" / f"{name}.png") as picture:
        assert picture.width <= gallery.WIDTH


@pytest.mark.parametrize("name", made)
def test_a_row_has_as_many_parameters_as_the_network_of_its_script(name, quick):
    figures = json.loads((ours / "docs/gallery" / f"{name}.json").read_text())
    assert figures["parameters"] == quick(name)[0]["parameters"]
