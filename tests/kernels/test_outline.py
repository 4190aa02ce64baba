"""The outline against the reference: the same shapes and dtypes, and nothing behind them."""

import inspect

import numpy as np
import pytest

import minicnn as mc
from minicnn import kernels
from tests.kernels.cases import CASES
from tests.kernels.foreign import ForeignArray

BACKWARD = {name for name in kernels.reference.__all__ if name.endswith("_grad")}
FORWARD = set(kernels.reference.__all__) - BACKWARD - {"adam_step", "sgd_step"}

every_case = pytest.mark.parametrize("case", CASES, ids=str)


class Compared:
    """The reference; whatever it returns is compared with what the outline does."""

    def __init__(self):
        self.compared = set()

    def __getattr__(self, name):
        kernel = getattr(kernels.reference, name)
        if name not in FORWARD:
            return kernel

        def both(*arguments, **options):
            before = [np.copy(a) for a in arguments if isinstance(a, np.ndarray)]
            outlined = getattr(kernels.outline, name)(*arguments, **options)
            after = [a for a in arguments if isinstance(a, np.ndarray)]
            assert all(map(np.array_equal, before, after))
            results = kernel(*arguments, **options)
            assert type(outlined) is type(results)
            assert_outlines(outlined, results)
            self.compared.add(name)
            return results

        return both


def assert_outlines(outlined, expected):
    if isinstance(expected, tuple):
        assert len({id(part) for part in outlined}) == len(expected)
        for part, wanted in zip(outlined, expected, strict=True):
            assert_outlines(part, wanted)
    elif expected is not None:
        assert (outlined.shape, outlined.dtype) == (expected.shape, expected.dtype)
        assert not any(outlined.strides)
        assert not outlined.any()


def run(case, form=np.asarray, dtype=np.float64):
    with mc.no_grad():
        return case.run(*(mc.Tensor(form(array)) for array in case.draw(dtype))).data


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_outline_has_the_shapes_and_dtypes_of_the_reference(case, dtype):
    with kernels.use(Compared()):
        run(case, dtype=dtype)


@every_case
@pytest.mark.parametrize("of_device", [np.asarray, ForeignArray])
def test_an_outline_is_an_input_like_any_other_on_every_device(case, of_device):
    if "steps" in str(case):
        pytest.skip("an optimiser's step moves values, and an outline has none")
    expected = run(case)
    with kernels.use(kernels.outline):
        y = run(case, lambda a: kernels.outline.zeros(of_device(a), a.shape))
    assert type(y) is type(of_device(expected))
    assert (y.shape, y.dtype) == (expected.shape, expected.dtype)


def test_every_kernel_that_computes_a_result_has_an_outline():
    compared = Compared()
    with kernels.use(compared):
        for case in CASES:
            run(case)
    assert compared.compared == FORWARD
    assert not any(hasattr(kernels.outline, name) for name in BACKWARD)


@pytest.mark.parametrize("name", sorted(FORWARD))
def test_an_outline_takes_the_arguments_of_the_reference(name):
    parameters = inspect.signature(getattr(kernels.reference, name)).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    by_keyword = {p.name: p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
    inspect.signature(getattr(kernels.outline, name)).bind(*positional, **by_keyword)


def test_an_outline_takes_no_memory_however_large_it_is():
    x = kernels.outline.zeros(np.zeros(1, np.float32), (1, 1, 10**6, 10**6))
    options = dict(stride=(1, 1), padding=((1, 1), (0, 2)), dilation=(1, 1), groups=1)
    y = kernels.outline.conv2d(x, np.zeros((64, 1, 3, 3), np.float32), None, **options)
    assert y.shape == (1, 64, 10**6, 10**6)
    assert y is not kernels.outline.relu(y)
