"""Modules: how parameters are found, how state is loaded, and that layers do what PyTorch's do."""

from collections import OrderedDict

import numpy as np
import pytest

import minicnn as mc
from minicnn import nn
from minicnn.autograd import observe
from tests.kernels.cases import assert_close
from tests.kernels.foreign import ForeignArray


class Block(nn.Module):
    def __init__(self):
        self.first = nn.Conv2d(1, 2, 3)
        self.branches = [nn.Linear(2, 3), nn.Linear(3, 2, bias=False)]
        self.scale = nn.Parameter(np.ones(1, np.float32))
        self.count = nn.Buffer(np.zeros((), np.int64))
        self.same = self.first
        self.name = "block"

    def forward(self, x):
        return self.first(x) * self.scale


def test_parameters_are_found_in_the_order_of_definition_and_once_each():
    assert [name for name, _ in Block().named_parameters()] == [
        "scale",
        "first.weight",
        "first.bias",
        "branches.0.weight",
        "branches.0.bias",
        "branches.1.weight",
    ]
    assert [name for name, _ in Block().named_buffers()] == ["count"]


def test_modules_are_named_by_their_path():
    names = [name for name, _ in Block().named_modules()]
    assert names == ["", "first", "branches.0", "branches.1", "same"]


def test_parameters_and_modules_are_found_in_lists_and_dicts_however_deep():
    class Nested(nn.Module):
        def __init__(self):
            self.weights = [nn.Parameter(np.ones(1)), (nn.Parameter(np.ones(2)),)]
            self.heads = {"pitch": nn.Linear(2, 1, bias=False), "size": 3}

    names = [name for name, _ in Nested().named_parameters()]
    assert names == ["weights.0", "weights.1.0", "heads.pitch.weight"]


def test_a_shared_layer_stands_in_the_state_under_both_names():
    state = Block().state_dict()
    assert state["first.weight"] is state["same.weight"]


def test_training_mode_reaches_every_module():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(2)))
    assert model.training
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    model.train()
    assert all(module.training for module in model.modules())


def test_zero_grad_drops_all_gradients():
    model = nn.Linear(2, 1)
    model(mc.Tensor(np.ones((1, 2), np.float32))).sum().backward()
    assert model.weight.grad is not None
    model.zero_grad()
    assert model.weight.grad is None


def test_a_state_dict_goes_into_another_model():
    one, other = nn.Linear(3, 2, rng=0), nn.Linear(3, 2, rng=1)
    other.load_state_dict(one.state_dict())
    assert np.array_equal(one.weight.data, other.weight.data)
    assert one.weight.data is not other.weight.data
    other.load_state_dict({"weight": mc.Tensor(np.ones((2, 3))), "bias": np.zeros(2)})
    assert other.weight.data.tolist() == [[1, 1, 1], [1, 1, 1]]
    assert other.weight.dtype == np.float32


def test_a_state_goes_from_one_device_to_another():
    one, other, third = (nn.Linear(3, 2, rng=rng) for rng in range(3))
    for tensor in other.parameters():
        tensor.data = ForeignArray(tensor.data)
    other.load_state_dict(one.state_dict())
    assert isinstance(other.weight.data, ForeignArray)
    third.load_state_dict(other.state_dict())
    assert np.array_equal(third.weight.data, one.weight.data)


def test_a_state_that_does_not_fit_is_refused_with_every_reason_and_changes_nothing():
    model = Block()
    before = model.scale.data.copy()
    state = {**model.state_dict(), "scale": np.zeros(1), "branches.0.weight": np.zeros((2, 2))}
    del state["count"]
    state["extra"] = np.zeros(1)
    with pytest.raises(ValueError, match="load_state_dict: Block: ") as error:
        model.load_state_dict(state)
    for reason in (
        "missing count",
        "unexpected extra",
        "branches.0.weight is (3, 2) here and (2, 2) in the state",
    ):
        assert reason in str(error.value)
    assert np.array_equal(model.scale.data, before)


