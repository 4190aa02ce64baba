"""Points and tables: what is drawn of what is given."""

import numpy as np
import pytest

from minicnn import plot

pytest.importorskip("matplotlib")


def texts(axes):
    (table,) = axes.tables
    return {place: cell.get_text().get_text() for place, cell in table.get_celld().items()}


def test_points_have_the_colours_of_their_classes_and_few_of_them_are_gray(tmp_path):
    classes = ["jazz"] * 3 + ["folk"] * 2 + ["waltz"]
    places = np.arange(12.0).reshape(6, 2)
    drawn = plot.points({"left": places, "right": -places}, classes, "factor", most=2)
    left, right = drawn.axes
    assert (left.get_title(), right.get_title()) == ("left", "right")
    assert left.get_xlabel() == "factor"
    assert left.get_xlim() == right.get_xlim()
    groups = {each.get_label(): each.get_offsets().tolist() for each in right.collections}
    assert groups == {
        "jazz": (-places[:3]).tolist(),
        "folk": (-places[3:5]).tolist(),
        "others": (-places[5:]).tolist(),
    }
    (legend,) = drawn.legends
    assert [each.get_text() for each in legend.get_texts()] == ["others", "jazz", "folk"]
    plot.save(drawn, tmp_path / "points.png")
    assert (tmp_path / "points.png").stat().st_size > 1000


def test_a_table_has_its_texts_in_shades_of_green(tmp_path):
    rows = [["a song", "of many words that need two lines"], ["another", ""]]
    drawn = plot.table(rows, ["new", "known"], [[0, 1], [0, 0.5]], width=20, title="songs")
    (axes,) = drawn.axes
    assert axes.get_title() == "songs"
    assert texts(axes) == {
        (0, 0): "new", (0, 1): "known",
        (1, 0): "a song", (1, 1): "of many words that\nneed two lines",
        (2, 0): "another", (2, 1): "",
    }  # fmt: skip
    cells = axes.tables[0].get_celld()
    assert [cells[1, i].get_facecolor() for i in (0, 1)] == [(1, 1, 1, 1), (0.6, 0.9, 0.6, 1)]
    assert cells[1, 0].get_height() > cells[2, 0].get_height()
    plot.save(drawn, tmp_path / "table.png")
    plain = plot.table(rows, ["new", "known"])
    assert plain.axes[0].tables[0].get_celld()[1, 1].get_facecolor() == (1, 1, 1, 1)
