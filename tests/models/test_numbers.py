"""The numbers of the papers: parameters of every model, and every shape that is printed somewhere.

The shapes are read from a real forward pass, by looking at what each layer returns.
"""

import re
import time

import numpy as np
import pytest

import minicnn as mc
from minicnn import kernels, models, nn, ops
from minicnn.models.googlenet import auxiliary_cross_entropy
from minicnn.nn.module import intercept

# name, options, trainable parameters, and where the number is from. "Sum" is the sum over the
# layers that the source prints; the others are published.
PARAMETERS = [
    ("lenet5", {}, 60_000, "LeCun et al. 1998, II.B"),
    ("lenet5", dict(variant="modern"), 61_706, "sum"),
    ("alexnet", {}, 60_965_224, "sum; Krizhevsky et al. 2012: 60 million"),
    ("alexnet", dict(variant="torchvision"), 61_100_840, "torchvision"),
    ("vgg11", {}, 132_863_336, "torchvision"),
    ("vgg13", {}, 133_047_848, "torchvision"),
    ("vgg16", {}, 138_357_544, "torchvision"),
    ("vgg19", {}, 143_667_240, "torchvision"),
    ("vgg11", dict(batch_norm=True), 132_868_840, "torchvision"),
    ("vgg13", dict(batch_norm=True), 133_053_736, "torchvision"),
    ("vgg16", dict(batch_norm=True), 138_365_992, "torchvision"),
    ("vgg19", dict(batch_norm=True), 143_678_248, "torchvision"),
    ("googlenet", {}, 6_998_552, "sum"),
    ("googlenet", dict(auxiliary=True), 13_378_280, "sum"),
    ("googlenet", dict(variant="torchvision"), 6_624_904, "torchvision"),
    ("googlenet", dict(variant="torchvision", auxiliary=True), 13_004_888, "torchvision"),
    ("resnet18", {}, 11_689_512, "torchvision"),
    ("resnet34", {}, 21_797_672, "torchvision"),
    ("resnet50", {}, 25_557_032, "torchvision"),
    ("mel_cnn_1d", {}, 66_784, "musicnn-training: 66k"),
    ("mel_cnn_2d", {}, 605_748, "musicnn-training: 605k"),
    ("mel_cnn_2d", dict(filters=32), 40_884, "musicnn-training: 40k"),
    ("fcn3", {}, 16_039_218, "sum"),
    ("fcn4", {}, 17_365_938, "sum"),
    ("fcn4", dict(variant="lecture"), 17_365_938, "sum"),
    ("fcn5", {}, 25_183_026, "sum"),
    ("fcn6", {}, 27_232_050, "sum"),
    ("fcn7", {}, 28_283_698, "sum"),
    ("sample_cnn", {}, 1_869_874, "Lee et al. 2017: 1.9 million"),
    ("sample_cnn", dict(m=2, n=13), 1_872_818, "sum"),
    ("recommender", {}, 9_393_704, "sum"),
    ("onset_cnn", {}, 289_693, "sum"),
    ("voice_cnn", {}, 1_408_225, "Schlüter & Grill 2015: 1.41 million"),
    ("spiral_cnn", dict(arch=1), 35_944, "Lostanlen & Cella 2016, table 2: 36k"),
    ("spiral_cnn", dict(arch=2), 19_720, "table 2: 20k"),
    ("spiral_cnn", dict(arch=3), 55_080, "table 2: 55k"),
    ("spiral_cnn", dict(arch=4), 92_584, "table 2: 93k"),
    ("spiral_cnn", dict(arch=5), 127_944, "table 2: 128k"),
    ("spiral_cnn", dict(arch=6), 111_720, "table 2: 111k"),
    ("spiral_cnn", dict(arch=7), 147_080, "table 2: 147k"),
    ("spiral_cnn", dict(arch=8), 157_784, "table 2: 158k"),
    ("crepe", dict(capacity="tiny"), 486_552, "sum"),
    ("crepe", dict(capacity="small"), 1_628_104, "sum"),
    ("crepe", dict(capacity="medium"), 5_877_288, "sum"),
    ("crepe", dict(capacity="large"), 12_747_912, "sum"),
    ("crepe", {}, 22_239_976, "Kim et al. 2018: 22.2 million"),
    ("deep_salience", {}, 406_253, "sum"),
]