def test_a_lenient_load_takes_what_is_there_but_no_wrong_shape():
    model = nn.Linear(3, 2)
    model.load_state_dict({"bias": np.ones(2), "other": np.ones(1)}, strict=False)
    assert model.bias.data.tolist() == [1, 1]
    with pytest.raises(ValueError, match="bias is"):
        model.load_state_dict({"bias": np.ones(3)}, strict=False)


def test_to_changes_the_dtype_of_floats_only():
    model = nn.BatchNorm1d(2).to(np.float64)
    assert model.weight.dtype == model.running_mean.dtype == np.float64
    assert model.num_batches_tracked.dtype == np.int64
    assert model.to("cpu") is model


def test_to_an_unknown_device_says_so():
    with pytest.raises(ValueError, match="device 'tpu' is neither 'cpu' nor 'cuda'"):
        mc.Tensor([1.0]).to("tpu")


def test_two_layers_can_swap_their_weights():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False))
    one, other = model[0].weight.item(), model[1].weight.item()
    model.load_state_dict({"0.weight": model[1].weight, "1.weight": model[0].weight})
    assert (model[0].weight.item(), model[1].weight.item()) == (other, one)


@pytest.mark.parametrize("target", [None, "tpu", "cuda:0", np.int64, np.float16])
def test_a_module_goes_to_known_devices_and_dtypes_only(target):
    with pytest.raises(ValueError, match="to: .* is none of 'cpu', 'cuda', float32 and float64"):
        nn.Linear(1, 1).to(target)


def test_a_state_with_a_value_that_is_no_array_changes_nothing():
    model = nn.Linear(2, 1)
    before = model.weight.data.copy()
    with pytest.raises((TypeError, ValueError)):
        model.load_state_dict({"weight": np.zeros((1, 2)), "bias": np.array(["x"])})
    assert np.array_equal(model.weight.data, before)


def test_forward_may_take_options():
    class Scaled(nn.Module):
        def forward(self, x, *, factor=1):
            return x * factor

    assert Scaled()(mc.Tensor([1.0]), factor=3).item() == 3


def test_layers_for_one_axis_are_no_kind_of_layers_for_two():
    assert not isinstance(nn.Conv1d(1, 1, 1), nn.Conv2d)
    assert not isinstance(nn.MaxPool1d(1), nn.MaxPool2d)
    assert not isinstance(nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (nn.Conv2d(6, 40, 3, groups=2, rng=0), 27),
        (nn.Conv1d(6, 40, 5, rng=0), 30),
        (nn.ConvTranspose2d(40, 6, 3, rng=0), 54),
        (nn.Linear(30, 40, rng=0), 30),
    ],
)
def test_layers_begin_within_one_over_the_root_of_their_fan_in(layer, fan_in):
    bound = fan_in**-0.5
    assert 0.95 * bound < abs(layer.weight.data).max() <= bound
    assert 0.5 * bound < abs(layer.bias.data).max() <= bound


def test_batches_are_not_counted_in_evaluation():
    layer = nn.BatchNorm1d(2).eval()
    layer(mc.Tensor(np.ones((3, 2), np.float32)))
    assert int(layer.num_batches_tracked) == 0
    assert layer.running_mean.data.tolist() == [0, 0]


def test_a_module_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(NotImplementedError, match="Empty defines no forward"):
        Empty()(1)


def test_sequential_runs_in_order_and_can_be_sliced_and_named():
    model = nn.Sequential(OrderedDict(scale=nn.Linear(2, 3), act=nn.ReLU(), out=nn.Linear(3, 1)))
    assert list(model.state_dict()) == ["scale.weight", "scale.bias", "out.weight", "out.bias"]
    assert len(model) == 3
    assert isinstance(model[1], nn.ReLU)
    x = mc.Tensor(np.ones((4, 2), np.float32))
    assert np.array_equal(model[:2](x).data, model.act(model.scale(x)).data)
    assert model(x).shape == (4, 1)


def test_sequential_takes_modules_only():
    with pytest.raises(TypeError, match="entry 1 is the function <lambda>, not a Module"):
        nn.Sequential(nn.ReLU(), lambda x: x)
    with pytest.raises(ValueError, match="'train' is the name of a method"):
        nn.Sequential(OrderedDict(train=nn.ReLU()))


