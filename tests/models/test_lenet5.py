"""LeNet-5 against the numbers of its paper: LeCun et al., 1998, section II.B."""

import numpy as np
import pytest

import minicnn as mc
from minicnn import models
from minicnn.models.lenet5 import CONNECTIONS, digit_bitmaps, map_loss


def sizes(module):
    return sum(parameter.size for parameter in module.parameters())


def test_the_layers_have_the_papers_numbers_of_trainable_parameters():
    model = models.lenet5()
    layers = ("C1", "S2", "C3", "S4", "C5", "F6", "OUT")
    counts = {name: sizes(getattr(model, name)) for name in layers}
    assert counts == dict(C1=156, S2=12, C3=1516, S4=32, C5=48120, F6=10164, OUT=0)
    assert sizes(model) == 60_000


def test_the_modern_variant_has_61706_parameters():
    assert sizes(models.lenet5("modern")) == 61_706


@pytest.mark.parametrize("variant", ["paper", "modern"])
def test_the_shapes_are_those_of_the_slide(variant):
    model = models.lenet5(variant)
    x = mc.Tensor(np.zeros((1, 1, 32, 32), np.float32))
    shapes = []
    for layer in (model.C1, model.S2, model.C3, model.S4, model.C5):
        x = model.activation(layer(x))
        shapes.append(x.shape[1:])
    assert shapes == [(6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120, 1, 1)]
    assert model.F6(x.reshape(1, 120)).shape == (1, 84)
    assert model(mc.Tensor(np.zeros((3, 1, 32, 32), np.float32))).shape == (3, 10)


def test_the_connections_are_those_of_table_one():
    assert [len(inputs) for inputs in CONNECTIONS] == [3] * 6 + [4] * 9 + [6]
    assert sum(map(len, CONNECTIONS)) == 60
    # Every map of S2 feeds ten maps of C3, and no two maps of C3 see the same inputs.
    assert [sum(i in inputs for inputs in CONNECTIONS) for i in range(6)] == [10] * 6
    assert len(set(CONNECTIONS)) == 16


def test_a_map_of_c3_sees_the_maps_it_is_connected_to_and_no_other():
    layer = models.lenet5().C3
    x = mc.Tensor(np.random.default_rng(0).standard_normal((1, 6, 5, 5)), requires_grad=True)
    for output, inputs in enumerate(CONNECTIONS):
        x.grad = None
        layer.to(np.float64)(x)[:, output].sum().backward()
        assert tuple(np.flatnonzero(x.grad.any(axis=(0, 2, 3)))) == inputs


def test_subsampling_scales_and_shifts_the_sum_of_four():
    layer = models.lenet5().S2
    layer.weight.data[...], layer.bias.data[...] = 2, 1
    x = mc.Tensor(np.arange(6 * 16, dtype=np.float32).reshape(1, 6, 4, 4))
    assert layer(x).data[0, 0].tolist() == [[2 * 10 + 1, 2 * 18 + 1], [2 * 42 + 1, 2 * 50 + 1]]


def test_a_digit_is_the_one_whose_bitmap_is_nearest():
    model = models.lenet5()
    bitmaps = mc.Tensor(digit_bitmaps().astype(np.float32))
    distances = model.OUT(bitmaps).data
    assert np.diag(distances).tolist() == [0] * 10
    assert (distances + np.eye(10) * 1e9 >= 4).all()  # every two digits differ in a pixel
    assert "OUT.weight" in model.state_dict()
    assert "OUT.weight" not in dict(model.named_parameters())


def test_bitmaps_are_seven_by_twelve_and_plus_or_minus_one():
    bitmaps = digit_bitmaps()
    assert bitmaps.shape == (10, 84)
    assert set(bitmaps.ravel()) == {-1, 1}
    seven = bitmaps[7].reshape(12, 7)
    assert (seven[1] == 1).all()
    assert (seven[[0, 11]] == -1).all()


def test_every_weight_begins_within_2_4_over_its_fan_in():
    model = models.lenet5(rng=0)
    fan_ins = dict(C1=25, S2=4, S4=4, C5=400, F6=120)
    for name, fan_in in fan_ins.items():
        largest = abs(getattr(model, name).weight.data).max()
        assert 0.5 * 2.4 / fan_in < largest <= 2.4 / fan_in
    c3 = abs(model.C3.weight.data).max(axis=(1, 2))
    assert c3[:18].max() <= 2.4 / 75
    assert 2.4 / 150 > c3[-6:].max() > 0.9 * 2.4 / 150


def test_the_map_criterion_is_equation_nine():
    y = np.random.default_rng(0).uniform(1, 9, (4, 10))
    labels = np.array([3, 0, 9, 9])
    j = 2.0
    expected = y[np.arange(4), labels] + np.log(np.exp(-j) + np.exp(-y).sum(axis=1))
    assert float(map_loss(mc.Tensor(-y), labels, j=j)) == pytest.approx(expected.mean())


def test_the_map_criterion_has_the_right_gradient():
    labels = np.array([3, 0])
    logits = mc.Tensor(np.random.default_rng(0).standard_normal((2, 10)), requires_grad=True)
    assert mc.gradcheck(lambda x: map_loss(x, labels), logits)


def test_the_map_criterion_has_no_label_for_the_rubbish_class():
    with pytest.raises(ValueError, match="labels run from 3 to 10; 10 classes are 0 to 9"):
        map_loss(mc.Tensor(np.zeros((2, 10), np.float32)), np.array([3, 10]))


def test_an_unknown_variant_is_refused():
    with pytest.raises(ValueError, match="variant is 'new'; it takes 'paper' or 'modern'"):
        models.lenet5("new")
