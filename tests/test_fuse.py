"""`nn.fuse`: the same answers from fewer operations, and a refusal where that cannot be."""

import gc
import weakref

import numpy as np
import pytest

import minicnn as mc
from minicnn import kernels, models, nn, ops
from tests.kernels.foreign import ForeignArray


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def awake(model):
    """Return the model in evaluation mode, with running statistics that are not neutral."""
    rng = np.random.default_rng(1)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.running_mean.data[:] = rng.normal(0, 0.3, module.running_mean.shape)
            module.running_var.data[:] = rng.uniform(0.5, 2, module.running_var.shape)
    return model.eval()


def names(fused):
    return [step.name for program in fused._programs.values() for step in program.steps]


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("lenet5", {}, None),
        ("lenet5", dict(variant="modern"), None),
        ("resnet18", {}, (3, 64, 64)),
        ("googlenet", dict(variant="torchvision"), (3, 64, 64)),
        ("mel_cnn_1d", {}, None),
        ("crepe", dict(capacity="tiny"), None),
        ("onset_cnn", {}, None),
        ("deep_salience", {}, (6, 360, 5)),
        ("spiral_cnn", {}, None),
    ],
)
def test_models_answer_the_same(name, options, shape):
    model = awake(models.create(name, **options, rng=0))
    fast = nn.fuse(model)
    for seed in (0, 1):
        x = noise(3, *(shape or model.input_shape), seed=seed)
        with mc.no_grad():
            expected = model(mc.Tensor(x)).data
        y = fast(x)
        assert not y.requires_grad
        assert abs(y.data - expected).max() <= 2e-5 * abs(expected).max()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.LeakyReLU(0.3)], ids=["relu", "leaky"])
def test_batch_norm_and_activation_become_part_of_the_convolution(activation, bias):
    block = nn.Sequential(nn.Conv2d(3, 8, 3, bias=bias), nn.BatchNorm2d(8), activation)
    model, x = awake(block.to(np.float64)), noise(2, 3, 9, 9).astype(np.float64)
    fast = nn.fuse(model)
    with mc.no_grad():
        np.testing.assert_allclose(fast(x).data, model(mc.Tensor(x)).data, atol=1e-12)
    assert names(fast) == ["conv2d"]


def test_one_dimension_is_fused_through_its_reshapes():
    model = awake(nn.Sequential(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.ReLU()))
    fast, x = nn.fuse(model), noise(2, 3, 20)
    with mc.no_grad():
        np.testing.assert_allclose(fast(x).data, model(mc.Tensor(x)).data, atol=1e-5)
    assert set(names(fast)) == {"conv2d", "reshape"}


class Branches(nn.Module):
    """What comes before batch norm and ReLU is also used without them."""

    def __init__(self):
        self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return ops.relu(self.norm(y)) + y


class Modulated(nn.Module):
    """The gain of batch norm depends on the input."""

    def __init__(self):
        self.conv, self.norm = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        y, gain = self.conv(x), x.mean() + self.norm.weight
        mean, variance = self.norm.running_mean, self.norm.running_var
        return ops.batch_norm(y, mean, variance, gain, self.norm.bias)


def test_a_batch_norm_that_depends_on_the_input_stays():
    model, x = awake(Modulated()), noise(2, 2, 8, 8)
    fast = nn.fuse(model)
    with mc.no_grad():
        np.testing.assert_allclose(fast(x).data, model(mc.Tensor(x)).data, atol=1e-5)
    assert "batch_norm_inference" in names(fast)


def test_what_others_need_is_left_alone():
    model, x = awake(Branches()), noise(2, 2, 8, 8)
    fast = nn.fuse(model)
    with mc.no_grad():
        np.testing.assert_allclose(fast(x).data, model(mc.Tensor(x)).data, atol=1e-5)
    assert "batch_norm_inference" in names(fast)


def test_new_shapes_are_written_down_anew():
    model = awake(nn.Sequential(nn.Conv2d(1, 2, 3)))
    fast = nn.fuse(model)
    for size in (5, 9, 5):
        assert fast(noise(1, 1, size, size)).shape == (1, 2, size - 2, size - 2)
    assert len(fast._programs) == 2