def test_module_lists_register_their_modules():
    layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))
    layers.append(nn.ReLU())
    assert len(layers) == 4
    assert len(layers[1:3]) == 2
    assert isinstance(layers[-1], nn.ReLU)
    assert len(list(layers.parameters())) == 6
    with pytest.raises(TypeError, match="ModuleList: int is not a Module"):
        layers.append(3)


def test_a_model_prints_as_a_tree():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, bias=False), nn.MaxPool2d(2), nn.ReLU())
    assert repr(model) == (
        "Sequential(\n"
        "  (0): Conv2d(1, 2, kernel_size=(3, 3), stride=(2, 2), bias=False)\n"
        "  (1): MaxPool2d(kernel_size=2)\n"
        "  (2): ReLU()\n"
        ")"
    )


images, sequences, features = (2, 4, 9, 8), (2, 4, 11), (5, 4)
twins = {
    "Conv2d": (images, (4, 6, (3, 2)), dict(stride=2, padding=1, groups=2)),
    "Conv1d": (sequences, (4, 6, 3), dict(dilation=2, bias=False)),
    "ConvTranspose2d": (images, (4, 6, 3), dict(stride=2, padding=1, output_padding=1, groups=2)),
    "ConvTranspose1d": (sequences, (4, 6, 4, 2), dict(padding=1)),
    "Linear": (features, (4, 3), {}),
    "BatchNorm1d": (features, (4,), dict(momentum=0.2)),
    "BatchNorm2d": (images, (4,), dict(eps=1e-3, momentum=None)),
    "LocalResponseNorm": (images, (3, 0.1, 0.5, 2.0), {}),
    "MaxPool2d": (images, (3, 2, 1), dict(ceil_mode=True)),
    "MaxPool1d": (sequences, (3,), dict(stride=2)),
    "AvgPool2d": (images, (3, 2, 1), dict(count_include_pad=False)),
    "AvgPool1d": (sequences, (3, 2), {}),
    "LPPool2d": (images, (2, 3), dict(stride=2)),
    "LPPool1d": (sequences, (2, 3), {}),
    "AdaptiveMaxPool2d": (images, ((3, 5),), {}),
    "AdaptiveMaxPool1d": (sequences, (3,), {}),
    "AdaptiveAvgPool2d": (images, ((3, 5),), {}),
    "AdaptiveAvgPool1d": (sequences, (3,), {}),
    "ReLU": (features, (), {}),
    "LeakyReLU": (features, (0.2,), {}),
    "ELU": (features, (0.7,), {}),
    "Sigmoid": (features, (), {}),
    "Tanh": (features, (), {}),
    "Softplus": (features, (2.0,), {}),
    "Softmax": (images, (1,), {}),
    "LogSoftmax": (features, (1,), {}),
    "Flatten": (images, (), {}),
    "Identity": (features, (), {}),
}


@pytest.mark.parametrize("name", twins)
def test_a_layer_typed_as_in_pytorch_does_what_pytorchs_does(name):
    torch = pytest.importorskip("torch")
    shape, arguments, options = twins[name]
    ours = getattr(nn, name)(*arguments, **options)
    theirs = getattr(torch.nn, name)(*arguments, **options)
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    assert {key: value.shape for key, value in ours.state_dict().items()} == {
        key: value.shape for key, value in state.items()
    }
    ours.load_state_dict(state)
    rng = np.random.default_rng(0)
    for _ in range(2):
        x = rng.standard_normal(shape).astype(np.float32)
        y, expected = ours(mc.Tensor(x)), theirs(torch.tensor(x))
        assert_close(y.data, expected.detach().numpy(), 100)
    for key, value in theirs.state_dict().items():
        assert_close(ours.state_dict()[key].astype(np.float32), value.float().numpy(), 100)
    ours.eval(), theirs.eval()
    assert_close(ours(mc.Tensor(x)).data, theirs(torch.tensor(x)).detach().numpy(), 100)


