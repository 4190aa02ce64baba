"""The table of a model's layers: its rows as data, its text, and what it leaves untouched."""

import time
from fractions import Fraction

import numpy as np
import pytest

import minicnn as mc
from minicnn import models, nn, ops
from minicnn.autograd import primitive
from minicnn.axes import ConstantQ, MelBands, Time
from tests.kernels.foreign import ForeignArray

ACTIVATIONS = ("ReLU", "ScaledTanh")


def numbers(layer):
    """Return a row but for its name and class."""
    return (
        layer.output_shape,
        layer.parameters,
        layer.multiply_adds,
        layer.receptive_field,
        layer.stride,
    )


def row(table, name):
    """Return the cells of the only line of a table that begins with this name."""
    (line,) = (line for line in str(table).splitlines() if line.startswith(f"{name}  "))
    return [cell.strip() for cell in line.split("  ") if cell]


def test_lenet5_of_the_paper_row_by_row():
    layers = mc.summary(models.lenet5(), (1, 32, 32)).layers
    rows = {layer.name: numbers(layer) for layer in layers if layer.kind not in ACTIVATIONS}
    assert rows == {
        "C1": ((6, 28, 28), 156, 6 * 28 * 28 * 25, (5, 5), (1, 1)),
        "S2": ((6, 14, 14), 12, 0, (6, 6), (2, 2)),
        # The kernels of zeros between unconnected maps are multiplied too.
        "C3": ((16, 10, 10), 1516, 16 * 10 * 10 * 6 * 25, (14, 14), (2, 2)),
        "S4": ((16, 5, 5), 32, 0, (16, 16), (4, 4)),
        "C5": ((120, 1, 1), 48120, 120 * 16 * 25, (32, 32), (4, 4)),
        "F6": ((84,), 10164, 120 * 84, (32, 32), (None, None)),
        "OUT": ((10,), 0, 0, (32, 32), (None, None)),
        "": ((10,), 0, 0, (32, 32), (None, None)),
    }


def test_lenet5_of_today_row_by_row():
    layers = mc.summary(models.lenet5("modern"), (1, 32, 32)).layers
    rows = [(layer.kind, *numbers(layer)) for layer in layers if layer.kind not in ACTIVATIONS]
    assert rows == [
        ("Conv2d", (6, 28, 28), 156, 6 * 28 * 28 * 25, (5, 5), (1, 1)),
        ("MaxPool2d", (6, 14, 14), 0, 0, (6, 6), (2, 2)),
        ("Conv2d", (16, 10, 10), 2416, 16 * 10 * 10 * 6 * 25, (14, 14), (2, 2)),
        ("MaxPool2d", (16, 5, 5), 0, 0, (16, 16), (4, 4)),
        ("Conv2d", (120, 1, 1), 48120, 120 * 16 * 25, (32, 32), (4, 4)),
        ("Linear", (84,), 10164, 120 * 84, (32, 32), (None, None)),
        ("Linear", (10,), 850, 84 * 10, (32, 32), (None, None)),
        ("ModernLeNet5", (10,), 0, 0, (32, 32), (None, None)),
    ]


def test_totals_count_what_is_trained_what_is_not_and_their_bytes():
    table = mc.summary(models.lenet5(), (1, 32, 32))
    assert (table.trainable, table.fixed) == (60_000, 10 * 84)
    assert table.size == 4 * 60_840
    assert table.multiply_adds == 117_600 + 240_000 + 48_000 + 10_080


def test_the_table_shows_the_figures_of_a_layer_in_its_row():
    table = mc.summary(models.lenet5(), (1, 32, 32))
    cells = ["C3", "PartialConv2d", "(16, 10, 10)", "1,516", "240,000", "14 x 14", "2 x 2"]
    assert row(table, "C3") == cells
    assert row(table, "F6") == ["F6", "Linear", "(84,)", "10,164", "10,080", "32 x 32", "-"]


