"""Each picture shows what it is given."""

import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from minicnn import plot

HISTORY = [
    {"epoch": 1, "train_loss": 2.0, "valid_loss": 2.5, "valid_accuracy": 0.5},
    {"epoch": 2, "train_loss": 1.0, "valid_loss": 1.5, "valid_accuracy": 0.75},
]


def texts(axes):
    return [text.get_text() for text in axes.texts]


def images(axes):
    return [np.asarray(image.get_array()) for image in axes.get_images()]


def drawn_on(figure):
    """Return the axes that show an image."""
    return [axes for axes in figure.axes if axes.get_images()]


def test_a_figure_has_the_size_that_is_asked_for():
    assert plot.figure(5, 2).get_size_inches().tolist() == [5, 2]


def test_a_figure_is_saved_as_png_whatever_the_name(tmp_path):
    plot.save(plot.figure(2, 1), tmp_path / "picture.out")
    assert (tmp_path / "picture.out").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["picture.out"]


def test_a_figure_that_cannot_be_drawn_leaves_the_earlier_one(tmp_path):
    class Broken:
        def savefig(self, path, **options):
            path.write_bytes(b"half")
            raise RuntimeError

    (tmp_path / "picture.png").write_bytes(b"earlier")
    with pytest.raises(RuntimeError):
        plot.save(Broken(), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes() == b"earlier"


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "minicnn\[plot\]"'):
        plot.figure()


def test_curves_are_the_losses_and_the_metrics_that_are_named():
    loss, metric = plot.curves(HISTORY, valid_accuracy="accuracy").axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in loss.get_lines()}
    assert lines == {
        "train loss": [[1, 2.0], [2, 1.0]],
        "valid loss": [[1, 2.5], [2, 1.5]],
    }
    assert (loss.get_yscale(), loss.get_xlabel()) == ("log", "epoch")
    (line,) = metric.get_lines()
    assert line.get_xydata().tolist() == [[1, 0.5], [2, 0.75]]
    assert metric.get_title() == "accuracy: 0.750 at the end"


def test_curves_without_validation_are_one_line():
    history = [{"epoch": 1, "train_loss": 2.0}, {"epoch": 2, "train_loss": 1.0}]
    (loss,) = plot.curves(history).axes
    (line,) = loss.get_lines()
    assert line.get_ydata().tolist() == [2, 1]


def test_a_grid_has_each_image_with_its_title_on_a_scale_of_its_own():
    values = np.arange(-3.0, 3).reshape(3, 1, 2)
    figure = plot.grid(values, ["a", "b", "c"], columns=2, title="filters")
    shown = drawn_on(figure)
    assert len(figure.axes) == 4  # two rows of two; the last is empty
    for axes, value, name in zip(shown, values, "abc", strict=True):
        (image,) = axes.get_images()
        assert image.get_array().tolist() == value.tolist()
        assert image.get_clim() == (-np.abs(value).max(), np.abs(value).max())
        assert axes.get_title() == name
    assert figure.get_suptitle() == "filters"


def test_a_grid_that_is_not_signed_is_grey_and_colours_stay():
    (grey,) = drawn_on(plot.grid(np.ones((1, 2, 2)), signed=False))
    assert grey.get_images()[0].get_cmap().name == "gray_r"
    colours = np.random.default_rng(0).random((1, 2, 2, 3))
    (colour,) = drawn_on(plot.grid(colours))
    assert images(colour)[0].tolist() == colours[0].tolist()


def test_rows_have_as_many_images_as_each_has_on_one_scale_for_a_row():
    rows = {
        "images": np.array([[[0.0, 1]], [[0, 2]]]),
        "maps": np.array([[[-4.0], [1]], [[1], [1]], [[0], [3]]]),
        "colours": np.full((1, 1, 1, 3), 0.5),
    }
    figure = plot.rows(rows, ["one", "two"], title="layers")
    places = np.array([part.axes for part in figure.subfigs])
    names = [part.get_suptitle() for part in figure.subfigs]
    assert names == [*rows]
    for line, row in zip(places, rows.values(), strict=True):
        shown = [axes for axes in line if axes.get_images()]
        assert [images(axes)[0].tolist() for axes in shown] == row.tolist()
    assert places[0, 1].get_images()[0].get_clim() == (0, 2)
    assert places[0, 0].get_images()[0].get_cmap().name == "gray_r"
    assert places[1, 2].get_images()[0].get_clim() == (-4, 4)
    assert places[1, 2].get_images()[0].get_cmap().name == "RdBu_r"
    assert [axes.get_title() for axes in places[0]] == ["one", "two", ""]
    assert figure.get_suptitle() == "layers"


def test_a_confusion_has_counts_and_the_shares_of_each_row():
    counts = np.array([[3, 1], [0, 0]])
    (axes,) = plot.confusion(counts, ["oak", "elm"], title="trees").axes
    assert images(axes)[0].tolist() == [[0.75, 0.25], [0, 0]]
    assert texts(axes) == ["3", "1"]  # a count of nothing is not written
    assert [text.get_position() for text in axes.texts] == [(0, 0), (1, 0)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["oak", "elm"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["oak", "elm"]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("taken for", "is", "trees")


def test_bars_are_as_long_as_the_numbers_first_rows_at_the_top():
    rows = {"oak": {"ours": 0.5, "theirs": 0.25}, "elm": {"ours": 1.0, "theirs": 0.0}}
    drawn = plot.bars(rows, "accuracy", title="trees")
    (axes,), (legend,) = drawn.axes, drawn.legends
    widths = [[bar.get_width() for bar in each] for each in axes.containers]
    assert widths == [[0.5, 1.0], [0.25, 0.0]]
    assert [text.get_text() for text in legend.get_texts()] == ["ours", "theirs"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["oak", "elm"]
    low, high = axes.get_ylim()
    assert low > high
    assert (axes.get_xlabel(), axes.get_title()) == ("accuracy", "trees")


def test_bars_of_one_method_need_no_legend():
    assert not plot.bars({"oak": {"ours": 0.5}}, "accuracy").legends


def test_bars_may_begin_where_chance_is():
    (axes,) = plot.bars({"oak": {"ours": 0.75}}, "accuracy", start=0.5).axes
    assert axes.get_xlim()[0] == 0.5


def cells_of(axes):
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
    assert cells_of(axes) == {
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
