"""What must hold for every kernel, from the case table."""

import numpy as np
import pytest

import minicnn as mc
from minicnn import kernels
from tests.kernels.cases import CASES, assert_close
from tests.kernels.foreign import ForeignArray

every_case = pytest.mark.parametrize("case", CASES, ids=str)
both_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


# Cases of every file of compiled kernels: for arrays of another kind, each is compiled anew.
COMPILED_AGAIN = {
    "conv2d", "conv2d-pointwise", "conv1d", "conv_transpose2d", "linear", "max_pool2d", "lp_pool2d",
    "batch_norm_training", "relu", "softmax", "cross_entropy", "adam_steps", "fixed_dropout",
}  # fmt: skip


def forward_and_gradients(case, arrays, dy=None):
    """Return the output, and the gradient of each floating-point array for a fixed `dy`."""
    trained = case.trained()
    tensors = [mc.Tensor(a, requires_grad=t) for a, t in zip(arrays, trained, strict=True)]
    y = case.run(*tensors)
    if dy is None:
        dy = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)
    if y.requires_grad:
        y.backward(dy)
    return y.data, [tensor.grad for tensor in tensors]


@every_case
@both_dtypes
def test_the_fast_kernels_agree_with_the_reference(case, dtype):
    arrays = case.draw(dtype)
    y, gradients = forward_and_gradients(case, arrays)
    with kernels.use(kernels.reference):
        expected, expected_gradients = forward_and_gradients(case, arrays)
    assert_close(y, expected, case.terms())
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        assert (gradient is None) == (wanted is None)
        if gradient is not None:
            assert_close(gradient, wanted, case.terms())


@every_case
@both_dtypes
def test_outputs_and_gradients_have_the_dtype_and_shape_of_the_input(case, dtype):
    arrays = case.draw(dtype)
    y, gradients = forward_and_gradients(case, arrays)
    assert y.dtype == dtype
    for array, gradient in zip(arrays, gradients, strict=True):
        if gradient is not None:
            assert (gradient.dtype, gradient.shape) == (dtype, array.shape)


@every_case
@both_dtypes
def test_values_and_gradients_agree_with_pytorch(case, dtype):
    torch = pytest.importorskip("torch")
    if case.torch is None:
        pytest.skip("PyTorch has no such operation")
    arrays = case.draw(dtype)
    y, gradients = forward_and_gradients(case, arrays)
    trained = case.trained()
    tensors = [torch.tensor(a, requires_grad=t) for a, t in zip(arrays, trained, strict=True)]
    expected = case.torch(torch, *tensors)
    assert_close(y, expected.detach().numpy(), case.terms())
    if expected.requires_grad:
        dy = np.random.default_rng(1).standard_normal(y.shape).astype(dtype)
        expected.backward(torch.tensor(dy))
    for tensor, gradient in zip(tensors, gradients, strict=True):
        assert (gradient is None) == (tensor.grad is None)
        if gradient is not None:
            assert_close(gradient, tensor.grad.numpy(), case.terms())


@every_case
def test_gradients_are_the_slopes_along_a_random_direction(case):
    arrays = case.draw(np.float64)
    y, gradients = forward_and_gradients(case, arrays)
    dy = np.random.default_rng(1).standard_normal(y.shape)
    checked = [i for i, gradient in enumerate(gradients) if gradient is not None]
    for i in checked:
        direction = np.random.default_rng(2).choice([-1.0, 1.0], arrays[i].shape)
        step = 1e-6
        ends = []
        for sign in (1, -1):
            moved = list(arrays)
            moved[i] = arrays[i] + sign * step * direction
            ends.append(float((case.run(*map(mc.Tensor, moved)).data * dy).sum()))
        slope = (ends[0] - ends[1]) / (2 * step)
        assert abs((gradients[i] * direction).sum() - slope) <= 1e-6 * max(1, abs(slope))


linear_cases = [(case, name) for case in CASES for name in case.linear]


@pytest.mark.parametrize(("case", "name"), linear_cases, ids=lambda value: str(value))
def test_the_gradient_of_a_linear_kernel_is_its_adjoint(case, name):
    arrays = dict(zip(case.arrays, case.draw(np.float64), strict=True))
    y, gradients = forward_and_gradients(case, list(arrays.values()))
    dy = np.random.default_rng(1).standard_normal(y.shape)
    gradient = gradients[list(arrays).index(name)]
    assert_close(np.sum(y * dy), np.sum(arrays[name] * gradient), case.terms())