poolings = {
    "GlobalMaxPool": (nn.GlobalMaxPool(), lambda x: x.max(axis=(2, 3))),
    "GlobalAvgPool": (nn.GlobalAvgPool(), lambda x: x.mean(axis=(2, 3))),
    "GlobalStdPool": (nn.GlobalStdPool(), lambda x: x.std(axis=(2, 3))),
    "GlobalLPPool": (nn.GlobalLPPool(2), lambda x: np.sqrt((x * x).sum(axis=(2, 3)))),
    "AdaptiveStdPool2d": (nn.AdaptiveStdPool2d(1), lambda x: x.std(axis=(2, 3), keepdims=True)),
    "AdaptiveLPPool2d": (
        nn.AdaptiveLPPool2d(1, 1),
        lambda x: np.abs(x).sum(axis=(2, 3), keepdims=True),
    ),
    "StdPool2d": (nn.StdPool2d((9, 8)), lambda x: x.std(axis=(2, 3), keepdims=True)),
}


@pytest.mark.parametrize("name", poolings)
def test_poolings_that_pytorch_lacks_do_what_their_name_says(name):
    layer, expected = poolings[name]
    x = np.random.default_rng(0).standard_normal(images)
    assert_close(layer(mc.Tensor(x)).data, expected(x), 100)


one_dimensional = {
    "StdPool1d": (nn.StdPool1d(11), lambda x: x.std(axis=2, keepdims=True)),
    "AdaptiveStdPool1d": (nn.AdaptiveStdPool1d(1), lambda x: x.std(axis=2, keepdims=True)),
    "AdaptiveLPPool1d": (
        nn.AdaptiveLPPool1d(2, 1),
        lambda x: np.linalg.norm(x, axis=2, keepdims=True),
    ),
    "GlobalAvgPool": (nn.GlobalAvgPool(), lambda x: x.mean(axis=2)),
}


@pytest.mark.parametrize("name", one_dimensional)
def test_they_pool_sequences_too(name):
    layer, expected = one_dimensional[name]
    x = np.random.default_rng(0).standard_normal(sequences)
    assert_close(layer(mc.Tensor(x)).data, expected(x), 100)


def test_scaled_tanh_takes_one_to_one():
    assert nn.ScaledTanh()(mc.Tensor([1.0, -1.0])).data.tolist() == pytest.approx([1, -1], abs=1e-4)


random_layers = [nn.Dropout(0.5), nn.Dropout1d(0.5), nn.Dropout2d(0.5), nn.GaussianNoise(1.0)]


@pytest.mark.parametrize("layer", random_layers, ids=repr)
def test_random_layers_follow_the_seed_while_training_and_rest_in_evaluation(layer):
    x = mc.Tensor(np.ones((4, 5, 6), np.float32))
    layer.train()
    mc.manual_seed(3)
    one, two = layer(x).data, layer(x).data
    mc.manual_seed(3)
    assert np.array_equal(layer(x).data, one)
    assert not np.array_equal(one, two)
    layer.eval()
    assert np.array_equal(layer(x).data, x.data)


def test_a_random_layer_can_have_a_stream_of_its_own():
    x = mc.Tensor(np.ones(100, np.float32))
    mc.manual_seed(0)
    one = nn.Dropout(rng=5)(x).data
    mc.manual_seed(1)
    assert np.array_equal(nn.Dropout(rng=5)(x).data, one)


def trained_once(model, x):
    """Return output, gradients and state of a model as bits, and its operations."""
    x, names = mc.Tensor(x, requires_grad=True), []
    with observe(lambda name, *call: names.append(name)):
        y = model(x)
    y.backward(np.cos(np.arange(y.size, dtype=np.float32)).reshape(y.shape))
    gradients = [x.grad, *(parameter.grad for parameter in model.parameters())]
    return [a.tobytes() for a in (y.data, *gradients, *model.state_dict().values())], names


class OneByOne(nn.Sequential):
    def forward(self, x):
        for module in self:
            x = module(x)
        return x


class OwnReLU(nn.ReLU):
    pass


