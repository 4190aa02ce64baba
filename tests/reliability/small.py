"""Every model, at a size at which all of them can be trained again and again."""

from dataclasses import replace

import pytest

from tests.models import entries

# Layers are the same at a quarter of the width, where 98 % of the time would go into 140 million
# weights; sample_cnn learns from three clips as it does from six; and FCN, whose input cannot be
# shorter, from one, or from two where its last layers leave one point of a clip, which alone has no
# variance to normalise by.
_NARROW = {"alexnet", "vgg11", "vgg13", "vgg16", "vgg19"}
_CLIPS = {"fcn3": 1, "fcn4": 1, "fcn5": 1, "fcn6": 2, "fcn7": 2, "sample_cnn": 3}


def _small(entry):
    if entry.name in _NARROW:
        return replace(entry, options={**entry.options, "width": 0.25})
    return replace(entry, batch=_CLIPS.get(entry.name, entry.batch))


ENTRIES = {str(entry): _small(entry) for entry in entries.ENTRIES}
# Between them they have every kind of layer, and both kinds of chance: dropout and noise.
QUICK = ("lenet5", "spiral_cnn-1", "crepe-tiny")


def of_models(names=tuple(ENTRIES), quick=QUICK):
    """Return a mark: a test of these models, which is quick for some."""
    return pytest.mark.parametrize(
        "entry",
        [
            pytest.param(ENTRIES[name], id=name, marks=() if name in quick else pytest.mark.torture)
            for name in names
        ],
    )
