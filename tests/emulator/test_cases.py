"""What must hold for every CUDA kernel, from the case table, in three orders of its threads."""

import itertools

import numpy as np
import pytest
from minicnn.kernels.cuda import launch
from minicnn.kernels.precision import PRECISIONS

from minicnn import kernels
from tests.emulator.cublas import Cublas
from tests.kernels.cases import CASES, assert_close
from tests.kernels.test_cases import forward_and_gradients, linear_cases

every_case = pytest.mark.parametrize("case", CASES, ids=str)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def by_the_reference(case, arrays):
    with kernels.use(kernels.reference):
        return forward_and_gradients(case, arrays)


def assert_agree(case, arrays, expected):
    y, gradients = forward_and_gradients(case, arrays)
    expected_y, expected_gradients = expected
    assert y.dtype == expected_y.dtype
    assert_close(y, expected_y, case.terms())
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        assert (gradient is None) == (wanted is None)
        if gradient is not None:
            assert gradient.dtype == wanted.dtype
            assert_close(gradient, wanted, case.terms())


@every_case
@both_dtypes
def test_the_cuda_kernels_agree_with_the_reference(emulator, case, dtype):
    arrays = case.draw(dtype)
    assert_agree(case, arrays, by_the_reference(case, arrays))


@every_case
def test_counting_in_64_bits_gives_the_same(emulate, case):
    emulate(is_wide=True)
    arrays = case.draw(np.float32)
    assert_agree(case, arrays, by_the_reference(case, arrays))


@pytest.mark.parametrize(("case", "name"), linear_cases, ids=str)
def test_the_gradient_of_a_linear_kernel_is_its_adjoint(emulate, case, name):
    emulate("shuffled")
    arrays = dict(zip(case.arrays, case.draw(np.float64), strict=True))
    y, gradients = forward_and_gradients(case, list(arrays.values()))
    dy = np.random.default_rng(1).standard_normal(y.shape)
    gradient = gradients[list(arrays).index(name)]
    assert_close(np.sum(y * dy), np.sum(arrays[name] * gradient), case.terms())


@every_case
def test_strided_and_read_only_inputs_give_the_same(emulate, case):
    emulate("reverse")
    arrays = case.draw(np.float64)
    views = []
    for array in arrays:
        view = np.repeat(array[..., None], 3, axis=-1)[..., 1]
        view.flags.writeable = False
        views.append(view)
    assert_agree(case, views, by_the_reference(case, arrays))


@pytest.mark.parametrize("case", [case for case in CASES if case.empty], ids=str)
def test_an_empty_batch_gives_an_empty_result_and_zero_gradients(emulate, case):
    emulate()
    batched = {"x", "logits", "target", "residual", "w", "dw"}
    arrays = zip(case.arrays, case.draw(np.float32), strict=True)
    arrays = [array[:0] if name in batched else array for name, array in arrays]
    assert_agree(case, arrays, by_the_reference(case, arrays))


@every_case
def test_gradients_are_the_same_bits_in_any_order(emulate, case):
    results = []
    for schedule in ("forward", "shuffled"):
        emulate(schedule)
        y, gradients = forward_and_gradients(case, case.draw(np.float32))
        results.append([y, *(g for g in gradients if g is not None)])
    for one, other in zip(*results, strict=True):
        assert np.array_equal(one, other)


def test_every_cuda_kernel_has_a_case(emulate, set_precision, everything_by_fourier):
    emulators = emulate(), emulate(cublas=Cublas()), emulate(**everything_by_fourier)
    for emulator, precision in itertools.product(emulators, PRECISIONS):
        set_precision(precision)
        with launch.use(emulator):
            for case in CASES:
                if precision == "float32" or str(case).startswith("conv"):
                    forward_and_gradients(case, case.draw(np.float32))
    assert set().union(*(emulator.launched for emulator in emulators)) == {
        kernel for source in kernels.cuda.sources() for kernel in source.kernels
    }