@pytest.mark.parametrize(
    ("activation", "slope"),
    [
        (nn.ReLU(), 0.0),
        (nn.LeakyReLU(0.2), 0.2),
        (nn.LeakyReLU(0.0), None),
        (nn.LeakyReLU(-0.2), None),
        (OwnReLU(), None),
    ],
)
@pytest.mark.parametrize(
    ("norm", "shape"),
    [(nn.BatchNorm1d, (8, 3)), (nn.BatchNorm1d, (4, 3, 50)), (nn.BatchNorm2d, (2, 3, 9, 7))],
)
@pytest.mark.parametrize("strange", [False, True], ids=["usual", "zeros and NaN"])
def test_in_training_batch_norm_does_the_work_of_the_activation(
    norm, shape, activation, slope, strange
):
    x = np.random.default_rng(0).standard_normal(shape, np.float32)
    if strange:
        x[:, 1], x[1, 2] = 0, np.nan
    both, one_by_one = (
        kind(norm(3), activation, nn.Dropout(0.0)) for kind in (nn.Sequential, OneByOne)
    )
    found, names = trained_once(both, x)
    expected, expected_names = trained_once(one_by_one, x)
    assert found == expected
    assert len(names) == len(expected_names) - (slope is not None)
    ours, theirs = (model.eval()(x).data for model in (both, one_by_one))
    assert np.array_equal(ours, theirs, equal_nan=True)


def test_batch_norm_without_running_statistics_normalises_every_batch():
    layer = nn.BatchNorm1d(3, affine=False, track_running_stats=False).eval()
    x = np.random.default_rng(0).standard_normal((50, 3)) * 4 + 7
    y = layer(mc.Tensor(x)).data
    assert list(layer.state_dict()) == []
    assert np.allclose(y.mean(axis=0), 0, atol=1e-12)
    assert np.allclose(y.std(axis=0), 1, atol=1e-4)


draws = {
    "kaiming_normal": (dict(), np.sqrt(2 / 45)),
    "kaiming_uniform": (dict(mode="fan_out", nonlinearity="tanh"), 5 / 3 / np.sqrt(360)),
    "xavier_normal": (dict(gain=2.0), 2 * np.sqrt(2 / 405)),
    "xavier_uniform": (dict(), np.sqrt(2 / 405)),
    "lecun_normal": (dict(), np.sqrt(1 / 45)),
    "lecun_uniform": (dict(), np.sqrt(1 / 45)),
}


@pytest.mark.parametrize("name", draws)
def test_initialisers_have_the_deviation_of_their_papers(name):
    options, std = draws[name]
    values = np.stack([getattr(nn.init, name)((40, 5, 3, 3), rng=i, **options) for i in range(20)])
    assert values.dtype == np.float32
    assert values.std() == pytest.approx(std, rel=0.02)
    assert values.mean() == pytest.approx(0, abs=0.02 * std)


@pytest.mark.parametrize("shape", [(10, 4), (4, 10), (6, 2, 3)])
def test_orthogonal_weights_have_orthonormal_rows_or_columns(shape):
    w = nn.init.orthogonal(shape, gain=2.0, rng=0).reshape(shape[0], -1) / 2
    product = w @ w.T if shape[0] <= w.shape[1] else w.T @ w
    assert np.allclose(product, np.eye(len(product)), atol=1e-6)


def test_weights_lie_in_memory_in_the_order_of_their_axes():
    def turned(shape, rng):
        return np.zeros(shape[::-1], np.float32).T

    for how in (nn.init.orthogonal, turned):  # a wide orthogonal weight is made as a tall one
        assert nn.Linear(10, 4, weight_init=how, rng=0).weight.numpy().flags.c_contiguous


def test_initialisers_say_what_they_cannot_do():
    with pytest.raises(ValueError, match=r"shape \(3,\) has no fan"):
        nn.init.kaiming_normal((3,))
    with pytest.raises(ValueError, match="nonlinearity 'swish' is not one of linear, sigmoid"):
        nn.init.kaiming_normal((3, 3), nonlinearity="swish")
    with pytest.raises(ValueError, match="mode is 'fan'; it takes 'fan_in' or 'fan_out'"):
        nn.init.kaiming_normal((3, 3), mode="fan")