def test_the_table_is_aligned_and_ends_with_the_totals():
    header, rule, *lines = str(mc.summary(models.lenet5(), (1, 32, 32))).splitlines()
    end = lines.index(rule)
    shape, count = header.index("output shape"), header.index("parameters") + len("parameters")
    assert all(line[shape] == "(" and line[count - 1].isdigit() for line in lines[:end])
    assert all(line[shape - 2 : shape] == line[count : count + 2] == "  " for line in lines[:end])
    assert lines[end + 1 :] == [
        "60,000 trainable parameters",
        "840 other parameters and buffers",
        "243,360 bytes for all of them",
        "415,680 multiply-adds per sample",
        "41,728 bytes of activations at once, 110,180 in all",
    ]


def test_lenet5_keeps_its_image_and_twice_the_maps_of_c1_at_once():
    table = mc.summary(models.lenet5(), (1, 32, 32))
    assert table.peak_activations == 4 * (32 * 32 + 2 * 6 * 28 * 28)


def test_rows_stand_in_the_order_of_the_calls():
    layers = mc.summary(models.lenet5(), (1, 32, 32)).layers
    names = [layer.name for layer in layers if layer.kind not in ACTIVATIONS]
    assert names == ["C1", "S2", "C3", "S4", "C5", "F6", "OUT", ""]


