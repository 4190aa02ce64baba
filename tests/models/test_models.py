"""What every model must do, whichever it is."""

import numpy as np
import pytest

import minicnn as mc
from minicnn import kernels, models, ops


def small_batch(model, count=2):
    rng = np.random.default_rng(0)
    return mc.Tensor(rng.standard_normal((count, *model.input_shape)).astype(np.float32))


every_model = pytest.mark.parametrize("name", models.available())


@every_model
def test_every_parameter_gets_a_finite_gradient_that_is_not_zero(name):
    model = models.create(name, rng=0)
    y = model(small_batch(model))
    ops.mse_loss(y, np.zeros(y.shape, np.float32)).backward()
    for key, parameter in model.named_parameters():
        assert np.isfinite(parameter.grad).all(), key
        assert parameter.grad.any(), key


@every_model
def test_the_reference_gives_the_same_output(name):
    model = models.create(name, rng=0).eval()
    x = small_batch(model)
    y = model(x)
    with kernels.use(kernels.reference):
        expected = model(x)
    assert np.allclose(y.data, expected.data, rtol=1e-4, atol=1e-4 * abs(expected.data).max())


@every_model
def test_the_state_goes_through_a_file(name, tmp_path):
    model = models.create(name, rng=0).eval()
    mc.save(tmp_path / "state", model.state_dict())
    twin = models.create(name, rng=1).eval()
    twin.load_state_dict(mc.load(tmp_path / "state"))
    x = small_batch(model)
    assert np.array_equal(model(x).data, twin(x).data)


@every_model
def test_the_seed_decides_the_weights(name):
    one, same, other = (models.create(name, rng=seed).state_dict() for seed in (1, 1, 2))
    assert all(np.array_equal(one[key], same[key]) for key in one)
    assert not all(np.array_equal(one[key], other[key]) for key in one)


@every_model
def test_a_models_name_is_a_function_too(name):
    assert isinstance(getattr(models, name)(), mc.nn.Module)


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"create: there is no model 'lenet6'; there are .*lenet5"):
        models.create("lenet6")