@pytest.mark.parametrize(("name", "std"), [("normal", 2.0), ("uniform", 2 / np.sqrt(3))])
def test_a_large_weight_is_drawn_on_all_cores_and_is_the_same_on_one(name, std):
    draw, shape = getattr(nn.init, name), (3, 1_000_003)
    several = draw(shape, 2.0, rng=0)
    threads = mc.get_num_threads()
    mc.set_num_threads(1)
    try:
        assert np.array_equal(draw(shape, 2.0, rng=0), several)
    finally:
        mc.set_num_threads(threads)
    assert several.std() == pytest.approx(std, rel=0.01)
    # No block repeats another.
    flat = several.ravel()
    assert not (flat[: 1 << 20] == flat[1 << 20 : 2 << 20]).any()
    assert np.unique(flat[-100_000:]).size > 99_000


@pytest.mark.parametrize(
    "build",
    [
        lambda **options: nn.Conv2d(2, 300, 3, **options),
        lambda **options: nn.Conv1d(2, 300, 3, **options),
        lambda **options: nn.ConvTranspose2d(2, 300, 3, **options),
        lambda **options: nn.ConvTranspose1d(2, 300, 3, **options),
        lambda **options: nn.Linear(20, 300, **options),
    ],
)
def test_a_layer_begins_as_it_is_told(build):
    def drawn(shape, rng):
        return nn.init.normal(shape, 0.01, mean=7, rng=rng)

    layer = build(weight_init=drawn, bias_init=0.5, rng=0)
    assert layer.weight.data.mean() == pytest.approx(7, abs=0.01)
    assert (layer.bias.data == 0.5).all()
    same = build(weight_init=drawn, bias_init=drawn, rng=0)
    assert np.array_equal(same.weight.data, layer.weight.data)
    assert same.bias.data.mean() == pytest.approx(7, abs=0.01)
    fan_in = np.prod(layer.weight.shape[1:])
    assert abs(build(rng=0).weight.data).max() <= 1 / np.sqrt(fan_in)


class Halves(nn.Network):
    """A network for sequences of 4 channels, at least 6 long."""

    input_shape, smallest_shape = (4, 10), (4, 6)

    def __init__(self):
        self.conv = nn.Conv1d(4, 2, 6)

    def forward(self, x):
        return self.conv(x)


def test_a_network_takes_what_it_says_and_refuses_the_rest_with_its_shape():
    network = Halves()
    assert network(np.zeros((2, 4, 6), np.float32)).shape == (2, 2, 1)
    assert network(mc.Tensor(np.zeros((2, 4, 30), np.float32))).shape == (2, 2, 25)
    for shape in ((4, 10), (2, 3, 10), (2, 4, 5), (2, 1, 4, 10)):
        with pytest.raises(ValueError, match=r"Halves: x is .*; it takes \(N, 4, 10\), or L >= 6"):
            network(np.zeros(shape, np.float32))
    with pytest.raises(TypeError, match=r"of int16; its weights are float32, .* of float32"):
        network(np.zeros((2, 4, 10), np.int16))
    network.to(np.float64)
    with pytest.raises(TypeError, match=r"of float32; its weights are float64"):
        network(np.zeros((2, 4, 10), np.float32))


def test_what_a_layer_cannot_begin_with_is_refused():
    with pytest.raises(TypeError, match="init: 'kaiming' is neither a function of a shape nor a"):
        nn.Conv2d(1, 2, 3, weight_init="kaiming")
    with pytest.raises(ValueError, match=r"returns \(3,\) where \(2, 1, 3, 3\) is asked for"):
        nn.Conv2d(1, 2, 3, weight_init=lambda shape, rng: np.zeros(3))
    layer = nn.Linear(3, 2, weight_init=lambda shape, rng: np.ones(shape))
    assert layer.weight.dtype == np.float32


def test_a_network_says_its_input_shape():
    class Silent(nn.Network):
        def forward(self, x):
            return x

    with pytest.raises(AttributeError, match="Silent: a Network must say its input_shape"):
        Silent()(np.zeros((1, 2), np.float32))
    Silent.input_shape = (2,)
    assert Silent()(np.zeros((1, 2), np.float32)).shape == (1, 2)
