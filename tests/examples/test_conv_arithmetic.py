"""The slides' convolutions and poolings, and how receptive fields grow."""

import numpy as np
import pytest

from minicnn import plot
from tests.examples.conftest import load


def test_all_numbers_are_those_of_the_slides_and_of_the_formula(quick):
    figures, out = quick("conv_arithmetic")
    assert figures["metrics"]["convolutions, sizes as by the formula"] == 4
    assert figures["metrics"]["max pooling, numbers as on the slide"] == 4
    assert figures["metrics"]["lenet5, field [pixels]"] == 32
    assert figures["metrics"]["vgg16, field [pixels]"] == 212
    assert {path.name for path in out.iterdir()} == {
        "convolution.png", "pooling.png", "receptive_fields.png", "results.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "title", "counts", "outputs"),
    [
        ((4, 0, 1), "padding 0, stride 1\n4x4 to 2x2", "1221244224421221", "9999"),
        ((5, 1, 2), "padding 1, stride 2\n5x5 to 3x3", "1212124242121212424212121", "464696464"),
    ],
)
def test_a_cell_tells_how_many_see_it_or_are_seen(setting, title, counts, outputs):
    axes = plot.figure().subplots()
    load("conv_arithmetic").draw_convolution(axes, setting)
    assert axes.get_title() == title
    assert "".join(text.get_text() for text in axes.texts) == counts + outputs
    coloured = [patch for patch in axes.patches if patch.get_alpha()]
    sizes = [(patch.get_width(), patch.get_height()) for patch in coloured]
    assert sizes == [(3, 3), (1, 1)] * 2
    corners = [patch.get_xy() for patch in coloured[::2]]
    _, padding, stride = setting
    assert corners == [(-padding, -padding), (stride - padding, -padding)]


def test_all_four_kinds_of_pooling_are_drawn_beside_the_slides_numbers():
    example = load("conv_arithmetic")
    pooled = {
        name: pool(example.POOLED[None, None], 2).numpy()[0, 0]
        for name, pool in example.POOLINGS.items()
    }
    windows = example.POOLED.reshape(2, 2, 2, 2).swapaxes(1, 2).reshape(2, 2, 4)
    wanted = [windows.max(-1), windows.mean(-1), np.sqrt((windows**2).sum(-1)), windows.std(-1)]
    np.testing.assert_allclose([*pooled.values()], wanted, rtol=1e-6)
    slide, *others = example.draw_pooling(pooled).axes
    assert "".join(text.get_text() for text in slide.texts) == "1524239153347822"
    assert [axes.get_title() for axes in others] == [*pooled]
    assert [text.get_text() for text in others[0].texts] == ["5", "9", "8", "4"]


def test_fields_only_grow_on_a_networks_way():
    example = load("conv_arithmetic")
    for name in example.NETWORKS:
        fields = example.fields(name, *example.WINDOWS)
        assert len(fields) > 4
        assert fields == sorted(fields), name
    assert example.fields("vgg16", "MaxPool2d") == [6, 16, 44, 100, 212]
