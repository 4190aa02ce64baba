"""Pictures with a time axis: what is drawn is what was given."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from minicnn.audio import plot
from minicnn.audio.windows import Prediction


def test_tags_below_a_spectrogram_are_the_most_probable_ones_and_what_is_true_is_underlined():
    samples = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    probabilities = np.array([[0.1, 0.9, 0.2, 0.0], [0.1, 0.1, 0.8, 0.3]])
    names, spans = ("calm", "rock", "drums", "flute"), [(0, 1, ("rock", "calm"))]
    figure = plot.tags_below_spectrogram(
        samples, 16_000, Prediction(np.array([0.25, 0.75]), probabilities), names, spans, most=3
    )
    _, bottom, bar = figure.axes
    assert [label.get_text() for label in bottom.get_yticklabels()] == ["rock", "drums", "flute"]
    mesh, lines = bottom.collections
    assert np.array_equal(mesh.get_array(), probabilities[:, 1:].T)
    (segment,) = lines.get_segments()
    assert segment[:, 0].tolist() == [0, 1]
    assert np.allclose(segment[:, 1], 0.42)
    assert "underlined" in bar.get_ylabel()