def test_arrays_go_as_soon_as_nobody_needs_them():
    seen = []

    class Watch(nn.Module):
        def forward(self, x):
            return x * 1.0

    model = nn.Sequential(nn.Conv2d(1, 4, 3), Watch(), nn.Conv2d(4, 4, 3), Watch()).eval()
    fast, x = nn.fuse(model), noise(1, 1, 12, 12)
    fast(x)
    program = next(iter(fast._programs.values()))
    for i, step in enumerate(program.steps):

        def function(*arrays, _inner=step.function, **options):
            result = _inner(*arrays, **options)
            seen.append(weakref.ref(result[0]))
            return result

        program.steps[i] = type(step)(**(vars(step) | {"function": function}))
    y = fast(x)
    gc.collect()
    assert [ref() is not None for ref in seen] == [False] * (len(seen) - 1) + [True]
    assert y.shape == (1, 4, 8, 8)


def test_the_weights_are_those_of_the_moment():
    model = awake(models.lenet5(variant="modern", rng=0))
    fast = nn.fuse(model)
    x, smaller = noise(3, *model.input_shape), noise(2, *model.input_shape)
    with mc.no_grad():
        expected = [model(mc.Tensor(some)).data for some in (x, smaller)]
    before = fast(x).data
    for parameter in model.parameters():
        parameter.data *= 2
    model.train()
    np.testing.assert_array_equal(fast(x).data, before)
    for some, y in zip((x, smaller), expected, strict=True):
        np.testing.assert_allclose(fast(some).data, y, atol=1e-5)


def test_a_few_shapes_are_remembered():
    fast = nn.fuse(nn.Conv2d(1, 2, 3).eval())
    for size in range(3, 30):
        fast(noise(1, 1, size, 5))
    assert len(fast._programs) == nn.Fused.MOST


def test_other_algorithms_and_kernels_may_be_chosen_afterwards():
    model = awake(nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()))
    fast, x = nn.fuse(model), noise(1, 64, 12, 12)
    expected = fast(x).data
    with kernels.cpu.conv.allow("direct"):
        np.testing.assert_array_equal(fast(x).data, expected)
    with kernels.use(kernels.reference):
        np.testing.assert_allclose(fast(x).data, expected, atol=1e-5)


class Centres(nn.Module):
    def forward(self, x):
        return x - float(x.data.mean())


def test_zeros_do_not_hide_that_a_model_looks_at_values():
    with pytest.raises(ValueError, match="computes something else for other values"):
        nn.fuse(Centres().eval())(np.zeros((2, 3, 4, 4), np.float32))


class Looks(nn.Module):
    def forward(self, x):
        return x * (2.0 if x.data.max() > 1 else -1.0)


class Measures(nn.Module):
    def forward(self, x):
        return ops.batch_norm(
            x, mc.Tensor(x.data.mean((0, 2, 3))), mc.Tensor(x.data.var((0, 2, 3)))
        )


def test_a_model_that_looks_at_values_is_refused():
    with pytest.raises(ValueError, match="computes something else for other values"):
        nn.fuse(Looks().eval())(np.full((2, 3, 4, 4), 1.5, np.float32))
    with pytest.raises(ValueError, match="computes something else for other values"):
        nn.fuse(Measures().eval())(noise(2, 3, 4, 4))


def test_training_mode_and_several_outputs_are_refused():
    with pytest.raises(ValueError, match=r"in training mode; call model\.eval\(\)"):
        nn.fuse(nn.Conv2d(1, 1, 3))

    class Two(nn.Module):
        def forward(self, x):
            return x * 2.0, x * 3.0

    with pytest.raises(ValueError, match="returns tuple, not one Tensor"):
        nn.fuse(Two().eval())(noise(1, 2))


def test_the_reference_is_fused_too():
    model = awake(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()))
    x = noise(1, 1, 8, 8)
    with kernels.use(kernels.reference), mc.no_grad():
        fast = nn.fuse(model)
        np.testing.assert_allclose(fast(x).data, model(mc.Tensor(x)).data, atol=1e-5)


def test_a_model_whose_arrays_are_not_numpys_is_fused_too():
    model = awake(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()))
    x = noise(1, 1, 8, 8)
    with mc.no_grad():
        expected = model(mc.Tensor(x)).data
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = ForeignArray(tensor.data)
    with kernels.use(kernels.reference):
        y = nn.fuse(model)(ForeignArray(x)).data
    np.testing.assert_allclose(y.values, expected, atol=1e-5)