@pytest.mark.parametrize(("name", "options", "count", "source"), PARAMETERS)
def test_a_model_has_the_parameters_of_its_paper(name, options, count, source, undrawn):
    model = models.create(name, **options)
    assert sum(parameter.size for parameter in model.parameters()) == count, source


def test_every_model_stands_in_the_table_of_parameters():
    assert {name for name, *_ in PARAMETERS} == set(models.available())


def test_the_published_number_of_the_onset_network_counts_weights_without_biases():
    named = models.onset_cnn().named_parameters()
    assert sum(p.size for name, p in named if name.endswith("weight")) == 289_406


def test_torchvisions_state_dicts_have_as_many_entries():
    counts = {
        "alexnet": 16, "vgg16": 32, "resnet18": 122, "resnet34": 218, "resnet50": 320
    }  # fmt: skip
    for name, count in counts.items():
        options = dict(variant="torchvision") if name == "alexnet" else {}
        assert len(models.create(name, **options).state_dict()) == count, name
    assert len(models.googlenet("torchvision").state_dict()) == 344
    assert len(models.googlenet("torchvision", auxiliary=True).state_dict()) == 364


def shapes(model, extent=None):
    """Return the output shape of every layer by its name, for one sample as the paper feeds it."""
    found, names = {}, {id(module): name for name, module in model.named_modules()}

    def call(module, *inputs, **options):
        output = module.forward(*inputs, **options)
        name = names[id(module)]
        # A layer that is called again gets a dash for each earlier call.
        while name in found:
            name += "'"
        found[name] = output.shape[1:]
        return output

    shape = model.input_shape if extent is None else (*model.input_shape[:-1], extent)
    with mc.no_grad(), kernels.use(kernels.outline), intercept(call):
        model.eval()(mc.Tensor(np.zeros((1, *shape), np.float32)))
    return found


def chosen(model, *names):
    found = shapes(model)
    return [found[name] for name in names]


@pytest.mark.parametrize("variant", ["paper", "modern"])
def test_lenet5_of_the_lectures_slide(variant):
    # The figure: C1 6@28x28, S2 6@14x14, C3 16@10x10, S4 16@5x5, C5 120, F6 84, OUTPUT 10.
    assert chosen(models.lenet5(variant), "C1", "S2", "C3", "S4", "C5", "F6", "OUT") == [
        (6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120, 1, 1), (84,), (10,)
    ]  # fmt: skip


def test_alexnet_of_figure_2():
    # Krizhevsky et al. 2012, figure 2, both GPUs together: 55x55x96, 27x27x256, 13x13x384, twice,
    # 13x13x256, 4096, 4096, 1000.
    layers = ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8")
    assert chosen(models.alexnet(), *layers) == [
        (96, 55, 55), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13),
        (4096,), (4096,), (1000,),
    ]  # fmt: skip
    assert chosen(models.alexnet(), "pool", "pool'", "pool''") == [
        (96, 27, 27), (256, 13, 13), (256, 6, 6)
    ]  # fmt: skip


def test_alexnet_sums_its_lrn_over_five_channels_as_section_3_3_does():
    norm = models.alexnet().norm
    x = np.random.default_rng(0).standard_normal((1, 9, 1, 1)) * 50
    squares = [(x[:, max(0, i - 2) : i + 3] ** 2).sum() for i in range(9)]
    expected = x.ravel() / (2 + 1e-4 * np.array(squares)) ** 0.75
    assert np.allclose(norm(mc.Tensor(x)).data.ravel(), expected, rtol=1e-12)


def test_alexnet_begins_as_section_5_says():
    model = models.alexnet(rng=0)
    for name, parameter in model.named_parameters():
        layer, kind = name.split(".")
        if kind == "weight":
            assert parameter.data.std() == pytest.approx(0.01, rel=0.05), name
        else:
            one = layer in ("conv2", "conv4", "conv5", "fc6", "fc7")
            assert (parameter.data == one).all(), name