def alexnet():
    """Return AlexNet as torchvision builds it."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(9216, 4096),
        nn.Linear(4096, 4096),
        nn.Linear(4096, 1000),
    )


def vgg16():
    """Return VGG-16 without its classifier, which holds most of the weights."""
    layers, channels = [], 3
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            layers.append(nn.Conv2d(channels, width, 3, padding=1))
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


class BasicBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride > 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(ops.relu(self.bn1(self.conv1(x)))))
        return ops.relu(y + (x if self.downsample is None else self.downsample(x)))


def resnet34():
    layers = [nn.Conv2d(3, 64, 7, 2, padding=3, bias=False), nn.BatchNorm2d(64)]
    layers.append(nn.MaxPool2d(3, 2, padding=1))
    channels = 64
    for width, depth in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for i in range(depth):
            layers.append(BasicBlock(channels, width, 2 if i == 0 and width > 64 else 1))
            channels = width
    return nn.Sequential(*layers, nn.GlobalAvgPool(), nn.Linear(512, 1000))


def test_alexnet_needs_714_million_multiply_adds_and_sees_195_pixels():
    table = mc.summary(alexnet(), (3, 224, 224))
    assert (table.trainable, table.multiply_adds) == (61_100_840, 714_188_480)
    pooled = table.layers[7]
    assert (pooled.receptive_field, pooled.stride) == ((195, 195), (32, 32))


def test_vgg16_needs_15_billion_multiply_adds_and_sees_212_pixels():
    table = mc.summary(vgg16(), (3, 224, 224))
    classifier = 512 * 7 * 7 * 4096 + 4096 * 4096 + 4096 * 1000
    assert table.multiply_adds + classifier == 15_470_264_320
    pooled = table.layers[-1]
    assert (pooled.receptive_field, pooled.stride) == ((212, 212), (32, 32))


def test_resnet34_needs_4_billion_multiply_adds_and_sees_899_pixels():
    table = mc.summary(resnet34(), (3, 224, 224))
    assert (table.trainable, table.multiply_adds) == (21_797_672, 3_663_761_408)
    block = table.layers[-3]
    assert (block.name, block.kind, block.output_shape) == ("18", "BasicBlock", (512, 7, 7))
    assert (block.receptive_field, block.stride) == ((899, 899), (32, 32))


def test_a_block_that_calls_operations_has_a_row_after_its_layers_and_a_mere_container_none():
    table = mc.summary(nn.Sequential(BasicBlock(2, 4, 2)), (2, 8, 8))
    names = ["0.conv1", "0.bn1", "0.conv2", "0.bn2", "0.downsample.0", "0.downsample.1", "0"]
    assert [layer.name for layer in table.layers] == names
    assert [layer.receptive_field[0] for layer in table.layers] == [3, 3, 7, 7, 1, 1, 7]
    assert sum(layer.parameters for layer in table.layers) == table.trainable


def test_grouped_and_transposed_convolutions_count_their_own_multiply_adds():
    model = nn.Sequential(
        nn.Conv1d(4, 8, 3, groups=2, bias=False), nn.ConvTranspose1d(8, 6, 5, stride=2, groups=2)
    )
    convolution, transposed = mc.summary(model, (4, 20)).layers
    assert convolution.multiply_adds == 8 * 18 * 2 * 3
    assert transposed.multiply_adds == 8 * 18 * 3 * 5
    assert (transposed.output_shape, transposed.stride) == ((6, 39), (Fraction(1, 2),))


def test_a_matrix_product_counts_the_axis_it_sums_over_for_each_output():
    class Mix(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(np.ones((5, 7), np.float32))

        def forward(self, x):
            return self.weight @ x.transpose(0, 2, 1)

    (layer,) = mc.summary(Mix(), (3, 7)).layers
    assert (layer.output_shape, layer.parameters, layer.multiply_adds) == ((5, 3), 35, 5 * 3 * 7)


def test_a_module_that_only_hands_its_parameter_on_has_a_row():
    class Product(nn.Module):
        def forward(self, x, weight):
            return x * weight

    class Scale(nn.Module):
        def __init__(self):
            self.weight, self.product = nn.Parameter(np.ones(4, np.float32)), Product()

        def forward(self, x):
            return self.product(x, self.weight)

    layers = mc.summary(Scale(), (4,)).layers
    assert [(layer.name, layer.parameters) for layer in layers] == [("product", 0), ("", 4)]


def test_a_module_called_twice_has_two_rows_but_its_parameters_count_once():
    layer = nn.Linear(6, 6)
    table = mc.summary(nn.Sequential(layer, nn.ReLU(), layer), (6,))
    assert [(row.name, row.parameters) for row in table.layers] == [("0", 42), ("1", 0), ("0", 0)]
    assert table.trainable == 42


def test_a_parameter_of_two_modules_counts_once():
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    table = mc.summary(nn.Sequential(first, second), (6,))
    assert [layer.parameters for layer in table.layers] == [42, 6]
    assert table.trainable == 48


def test_frozen_parameters_and_buffers_are_not_trainable():
    model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))
    for parameter in model[0].parameters():
        parameter.requires_grad = False
    table = mc.summary(model, (4,))
    assert (table.trainable, table.fixed) == (4, 10 + 2 * 2 + 1)
    assert table.size == 4 * (10 + 4 + 4) + 8


def test_one_dimensional_models_have_one_figure_per_field():
    model = nn.Sequential(nn.Conv1d(1, 4, 3, stride=3), nn.MaxPool1d(3), nn.GlobalAvgPool())
    table = mc.summary(model, (1, 59049))
    assert row(table, "1") == ["1", "MaxPool1d", "(4, 6561)", "0", "0", "9", "9"]
    assert row(table, "2") == ["2", "GlobalAvgPool", "(4,)", "0", "0", "59049", "-"]


def test_a_fraction_stands_in_the_table_as_one():
    table = mc.summary(nn.Sequential(nn.ConvTranspose2d(1, 1, 4, stride=(3, 1))), (1, 5, 5))
    assert row(table, "0")[-2:] == ["2 x 4", "1/3 x 1"]


def test_fields_of_several_inputs_follow_one_another():
    class Two(nn.Module):
        def __init__(self):
            self.image, self.sound = nn.Conv2d(1, 2, 3), nn.Conv1d(1, 2, 5)

        def forward(self, image, sound):
            return self.image(image).mean(axis=(2, 3)) + self.sound(sound).mean(axis=2)

    table = mc.summary(Two(), (1, 6, 7), (1, 9))
    fields = {layer.name: layer.receptive_field for layer in table.layers}
    assert fields == {"image": (3, 3, 0), "sound": (0, 0, 5), "": (6, 7, 9)}
    assert row(table, "sound")[-2:] == ["- x - x 5", "- x - x 1"]


def test_of_several_outputs_the_first_is_described():
    class Heads(nn.Module):
        def __init__(self):
            self.conv = nn.Conv1d(1, 3, 5)

        def forward(self, x):
            y = self.conv(x)
            return {"nothing": (None, []), "frames": (y, y.sum(axis=2))}

    table = mc.summary(Heads(), (1, 9))
    model = table.layers[-1]
    assert (model.output_shape, model.receptive_field, model.stride) == ((3, 5), (5,), (1,))
    assert (table.receptive_field, table.stride) == ((5,), (1,))


def test_a_field_is_shown_as_unknown_after_an_operation_without_a_rule():
    @primitive
    def reversal(x):
        return x[..., ::-1], (lambda dy: dy[..., ::-1],)

    class Reverse(nn.Module):
        def forward(self, x):
            return reversal(x)

    table = mc.summary(nn.Sequential(nn.Conv1d(1, 1, 3), Reverse(), nn.ReLU()), (1, 9))
    assert [layer.receptive_field for layer in table.layers] == [(3,), None, None]
    assert table.layers[2].stride is None
    assert row(table, "2")[-2:] == ["?", "?"]


def test_a_model_of_another_dtype_runs_in_its_own():
    table = mc.summary(nn.Sequential(nn.Linear(3, 2)).to(np.float64), (3,))
    assert table.size == 8 * 8


def test_nothing_is_computed():
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.LPPool2d(2, 2), nn.GlobalStdPool()
    )
    table = mc.summary(model, (3, 10**6 + 2, 10**6 + 2))
    assert table.multiply_adds == 64 * 10**12 * 27
    assert table.peak_activations == 4 * (3 * (10**6 + 2) ** 2 + 2 * 64 * 10**12)


def test_the_table_of_vgg16_is_there_at_once():
    model = vgg16()
    start = time.perf_counter()
    str(mc.summary(model, (3, 224, 224)))
    assert time.perf_counter() - start < 1


def test_a_model_on_another_device_stays_there():
    model = models.lenet5("modern")
    expected = mc.summary(model)
    for parameter in model.parameters():
        parameter.data = ForeignArray(parameter.data)
    assert mc.summary(model) == expected


@pytest.mark.gpu
def test_a_model_on_the_gpu_has_the_summary_that_it_has_elsewhere():
    for variant in ("paper", "modern"):
        model = models.lenet5(variant)
        expected = mc.summary(model)
        assert mc.summary(model.to("cuda")) == expected


def test_the_input_is_the_models_own_unless_another_one_is_given():
    model = models.lenet5()
    assert mc.summary(model) == mc.summary(model, (1, 32, 32))
    assert mc.summary(models.lenet5("modern")).input_shape == (1, 32, 32)

    class Sum(nn.Module):
        input_shape = (2, 9)

        def forward(self, x, y):
            return x.sum(axis=2) + y

    assert mc.summary(Sum(), None, (2,)).receptive_field == (9, 1)


def test_without_an_input_shape_of_its_own_a_model_needs_one():
    class Unfinished(nn.Network):
        pass

    for model in (nn.Sequential(nn.ReLU()), Unfinished()):
        expected = f"summary: {type(model).__name__} has no input_shape; give .* such as"
        with pytest.raises(ValueError, match=expected):
            mc.summary(model)


class Melody(nn.Network):
    """Frames of a constant-Q transform go in, a class for every second frame comes out."""

    input_shape = (1, 36, 20)
    smallest_shape = (1, 36, 1)
    axes = (ConstantQ(36, 12, 32.7), Time(44100, 441))

    def __init__(self):
        self.conv, self.pool = nn.Conv2d(1, 4, (3, 5), padding=(1, 2)), nn.MaxPool2d(2)
        self.classify = nn.Conv2d(4, 7, (18, 1))

    def forward(self, x):
        return self.classify(self.pool(self.conv(x)))


class Tagger(nn.Network):
    """Frames of mel bands go in, one vector for all of them comes out."""

    input_shape = (1, 40, 187)
    axes = (MelBands(40, 0, 8000), Time(16000, 256))

    def __init__(self):
        self.conv, self.linear = nn.Conv2d(1, 4, (3, 3), stride=(1, 2)), nn.Linear(4, 5)
        self.pool = nn.GlobalAvgPool()

    def forward(self, x):
        return self.linear(self.pool(self.conv(x)))


def test_fields_on_spectrograms_are_in_cents_or_hertz_and_milliseconds():
    table = mc.summary(Melody())
    assert row(table, "conv")[-3:] == ["3 x 5", "300 cents x 50 ms", "1 x 1"]
    assert row(table, "pool")[-3:] == ["4 x 6", "400 cents x 60 ms", "2 x 2"]
    # Padding is seen too, but there are no more than 36 bins.
    assert row(table, "classify")[-3:] == ["38 x 6", "3,600 cents x 60 ms", "2 x 2"]
    table = mc.summary(Tagger())
    assert row(table, "conv")[-3:] == ["3 x 3", "294 to 2,094 Hz x 48 ms", "1 x 2"]
    assert row(table, "linear")[-3:] == ["40 x 187", "8,000 Hz x 2,992 ms", "-"]


def test_the_column_of_spans_stands_beside_that_of_the_fields_and_for_sound_only():
    table = mc.summary(Melody())
    assert row(table, "layer")[-3:] == ["receptive field", "field spans", "stride"]
    header, rule, *lines = str(table).splitlines()
    spans, stride = header.index("field spans"), header.index("stride")
    for line in lines[: lines.index(rule)]:
        assert line[spans - 2 : spans] == line[stride - 2 : stride] == "  "
    assert "field spans" not in str(mc.summary(models.lenet5()))


def test_the_span_of_an_unknown_field_is_unknown_and_that_of_none_is_none():
    @primitive
    def reversal(x):
        return x[..., ::-1], (lambda dy: dy[..., ::-1],)

    class Reverse(nn.Network):
        input_shape, axes = (1, 9), (Time(16000),)

        def __init__(self):
            self.conv, self.constant, self.relu = nn.Conv1d(1, 1, 3), Zeros(), nn.ReLU()

        def forward(self, x):
            return self.relu(reversal(self.conv(x) + self.constant(x)))

    class Zeros(nn.Module):
        def forward(self, x):
            return mc.Tensor(np.zeros((1, 1, 7), np.float32)) * 2

    table = mc.summary(Reverse())
    assert row(table, "constant")[-3:] == ["-", "-", "-"]
    assert row(table, "conv")[-3:] == ["3", "0.188 ms", "1"]
    assert row(table, "relu")[-3:] == ["?", "?", "?"]
    assert table.resolution is None
    assert str(table).splitlines()[-1].endswith("in all")


def test_an_axis_that_is_not_seen_has_no_span():
    class Deaf(nn.Network):
        input_shape, axes = (12, 8), (Time(8000, 80),)

        def __init__(self):
            self.weight, self.relu = nn.Parameter(np.ones(3, np.float32)), nn.ReLU()

        def forward(self, x):
            return self.relu(self.weight.reshape(1, 3))

    table = mc.summary(Deaf())
    assert row(table, "relu")[-3:] == ["-", "-", "-"]
    assert str(table).splitlines()[-1].endswith("in all")  # it has no resolution in time


def test_the_table_ends_with_the_temporal_resolution_of_the_output():
    table = mc.summary(Melody())
    assert str(table).splitlines()[-1] == "an output every 20 ms"
    assert table.resolution == 20
    assert (table.receptive_field, table.stride) == ((38, 6), (None, 2))


def test_the_resolution_is_that_in_time_where_outputs_lie_apart_in_pitch_too():
    class Plane(Melody):
        def forward(self, x):
            return self.pool(self.conv(x))

    table = mc.summary(Plane())
    assert (table.resolution, table.stride) == (20, (2, 2))


def test_a_single_output_is_for_all_of_the_input():
    table = mc.summary(Tagger())
    assert str(table).splitlines()[-1] == "one output for 2,992 ms of sound"
    assert (table.resolution, table.stride) == (None, (None, None))


def test_one_frame_is_a_single_output_however_the_next_one_would_lie():
    table = mc.summary(Melody(), (1, 36, 2))
    assert table.layers[-1].stride == (2, 2)
    assert (table.resolution, table.stride) == (None, (None, None))
    assert str(table).splitlines()[-1] == "one output for 20 ms of sound"


def test_waveforms_are_in_milliseconds():
    class Waveform(nn.Network):
        input_shape, axes = (1, 2000), (Time(16000),)

        def __init__(self):
            self.conv = nn.Conv1d(1, 2, 16, stride=4)
            self.up = nn.ConvTranspose1d(2, 1, 6, stride=6)

        def forward(self, x):
            return self.up(self.conv(x))

    table = mc.summary(Waveform())
    assert row(table, "conv")[-3:] == ["16", "1 ms", "4"]
    assert row(table, "up")[-3:] == ["16", "1 ms", "2/3"]
    assert table.resolution == pytest.approx(1 / 24)
    assert str(table).splitlines()[-1] == "an output every 0.0417 ms"


def test_axes_that_are_not_those_of_the_input_are_refused():
    class Wrong(Melody):
        axes = (Time(44100, 441),)

    with pytest.raises(
        ValueError,
        match=r"summary: Wrong says what 1 axes measure, but an input of \(1, 36, 20\) has 2 after",
    ):
        mc.summary(Wrong())


def test_only_a_networks_axes_are_units():
    class Permute(nn.Module):
        axes = (0, 2, 1)

        def forward(self, x):
            return x.transpose(self.axes)

    assert mc.summary(Permute(), (3, 5)).axes == ()


def test_zeros_raise_no_warnings():
    class Logarithm(nn.Module):
        def forward(self, x):
            return (x / x.sum()).log()

    assert mc.summary(Logarithm(), (4,)).layers[0].output_shape == (4,)


def test_statistics_do_not_move_even_where_a_model_always_trains():
    class Restless(nn.Module):
        def __init__(self):
            self.mean, self.variance = (nn.Buffer(np.full(2, 3, np.float32)) for _ in range(2))

        def forward(self, x):
            return ops.batch_norm(x, self.mean, self.variance, training=True)

    model = Restless()
    mc.summary(model, (2, 5))
    assert all((buffer.data == 3).all() for buffer in model.buffers())


def test_the_model_is_as_before():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Dropout(0.5), nn.ReLU())
    model[1].eval()
    state = {name: array.copy() for name, array in model.state_dict().items()}
    mc.summary(model, (1, 9))
    assert [module.training for module in model.modules()] == [True, True, False, True, True]
    assert all(np.array_equal(state[name], array) for name, array in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_input_the_model_does_not_take_is_the_models_own_error_and_leaves_it_as_before():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5))
    model[1].eval()
    with pytest.raises(ValueError, match="conv2d: x has 1 channels but weight takes 3"):
        mc.summary(model, (1, 8, 8))
    assert [module.training for module in model.modules()] == [True, True, False]
    assert mc.summary(model, (3, 8, 8)).layers[0].output_shape == (4, 6, 6)


def test_an_input_of_single_numbers_has_no_receptive_field():
    table = mc.summary(nn.ReLU(), ())
    assert table.layers[0].receptive_field == ()
    assert str(table).splitlines()[2].split() == ["ReLU", "()", "0", "0", "-", "-"]


@pytest.mark.parametrize("shape", [32, (1, 0, 8), (1, 8.0), "1,8"])
def test_a_shape_is_made_of_whole_numbers_from_one_on(shape):
    with pytest.raises(ValueError, match="summary: input_shape is .* such as"):
        mc.summary(nn.ReLU(), shape)


@pytest.mark.parametrize("returned", ["a", None, 1.5, []])
def test_a_model_that_returns_no_tensor_is_named(returned):
    class Strange(nn.Module):
        def forward(self, x):
            return returned

    with pytest.raises(ValueError, match=r"Strange\) returns .*, and no tensor"):
        mc.summary(Strange(), (3,))