@every_case
def test_strided_and_read_only_inputs_give_the_same_and_stay_unchanged(case):
    arrays = case.draw(np.float64)
    expected, expected_gradients = forward_and_gradients(case, arrays)
    views = []
    for array in arrays:
        wide = np.repeat(array[..., None], 3, axis=-1)
        view = wide[..., 1] if array.ndim < 2 else wide[..., 1].swapaxes(0, 1).copy().swapaxes(0, 1)
        view.flags.writeable = False
        views.append(view)
    y, gradients = forward_and_gradients(case, views)
    assert_close(y, expected, case.terms())
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        if wanted is not None:
            assert_close(gradient, wanted, case.terms())
    for view, array in zip(views, arrays, strict=True):
        assert np.array_equal(view, array)


def misaligned(array):
    """Return the same numbers, each of which begins at an odd address."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    view = memory[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if str(case) in COMPILED_AGAIN], ids=str)
def test_misaligned_inputs_give_the_same(case):
    arrays = case.draw(np.float32)
    expected, expected_gradients = forward_and_gradients(case, arrays)
    views = [misaligned(a) if a.dtype == np.float32 else a for a in arrays]
    assert not all(view.flags.aligned for view in views)
    y, gradients = forward_and_gradients(case, views)
    assert np.array_equal(y, expected)
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        assert wanted is None or np.array_equal(gradient, wanted)


@pytest.mark.parametrize("case", [case for case in CASES if case.empty], ids=str)
def test_an_empty_batch_gives_an_empty_result_and_zero_gradients(case):
    arrays = case.draw(np.float32)
    y, _ = forward_and_gradients(case, arrays)
    batched = {"x", "logits", "target", "residual", "w", "dw"}
    emptied = [a[:0] if n in batched else a for n, a in zip(case.arrays, arrays, strict=True)]
    empty, gradients = forward_and_gradients(case, emptied)
    assert empty.shape == (y.shape if y.ndim == 0 else (0, *y.shape[1:]))
    for array, gradient in zip(emptied, gradients, strict=True):
        if gradient is not None:
            assert gradient.shape == array.shape
            assert not gradient.any()


@every_case
def test_the_reference_runs_on_arrays_that_are_not_numpys(case):
    arrays = case.draw(np.float64)
    with kernels.use(kernels.reference):
        expected, expected_gradients = forward_and_gradients(case, arrays)
        dy = np.random.default_rng(1).standard_normal(expected.shape)
        y, gradients = forward_and_gradients(case, [*map(ForeignArray, arrays)], ForeignArray(dy))
    assert isinstance(y, ForeignArray)
    assert_close(y.values, expected, case.terms())
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        if wanted is not None:
            assert isinstance(gradient, ForeignArray)
            assert_close(gradient.values, wanted, case.terms())


@pytest.mark.gpu
@every_case
@both_dtypes
def test_values_and_gradients_on_the_gpu_agree_with_the_reference(case, dtype):
    import cupy

    arrays = case.draw(dtype)
    with kernels.use(kernels.reference):
        expected, expected_gradients = forward_and_gradients(case, arrays)
    dy = np.random.default_rng(1).standard_normal(expected.shape).astype(dtype)
    y, gradients = forward_and_gradients(case, [*map(cupy.asarray, arrays)], cupy.asarray(dy))
    assert_close(y.get(), expected, case.terms())
    for gradient, wanted in zip(gradients, expected_gradients, strict=True):
        if wanted is not None:
            assert_close(gradient.get(), wanted, case.terms())


class Recorder:
    """The reference, with a note of every kernel that is asked for."""

    def __init__(self):
        self.called = set()

    def __getattr__(self, name):
        self.called.add(name)
        return getattr(kernels.reference, name)


def test_every_kernel_has_a_case():
    recorder = Recorder()
    with kernels.use(recorder):
        for case in CASES:
            forward_and_gradients(case, case.draw(np.float64))
    assert recorder.called == set(kernels.reference.__all__)


def test_every_implementation_has_the_same_kernels_with_the_same_signatures():
    import inspect

    for implementation in (kernels.cpu, kernels.cuda):
        assert implementation.__all__ == kernels.reference.__all__
        for name in kernels.reference.__all__:
            expected = inspect.signature(getattr(kernels.reference, name))
            assert inspect.signature(getattr(implementation, name)) == expected