@pytest.mark.parametrize("depth", [11, 13, 16, 19])
def test_vgg_halves_its_maps_five_times(depth, undrawn):
    # Simonyan & Zisserman 2015, table 1: a pooling after each stage of 64 to 512 channels.
    model = models.create(f"vgg{depth}")
    found = shapes(model)
    pooled = [found[f"features.{name}"] for name, layer in model.features.named_children()
              if isinstance(layer, nn.MaxPool2d)]  # fmt: skip
    assert pooled == [(64, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (512, 7, 7)]
    weighted = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(weighted) == depth


@pytest.mark.parametrize("variant", ["paper", "torchvision"])
def test_googlenet_of_table_1(variant):
    # Szegedy et al. 2015, table 1, column "output size".
    model = models.googlenet(variant)
    inceptions = [
        f"inception{name}" for name in ("3a", "3b", *(f"4{c}" for c in "abcde"), "5a", "5b")
    ]
    names = ("conv1", "pool", "conv3", "pool'", *inceptions)
    assert dict(zip(names, chosen(model, *names), strict=True)) == {
        "conv1": (64, 112, 112), "pool": (64, 56, 56), "conv3": (192, 56, 56),
        "pool'": (192, 28, 28), "inception3a": (256, 28, 28), "inception3b": (480, 28, 28),
        "inception4a": (512, 14, 14), "inception4b": (512, 14, 14), "inception4c": (512, 14, 14),
        "inception4d": (528, 14, 14), "inception4e": (832, 14, 14), "inception5a": (832, 7, 7),
        "inception5b": (1024, 7, 7),
    }  # fmt: skip


@pytest.mark.parametrize("variant", ["paper", "torchvision"])
def test_googlenets_heads_average_to_4x4_as_section_5_says(variant):
    # Szegedy et al. 2015, section 5: 4x4x512 on 4a and 4x4x528 on 4d.
    model = models.googlenet(variant, auxiliary=True)
    for head, channels in ((model.aux1, 512), (model.aux2, 528)):
        maps = mc.Tensor(np.zeros((1, channels, 14, 14), np.float32))
        assert head.pool(maps).shape == (1, channels, 4, 4)


def test_googlenets_heads_join_the_loss_with_a_weight_of_0_3():
    model = models.googlenet("torchvision", auxiliary=True, classes=5, rng=0)
    x = np.random.default_rng(0).standard_normal((2, 3, 64, 64), np.float32)
    labels = np.array([1, 4])
    outputs = model(x)
    assert [y.shape for y in outputs] == [(2, 5)] * 3
    separate = [float(ops.cross_entropy(y, labels)) for y in outputs]
    total = float(auxiliary_cross_entropy(outputs, labels))
    assert total == pytest.approx(separate[0] + 0.3 * (separate[1] + separate[2]))
    logits = model.eval()(x)
    assert logits.shape == (2, 5)
    alone = float(auxiliary_cross_entropy(logits, labels))
    assert alone == pytest.approx(float(ops.cross_entropy(logits, labels)))


@pytest.mark.parametrize(
    ("name", "widths"),
    [("resnet18", (64, 128, 256, 512)), ("resnet34", (64, 128, 256, 512)),
     ("resnet50", (256, 512, 1024, 2048))],
)  # fmt: skip
def test_resnet_of_table_1(name, widths):
    # He et al. 2016, table 1: 112x112, then stages of 56x56, 28x28, 14x14 and 7x7.
    stages = chosen(models.create(name), "conv1", "maxpool", *(f"layer{i}" for i in (1, 2, 3, 4)))
    maps = [(width, size, size) for width, size in zip(widths, (56, 28, 14, 7), strict=True)]
    assert stages == [(64, 112, 112), (64, 56, 56), *maps]


def test_resnet34_of_the_lectures_slide():
    # The column of the slide: 6, 8, 12 and 6 convolutions 3x3 of 64 to 512 filters behind conv1.
    model = models.resnet34()
    convolutions = [
        [m.out_channels for m in getattr(model, f"layer{i}").modules()
         if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
        for i in (1, 2, 3, 4)
    ]  # fmt: skip
    assert convolutions == [[64] * 6, [128] * 8, [256] * 12, [512] * 6]
    weighted = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    shortcuts = [m for m in weighted if getattr(m, "kernel_size", None) == (1, 1)]
    assert len(weighted) - len(shortcuts) == 34


def test_mel_cnn_1d_covers_all_bands_and_has_one_axis_left():
    # musicnn-training, 187 frames x 96 bands: 180x1x32, 45x32, 38x32, 9x32, 100.
    model = models.mel_cnn_1d()
    assert model.conv1.kernel_size[0] == model.n_mels == 96
    assert chosen(model, "conv1", "pool", "conv2", "pool'", "fc1") == [
        (32, 1, 180), (32, 45), (32, 38), (32, 9), (100,)
    ]  # fmt: skip


def test_mel_cnn_2d_pools_to_two_points():
    # musicnn-training, 187x96: 92x48, 46x24, 23x12, 11x6, 2x1, here with the bands first.
    pooled = chosen(models.mel_cnn_2d(), *(f"layers.{i}.pool" for i in range(5)))
    assert pooled == [(128, 48, 92), (128, 24, 46), (128, 12, 23), (128, 6, 11), (128, 1, 2)]


def test_fcn4_of_the_lecture_has_the_poolings_or_the_shapes_that_are_printed():
    # Choi et al. 2016 and the slide: MP (2, 4), (4, 5), (3, 8), (4, 8), beside 48x341x128,
    # 24x85x384, 12x21x768 and 1x1x2048. Both at once cannot be.
    def pooled(model):
        return chosen(model, *(f"layers.{i}.pool" for i in range(4)))

    printed = [(128, 48, 341), (384, 24, 85), (768, 12, 21), (2048, 1, 1)]
    model = models.fcn4()
    assert [layer.pool.kernel_size for layer in model.layers] == [(2, 4), (4, 5), (3, 8), (4, 8)]
    assert pooled(model) == [printed[0], (384, 12, 68), (768, 4, 8), printed[3]]
    assert pooled(models.fcn4("lecture")) == printed
    assert model.input_shape == (1, 96, 1366)


def test_fcn5_has_the_shapes_that_the_lecture_prints_for_fcn4():
    pooled = chosen(models.fcn5(), *(f"layers.{i}.pool" for i in range(5)))
    assert [shape[1:] for shape in pooled] == [(48, 341), (24, 85), (12, 21), (4, 4), (1, 1)]


@pytest.mark.parametrize("name", ["fcn3", "fcn4", "fcn5", "fcn6", "fcn7"])
def test_fcn_reduces_the_clip_to_one_point(name):
    model = models.create(name)
    found = shapes(model)
    assert found[f"layers.{len(model.layers) - 1}"][1:] == (1, 1)
    assert found[""] == (50,)


def test_sample_cnn_of_table_1():
    # Lee et al. 2017, table 1: 19683x128, 6561x128, 2187x128, 729x256, ... 3x256, 1x512, 1x512.
    model = models.sample_cnn()
    found = shapes(model)
    assert [found[f"layers.{i}"] for i in range(11)] == [
        (128, 19683), (128, 6561), (128, 2187), (256, 729), (256, 243), (256, 81), (256, 27),
        (256, 9), (256, 3), (512, 1), (512, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("m", "n", "samples", "milliseconds"),
    [(2, 13, 16384, 743), (2, 14, 32768, 1486), (3, 8, 19683, 893), (3, 9, 59049, 2678),
     (4, 6, 16384, 743), (4, 7, 65536, 2972), (5, 5, 15625, 709), (5, 6, 78125, 3543)],
)  # fmt: skip
def test_the_family_of_sample_cnn_of_table_2(m, n, samples, milliseconds):
    # Lee et al. 2017, table 2.
    model = models.sample_cnn(m, n)
    assert model.input_shape == (1, samples)
    assert round(model.axes[0].milliseconds(samples)) == milliseconds
    assert chosen(model, "layers.0", f"layers.{n}") == [(128, m**n), (512, 1)]


@pytest.mark.parametrize(
    ("window", "hop"),
    [(729, 729), (729, 243), (243, 243), (243, 81), (81, 81), (27, 27), (27, 9), (9, 9), (9, 3)],
)
def test_the_frame_level_variants_of_table_3(window, hop):
    # Lee et al. 2017, table 3: window and hop of the first convolution; all hear 59,049 samples.
    n = round(np.log(59049 / hop) / np.log(3))
    model = models.sample_cnn(3, n, window=window, hop=hop)
    assert (model.layers[0].conv.kernel_size, model.layers[0].conv.stride) == ((window,), (hop,))
    assert model.input_shape == (1, 59049)
    assert chosen(model, "layers.0", f"layers.{n}") == [(128, 59049 // hop), (512, 1)]


def test_recommender_of_the_articles_figure():
    # Dieleman 2014: 599 frames; 149, 73 and 35 after the poolings; 3 x 512 = 1536, 2048, 2048, 40.
    model = models.recommender()
    assert model.conv1.kernel_size == (128, 4)  # the slide: 128 (mel bin) x 4 (frames)
    layers = ("pool4", "pool2", "pool2'", "conv4", "fc1", "fc2", "fc3")
    assert chosen(model, *layers) == [
        (256, 149), (256, 73), (512, 35), (512, 32), (2048,), (2048,), (40,)
    ]  # fmt: skip


def test_recommender_pools_time_by_mean_maximum_and_norm():
    model, seen = models.recommender(rng=0).eval(), {}

    def call(module, *inputs, **options):
        output = module.forward(*inputs, **options)
        seen[id(module)] = inputs[0].data, output.data
        return output

    x = np.random.default_rng(0).standard_normal((1, 1, 128, 599), np.float32)
    with mc.no_grad(), intercept(call):
        model(x)
    maps, pooled = ops.relu(seen[id(model.conv4)][1]).data, seen[id(model.fc1)][0]
    expected = [maps.mean(axis=2), maps.max(axis=2), np.sqrt((maps**2).sum(axis=2))]
    assert np.allclose(pooled, np.concatenate(expected, axis=1), rtol=1e-5)


def test_onset_cnn_of_the_lectures_slide():
    # The slide, time first: 3 channels (15x80), 10 maps (9x78), (9x26), 20 maps (7x24), (7x8), 256.
    model = models.onset_cnn()
    assert model.input_shape == (3, 80, 15)
    assert model.conv1.kernel_size == (3, 7)  # "convolve (7x3)": wide in time, narrow in frequency
    assert chosen(model, "conv1", "pool", "conv2", "pool'", "fc1", "fc2") == [
        (10, 78, 9), (10, 26, 9), (20, 24, 7), (20, 8, 7), (256,), (1,)
    ]  # fmt: skip


def test_voice_cnn_of_section_4():
    # Schlüter & Grill 2015 and their code, time first: 113x78, 111x76, 37x25, 35x23, 33x21, 11x7.
    model = models.voice_cnn()
    assert model.input_shape == (1, 80, 115)  # the slide: 80-bin mel spec x 115 frames
    assert round(model.axes[1].milliseconds(115), -2) == 1600  # the slide: 1.6 sec
    layers = ("conv1", "conv2", "pool", "conv3", "conv4", "pool'", "fc1", "fc2", "fc3")
    assert chosen(model, *layers) == [
        (64, 78, 113), (32, 76, 111), (32, 25, 37), (128, 23, 35), (64, 21, 33), (64, 7, 11),
        (256,), (64,), (1,),
    ]  # fmt: skip


def test_spiral_cnn_of_section_5():
    # Lostanlen & Cella 2016 and their code.
    found = shapes(models.spiral_cnn(7))
    assert {name: shape[1:] for name, shape in found.items() if ".conv" in name} == {
        "plane.conv1": (92, 124), "plane.conv2": (26, 20),
        "line.conv1": (1, 124), "line.conv2": (1, 24),
        "spiral.conv1.0": (22, 124), "spiral.conv1.1": (22, 124), "spiral.conv1.2": (22, 124),
        "spiral.conv2": (3, 20),
    }  # fmt: skip
    pooled = (
        "plane.pool",
        "plane.pool'",
        "line.pool1",
        "line.pool2",
        "spiral.pool",
        "spiral.pool'",
    )
    assert [found[name][1:] for name in pooled] == [
        (30, 24), (8, 4), (1, 24), (1, 4), (7, 24), (1, 4)
    ]  # fmt: skip


def test_the_spiral_sees_bins_an_octave_apart_and_no_other():
    stream = models.spiral_cnn(1, rng=0).spiral.to(np.float64)
    x = mc.Tensor(np.random.default_rng(0).standard_normal((1, 1, 96, 9)), requires_grad=True)
    low, middle, high = (
        conv(x[:, :, 12 * octave : 12 * octave + 24])
        for conv, octave in zip(stream.conv1, (1, 2, 3), strict=True)
    )
    (low + middle + high)[:, :, 5].sum().backward()
    assert np.flatnonzero(x.grad.any(axis=(0, 1, 3))).tolist() == [
        12 + 5, 12 + 6, 12 + 7, 24 + 5, 24 + 6, 24 + 7, 36 + 5, 36 + 6, 36 + 7
    ]  # fmt: skip


def test_the_line_hears_from_1760_hertz_on():
    model = models.spiral_cnn(2, rng=0).to(np.float64)
    x = mc.Tensor(np.random.default_rng(0).standard_normal((1, 1, 96, 128)), requires_grad=True)
    model.line(x).sum().backward()
    lowest = np.flatnonzero(x.grad.any(axis=(0, 1, 3)))[0]
    assert model.fmin * 2 ** (lowest / model.bins_per_octave) == 1760


def test_crepe_of_figure_1():
    # Kim et al. 2018, figure 1: 1024; 1024x128, 128x64, 128x32, 128x16, 256x8, 512x4; 2048; 360.
    model = models.crepe()
    pools = chosen(model, "pool", *("pool" + "'" * i for i in range(1, 6)))
    assert [shape[:2] for shape in pools] == [
        (1024, 128), (128, 64), (128, 32), (128, 16), (256, 8), (512, 4)
    ]  # fmt: skip
    assert model.classifier.in_features == 2048
    assert shapes(model)[""] == (360,)
    # The slide: 1024 filters of size 512, a stride of 4, max-pooling of 2.
    first = model.conv1
    assert (first.out_channels, first.kernel_size, first.stride) == (1024, (512, 1), (4, 1))
    assert model.pool.kernel_size == (2, 1)


def test_deep_salience_keeps_the_size_of_its_input():
    # Bittner et al. 2017, figure 3; the slide: input and output have the same dimensionality.
    model = models.deep_salience()
    for frames in (1, 50, 77):
        assert shapes(model, frames)[""] == (360, frames)
    layers = ("bendy1", "bendy2", "smoothy1", "smoothy2", "distribute", "squishy")
    assert [getattr(model, name).kernel_size for name in layers] == [
        (5, 5), (5, 5), (3, 3), (3, 3), (70, 3), (1, 1)
    ]  # fmt: skip
    # The slide: 5x5, 1 semitone; 70x3, one octave.
    assert model.axes[0].cents(5) == 100
    assert model.axes[0].cents(70) > 1200


def test_deep_salience_pads_34_below_and_35_above():
    conv = models.deep_salience(rng=0).distribute.to(np.float64)
    x = mc.Tensor(np.random.default_rng(0).standard_normal((1, 64, 200, 3)), requires_grad=True)
    conv(x)[:, :, 100, 1].sum().backward()
    # Through the Fourier transform, what should be 0 is a rounding.
    seen = np.flatnonzero(abs(x.grad).max(axis=(0, 1, 3)) > 1e-9)
    assert (seen[0], seen[-1]) == (100 - 34, 100 + 35)


def deviation(model, name):
    return float(model.state_dict()[name].std())


def he(fan):
    return np.sqrt(2 / fan)


def glorot(fan_in, fan_out):
    return np.sqrt(2 / (fan_in + fan_out))


@pytest.mark.parametrize(
    ("name", "options", "weight", "expected", "bias"),
    [
        ("vgg11", {}, "features.3.weight", he(128 * 9), 0.0),
        ("vgg11", {}, "classifier.3.weight", 0.01, 0.0),
        ("googlenet", {}, "inception3a.branch2.1.conv.weight", np.sqrt(1 / (96 * 9)), 0.2),
        ("googlenet", {}, "fc.weight", np.sqrt(1 / 1024), 0.0),
        ("googlenet", dict(variant="torchvision"), "conv3.conv.weight", 0.01, None),
        ("googlenet", dict(variant="torchvision"), "fc.weight", 0.01, None),
        ("mel_cnn_1d", {}, "conv2.weight", he(32 * 8), 0.0),
        ("mel_cnn_2d", {}, "layers.1.conv.weight", he(128 * 9), 0.0),
        ("fcn4", {}, "fc.weight", glorot(2048, 50), 0.0),
        ("sample_cnn", {}, "fc.weight", glorot(512, 50), 0.0),
        ("resnet34", {}, "layer2.0.conv1.weight", he(128 * 9), None),
        ("fcn4", {}, "layers.1.conv.weight", he(128 * 9), 0.0),
        ("sample_cnn", {}, "layers.4.conv.weight", he(256 * 3), 0.0),
        ("spiral_cnn", {}, "plane.conv2.weight", he(32 * 25), 0.0),
        ("spiral_cnn", {}, "fc1.weight", np.sqrt(1 / (40 * 32)), 0.0),
        ("crepe", dict(capacity="tiny"), "conv2.weight", glorot(128 * 64, 16 * 64), 0.0),
        ("deep_salience", {}, "bendy2.weight", glorot(128 * 25, 64 * 25), 0.0),
    ],
)
def test_weights_begin_with_the_papers_deviation(name, options, weight, expected, bias):
    model = models.create(name, **options, rng=0)
    assert deviation(model, weight) == pytest.approx(expected, rel=0.03)
    if bias is not None:
        assert (model.state_dict()[weight.replace("weight", "bias")] == np.float32(bias)).all()


def test_the_voice_network_begins_with_orthogonal_filters():
    for layer in ("conv3", "fc2"):
        weight = getattr(models.voice_cnn(rng=0), layer).weight.data
        rows = weight.reshape(len(weight), -1)
        assert np.allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("alexnet", [0.5]),  # Krizhevsky et al. 2012, section 4.2
        ("vgg16", [0.5, 0.5]),  # Simonyan & Zisserman 2015, section 3.1
        ("googlenet", [0.4]),  # Szegedy et al. 2015, section 6, and 0.7 in the heads
        ("mel_cnn_2d", [0.25, 0.25, 0.25, 0.25, 0.5]),
        ("fcn4", [0.5] * 4),
        ("fcn7", [0.5] * 5),
        ("sample_cnn", [0.5]),
        ("recommender", [0.5]),
        ("onset_cnn", [0.5]),
        ("voice_cnn", [0.5]),
        ("spiral_cnn", [0.5]),
        ("crepe", [0.25]),
    ],
)
def test_dropout_has_the_papers_rate(name, rates, undrawn):
    modules = models.create(name).modules()
    assert [module.p for module in modules if isinstance(module, nn.Dropout)] == rates


def batch_norm(name):
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [f"{name}.{kind}" for kind in kinds]


def both(*names):
    return [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]


def test_the_names_of_parameters_are_torchvisions(undrawn):
    def names(name, **options):
        return list(models.create(name, **options).state_dict())

    convolutions = (f"features.{i}" for i in (0, 3, 6, 8, 10))
    dense = (f"classifier.{i}" for i in (1, 4, 6))
    assert names("alexnet", variant="torchvision") == both(*convolutions, *dense)
    convolutions = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    dense = (f"classifier.{i}" for i in (0, 3, 6))
    assert names("vgg16") == both(*(f"features.{i}" for i in convolutions), *dense)
    normalised = []
    for i in (0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40):
        normalised += both(f"features.{i}") + batch_norm(f"features.{i + 1}")
    dense = both(*(f"classifier.{i}" for i in (0, 3, 6)))
    assert names("vgg16", batch_norm=True) == normalised + dense

    expected = ["conv1.weight", *batch_norm("bn1")]
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        for i in range(blocks):
            block = f"layer{stage}.{i}"
            for layer in (1, 2, 3):
                expected += [f"{block}.conv{layer}.weight", *batch_norm(f"{block}.bn{layer}")]
            if i == 0:
                expected += [f"{block}.downsample.0.weight", *batch_norm(f"{block}.downsample.1")]
    assert names("resnet50") == expected + both("fc")

    branches = ("branch1", "branch2.0", "branch2.1", "branch3.0", "branch3.1", "branch4.1")
    modules = ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")
    blocks = [f"inception{module}.{branch}" for module in modules for branch in branches]
    expected = []
    for block in ("conv1", "conv2", "conv3", *blocks):
        expected += [f"{block}.conv.weight", *batch_norm(f"{block}.bn")]
    for head in ("aux1", "aux2"):
        expected += [f"{head}.conv.conv.weight", *batch_norm(f"{head}.conv.bn")]
        expected += both(f"{head}.fc1", f"{head}.fc2")
    found = names("googlenet", variant="torchvision", auxiliary=True)
    assert sorted(found) == sorted(expected + both("fc"))


def test_googlenet_scales_images_for_torchvisions_checkpoint():
    scaled = models.googlenet("torchvision", transform_input=True, rng=0).eval()
    plain = models.googlenet("torchvision", rng=0).eval()
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32)
    mean, deviation = np.array(scaled.mean), np.array(scaled.deviation)
    pixels = x * deviation[:, None, None] + mean[:, None, None]  # in [0, 1]
    with mc.no_grad():
        expected = plain((2 * pixels - 1).astype(np.float32)).data
        assert np.allclose(scaled(x).data, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", models.available())
def test_no_two_weights_of_a_model_are_drawn_alike(name):
    weights = [a.ravel() for a in models.create(name, rng=0).state_dict().values() if a.ndim > 1]
    begin = [tuple((w[:4] / abs(w[:4]).max()).round(4)) for w in weights if name != "lenet5"]
    assert len(set(begin)) == len(begin)


@pytest.mark.parametrize("name", models.available())
def test_every_model_tells_what_it_is_within_a_second(name, undrawn):
    model = models.create(name)
    start = time.perf_counter()
    table = mc.summary(model)
    text = str(table)
    assert time.perf_counter() - start < 1
    assert table.trainable == sum(parameter.size for parameter in model.parameters())
    assert table.multiply_adds > 0
    assert table.activations >= table.peak_activations > 4 * np.prod(model.input_shape)
    if not model.axes:
        assert "spans" not in text
        return
    assert f"{table.receptive_field[-1]}" in text
    assert re.search(r"an output every [\d.,]+ ms|one output for [\d.,]+ ms of sound", text)
    if len(model.axes) == 2:
        assert re.search(r"[\d.,]+ (Hz|cents) x [\d.,]+ ms", text)


@pytest.mark.parametrize(
    ("name", "layer", "seen", "spans"),
    [
        # The slide: the first filter covers the entire frequency range.
        ("mel_cnn_1d", "conv1", (96, 8), "8,000 Hz x 128 ms"),
        ("onset_cnn", "conv2", (11, 9), None),
        ("onset_cnn", "fc1", (80, 15), None),
        ("voice_cnn", "fc1", (79, 115), None),  # the first pooling drops the 76th row
        ("crepe", "conv1", (512,), "32 ms"),
        # The slides: 5x5 is a semitone, 70x3 an octave; all layers together see 82 bins.
        ("deep_salience", "bendy1", (5, 5), "100 cents x 58 ms"),
        ("deep_salience", "squishy", (82, 15), "1,640 cents x 174 ms"),
        ("sample_cnn", "layers.0.conv", (3,), "0.136 ms"),
    ],
)
def test_the_receptive_field_of_a_layer_is_told_in_milliseconds_and_pitch(name, layer, seen, spans):
    model = models.create(name)
    table = mc.summary(model)
    (row,) = [row for row in table.layers if row.name == layer]
    assert row.receptive_field == seen
    if spans is not None:
        (line,) = [line for line in str(table).splitlines() if line.split("  ")[0] == layer]
        assert f"  {spans}  " in line


@pytest.mark.parametrize(
    ("name", "milliseconds", "text"),
    [
        ("deep_salience", 256 / 22.05, "an output every 11.6 ms"),
        ("sample_cnn", None, "one output for 2,678 ms of sound"),
        ("crepe", None, "one output for 64 ms of sound"),
        ("onset_cnn", None, "one output for 150 ms of sound, or every 10 ms when it slides"),
        ("voice_cnn", None, "one output for 1,643 ms of sound, or every 14.3 ms when it slides"),
        ("fcn4", None, "one output for 29,141 ms of sound, or every 27,307 ms when it slides"),
    ],
)
def test_the_temporal_resolution_of_the_output(name, milliseconds, text):
    table = mc.summary(models.create(name))
    assert table.resolution == (None if milliseconds is None else pytest.approx(milliseconds))
    assert str(table).splitlines()[-1] == text


def test_a_field_that_reaches_into_the_padding_spans_no_more_than_the_input():
    last = str(mc.summary(models.crepe("tiny"))).splitlines()[-8]
    assert "17156" in last
    assert "  64 ms  " in last


def test_auxiliary_heads_that_do_not_run_are_told_of(undrawn):
    table = mc.summary(models.googlenet(auxiliary=True))
    assert table.unused == 13_378_280 - 6_998_552
    assert "6,379,728 parameters of layers that did not run" in str(table)
