"""What every model must do, whichever it is."""

import re
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
from minicnn import kernels, models, nn, optim
from tests.models.entries import ENTRIES, every_entry

every_model = pytest.mark.parametrize("name", models.available())


def first(outputs):
    return outputs[0] if isinstance(outputs, tuple) else outputs


def without_dropout(model):
    """Return the model with nothing left to chance: it is a matter of luck which loss is low."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


@every_entry
def test_a_model_learns_a_small_batch_by_heart(entry):
    model = without_dropout(entry.build())
    # Untrained nets see little difference between images of noise.
    x = mc.Tensor(entry.x(model, distinct=entry.task != "tags"))
    optimizer = optim.Adam(model.parameters(), lr=entry.rate)
    losses, target = [], None
    for _ in range(40):
        outputs = model(x)
        # Tags of a half cannot be told better than by their entropy: they are there or not.
        target = entry.target(first(outputs).shape, whole=True) if target is None else target
        loss = entry.loss(outputs, target)
        losses.append(float(loss))
        if losses[-1] < losses[0] / 10:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    pytest.fail(f"the loss fell from {losses[0]:.3g} to {losses[-1]:.3g} only")


@every_entry
def test_every_parameter_gets_a_finite_gradient_that_is_not_zero(entry):
    model = entry.build()
    outputs = model(entry.x(model))
    entry.loss(outputs, entry.target(first(outputs).shape)).backward()
    for key, parameter in model.named_parameters():
        assert np.isfinite(parameter.grad).all(), key
        assert parameter.grad.any(), key


@every_entry
def test_the_state_goes_through_a_file(entry, tmp_path):
    model = entry.build().eval()
    model.load_state_dict(entry.state())
    mc.save(tmp_path / "state", model.state_dict())
    twin = entry.build(rng=1).eval()
    twin.load_state_dict(mc.load(tmp_path / "state"))
    x = entry.x(model)
    with mc.no_grad():
        assert np.array_equal(model(x).data, twin(x).data)


@pytest.mark.parametrize("name", [name for name in models.available() if name[:3] != "vgg"])
def test_the_seed_decides_the_weights(name):
    one, same, other = (models.create(name, rng=seed).state_dict() for seed in (1, 1, 2))
    assert all(np.array_equal(one[key], same[key]) for key in one)
    assert not all(np.array_equal(one[key], other[key]) for key in one)


@every_model
def test_a_models_name_is_a_function_too(name, undrawn):
    assert isinstance(getattr(models, name)(), nn.Network)


def test_every_model_has_an_entry():
    assert {entry.name for entry in ENTRIES} == set(models.available())


def test_an_unknown_model_is_refused_with_the_known_ones():
    message = r"there is no model 'lenet6' \(did you mean lenet5.*\?\); there are .*lenet5"
    with pytest.raises(ValueError, match=message):
        models.create("lenet6")


def wrong_shapes(model):
    """Yield shapes of a batch that a model must refuse: one axis less, and each axis smaller."""
    least = model.smallest_shape or model.input_shape
    yield model.input_shape
    for axis, extent in enumerate(least):
        if extent > 1:
            yield (2, *least[:axis], extent - 1, *least[axis + 1 :])
    for axis, (low, paper) in enumerate(zip(least, model.input_shape, strict=True)):
        if low == paper:
            yield (2, *least[:axis], paper + 1, *least[axis + 1 :])


@every_model
def test_an_input_of_another_shape_is_refused_with_the_papers(name, undrawn):
    model = models.create(name)
    paper = re.escape(f"(N, {', '.join(map(str, model.input_shape))})")
    for shape in wrong_shapes(model):
        with pytest.raises(ValueError, match=rf"{re.escape(str(shape))}; it takes {paper}"):
            model(np.zeros(shape, np.float32))


@every_model
def test_an_input_of_another_dtype_is_refused_with_the_papers_shape(name, undrawn):
    model = models.create(name)
    paper = re.escape(f"(N, {', '.join(map(str, model.input_shape))})")
    for dtype in (np.float64, np.uint8):
        x = np.zeros((1, *model.input_shape), dtype)
        message = rf"{np.dtype(dtype)}; its weights are float32, and it takes {paper}.* of float32"
        with pytest.raises(TypeError, match=message):
            model(x)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("alexnet", dict(variant="torchvision")),
        ("vgg11", {}),
        ("googlenet", dict(variant="torchvision")),
        ("resnet18", {}),
        ("resnet50", {}),
        ("fcn3", {}),
        ("fcn4", {}),
        ("fcn4", dict(variant="lecture")),
        ("fcn7", {}),
        ("recommender", {}),
        ("deep_salience", {}),
    ],
)
def test_an_input_of_the_smallest_size_is_enough(name, options, undrawn):
    model = models.create(name, **options).eval()
    with mc.no_grad(), kernels.use(kernels.outline):
        assert model(np.zeros((1, *model.smallest_shape), np.float32)).shape[0] == 1


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "alexnet",
            dict(variant="modern"),
            "variant is 'modern'; it takes 'paper' or 'torchvision'",
        ),
        ("googlenet", dict(variant="v3"), "variant is 'v3'; it takes 'paper' or 'torchvision'"),
        ("lenet5", dict(variant="new"), "variant is 'new'; it takes 'paper' or 'modern'"),
        ("fcn4", dict(variant="slide"), "variant is 'slide'; it takes 'paper' or 'lecture'"),
        ("onset_cnn", dict(variant="2015"), "variant is '2015'; it takes 'paper' or 'madmom'"),
        ("spiral_cnn", dict(arch=9), "arch is 9; it takes 1, 2, 3, 4, 5, 6, 7 or 8"),
        (
            "crepe",
            dict(capacity="huge"),
            "capacity is 'huge'; it takes 'tiny', 'small', 'medium', 'large' or",
        ),
        ("sample_cnn", dict(m=1), "m is 1; it takes a whole number >= 2"),
        ("sample_cnn", dict(n=0), "n is 0; it takes a whole number >= 1"),
        ("sample_cnn", dict(window=2, hop=3), "window is 2; it takes a whole number >= 3"),
        ("sample_cnn", dict(hop="a"), "hop is 'a'; it takes a whole number >= 1"),
        ("spiral_cnn", dict(arch=[1]), "arch is [1]; it takes 1, 2"),
        ("spiral_cnn", dict(arch=True), "arch is True; it takes 1, 2"),
        ("alexnet", dict(width=0.3), "width is 0.3; it takes a multiple of 1/16 above 0"),
        (
            "alexnet",
            dict(variant="torchvision", width=0),
            "width is 0; it takes a multiple of 1/16 above 0",
        ),
        ("vgg11", dict(width=-1), "width is -1; it takes a multiple of 1/64 above 0"),
        ("googlenet", dict(width=1 / 16), "width is 0.0625; it takes a multiple of 1/8 above 0"),
    ],
)
def test_an_option_out_of_range_is_refused(name, options, message):
    with pytest.raises(ValueError, match=f"{name}: {re.escape(message)}"):
        models.create(name, **options)


def test_the_widths_of_all_resnets_are_multiples_of_the_same():
    for name in ("resnet18", "resnet34", "resnet50"):
        with pytest.raises(ValueError, match="resnet: width is inf; it takes a multiple of 1/64"):
            models.create(name, width=float("inf"))


@pytest.mark.parametrize("width", [0.25, 0.5, 2])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("alexnet", {}),
        ("alexnet", dict(variant="torchvision")),
        *((f"vgg{depth}", dict(batch_norm=True)) for depth in (11, 13, 16, 19)),
        ("googlenet", dict(auxiliary=True)),
        ("googlenet", dict(variant="torchvision", auxiliary=True)),
        *((f"resnet{depth}", {}) for depth in (18, 34, 50)),
    ],
)
def test_a_width_scales_the_channels_of_every_layer_and_nothing_else(name, options, width, undrawn):
    whole = dict(models.create(name, **options, classes=7).named_parameters())
    model = models.create(name, **options, classes=7, width=width)
    named = dict(model.named_parameters())
    assert named.keys() == whole.keys()
    for key, parameter in named.items():
        # All but the three colours, the classes and the sizes of filters.
        scaled = [n if n in (3, 7) else n * width for n in whole[key].shape[:2]]
        assert parameter.shape == (*scaled, *whole[key].shape[2:]), key
    with mc.no_grad(), kernels.use(kernels.outline):
        assert model.eval()(np.zeros((2, *model.input_shape), np.float32)).shape == (2, 7)
        assert first(model.train()(np.zeros((2, *model.input_shape), np.float32))).shape == (2, 7)


def test_the_readme_lists_every_model_with_its_parameters_and_its_file(undrawn):
    root = Path(__file__).parents[2]
    rows = re.findall(
        r"^\| \[`(.+?)`\]\((.+?)\) \|.*\| ([\d,]+) \|$", (root / "README.md").read_text(), re.M
    )
    for call, file, count in rows:
        model = eval(call if "(" in call else f"{call}()", vars(models))
        assert sum(p.size for p in model.parameters()) == int(count.replace(",", "")), call
        module = type(model).__module__.replace(".", "/")
        assert file == f"{module}.py", call
        assert (root / file).is_file()
    assert {re.match(r"\w+", call)[0] for call, *_ in rows} == set(models.available())
