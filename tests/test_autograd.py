"""The engine: what operators compute, what backward leaves, and what it lets go of."""

import threading
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays_of

import minicnn as mc
from minicnn import kernels, ops
from minicnn.autograd import joint, observe, primitive
from tests.kernels.foreign import ForeignArray


def leaf(*shape, seed=0, positive=False):
    values = np.random.default_rng(seed).standard_normal(shape)
    return mc.Tensor(np.abs(values) + 0.5 if positive else values, requires_grad=True)


binary = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda a, b: a**b,
}


@pytest.mark.parametrize("operator", binary.values(), ids=binary.keys())
@settings(deadline=None, max_examples=25)
@given(shapes=arrays_of.mutually_broadcastable_shapes(num_shapes=2, max_dims=4, max_side=3))
def test_binary_operators_reduce_their_gradients_to_the_broadcast_shapes(operator, shapes):
    a, b = (leaf(*shape, seed=i, positive=True) for i, shape in enumerate(shapes.input_shapes))
    assert mc.gradcheck(operator, a, b)


@pytest.mark.parametrize("operator", binary.values(), ids=binary.keys())
def test_numbers_and_arrays_stand_on_either_side_of_a_tensor(operator):
    x, array = leaf(2, 3, positive=True), np.full((2, 3), 1.5)
    for f in (
        lambda x: operator(x, 2),
        lambda x: operator(2, x),
        lambda x: operator(x, array),
        lambda x: operator(array, x),
        lambda x: operator(np.float64(2), x),
    ):
        assert isinstance(f(x), mc.Tensor)
        assert mc.gradcheck(f, x)


@pytest.mark.parametrize("number", [2, 2.5, np.float64(2.5), np.float32(2.5), np.int64(2)])
@pytest.mark.parametrize("operator", binary.values(), ids=binary.keys())
def test_a_number_does_not_widen_float32(operator, number):
    x = mc.Tensor(np.ones(3, np.float32), requires_grad=True)
    assert operator(x, number).dtype == np.float32
    y = operator(number, x)
    assert y.dtype == np.float32
    y.sum().backward()
    assert x.grad.dtype == np.float32


matrix_shapes = [
    ((3, 4), (4, 5)),
    ((4,), (4,)),
    ((4,), (4, 5)),
    ((3, 4), (4,)),
    ((2, 3, 4), (4, 5)),
    ((2, 3, 4), (2, 4, 5)),
    ((4,), (2, 4, 5)),
    ((2, 3, 4), (4,)),
    ((2, 1, 3, 4), (5, 4, 2)),
]


@pytest.mark.parametrize(("a", "b"), matrix_shapes)
def test_matrix_products_follow_numpy_for_vectors_matrices_and_stacks(a, b):
    left, right = leaf(*a), leaf(*b, seed=1)
    assert np.allclose((left @ right).data, left.data @ right.data)
    assert mc.gradcheck(lambda a, b: a @ b, left, right)


unary = {
    "negative": lambda x: -x,
    "abs": lambda x: x.abs(),
    "builtin abs": abs,
    "exp": lambda x: x.exp(),
    "log": lambda x: x.abs().log(),
    "sqrt": lambda x: x.abs().sqrt(),
    "clip": lambda x: x.clip(-0.7, 0.9),
    "clip below": lambda x: x.clip(minimum=0.1),
    "sum": lambda x: x.sum(),
    "sum over one axis": lambda x: x.sum(axis=1),
    "sum over negative axes": lambda x: x.sum(axis=(-1, 0), keepdims=True),
    "mean": lambda x: x.mean(),
    "mean over axes": lambda x: x.mean(axis=(0, 2)),
    "max": lambda x: x.max(),
    "max over an axis": lambda x: x.max(axis=1, keepdims=True),
    "min over axes": lambda x: x.min(axis=(0, 2)),
    "reshape": lambda x: x.reshape(6, -1),
    "reshape by tuple": lambda x: x.reshape((4, 6)),
    "transpose": lambda x: x.transpose(),
    "transpose axes": lambda x: x.transpose(1, -1, 0),
    "T": lambda x: x.T,
    "astype": lambda x: x.astype(np.float64) * 2,
    "concatenate": lambda x: ops.concatenate([x, 2 * x, x], axis=-1),
    "stack": lambda x: ops.stack([x, x * x], axis=1),
    "stack at the end": lambda x: ops.stack([x, x * x], axis=-1),
    "pad": lambda x: ops.pad(x, ((1, 2), (0, 0), (3, 1)), value=5.0),
    "where": lambda x: ops.where(x.data > 0, x * 2, x * x),
    "elements several times": lambda x: x[[1, 0, 1, 1]] * x[:, [2, 0, 2, 0]].sum(),
    "no elements": lambda x: x[:, []],
    "where broadcasts": lambda x: ops.where(np.ones((5, 1, 1, 1), bool), x, 1.0),
}


@pytest.mark.parametrize("f", unary.values(), ids=unary.keys())
def test_operations_have_the_gradients_of_central_differences(f):
    assert mc.gradcheck(f, leaf(2, 3, 4))


indices = {
    "integer": 1,
    "negative": (-1, 2),
    "slice": (slice(None), slice(2, None, -1)),
    "step": (Ellipsis, slice(0, 4, 2)),
    "new axis": (None, 1, Ellipsis, None),
    "integer array": np.array([0, 1, 1, 0]),
    "integer list": ([0, 1, 1], [2, 0, 0]),
    "integer array and slice": (slice(None), np.array([[0, 1], [2, 2]])),
    "boolean mask": np.random.default_rng(0).random((2, 3, 4)) > 0.5,
    "boolean axis": (slice(None), np.array([True, False, True])),
    "tuple": (slice(None), (0, 0)),
    "tuple alone": ((0, 0, 1),),
    "tensor": mc.Tensor(np.array([1, 1])),
}


@pytest.mark.parametrize("index", indices.values(), ids=indices.keys())
def test_indexing_selects_as_numpy_and_adds_gradients_of_repeated_elements(index):
    x = leaf(2, 3, 4)
    plain = index.data if isinstance(index, mc.Tensor) else index
    assert np.array_equal(x[index].data, x.data[plain])
    assert mc.gradcheck(lambda x: x[index], x)


def test_comparisons_give_boolean_tensors_without_gradients():
    x, y = mc.Tensor([1.0, 2.0, 3.0], requires_grad=True), mc.Tensor([2.0, 2.0, 2.0])
    for result, expected in (
        (x == y, [0, 1, 0]),
        (x != 2, [1, 0, 1]),
        (x < y, [1, 0, 0]),
        (x <= np.float64(2), [1, 1, 0]),
        (x > y, [0, 0, 1]),
        (x >= y, [0, 1, 1]),
    ):
        assert result.data.dtype == bool
        assert result.data.tolist() == [bool(value) for value in expected]
        assert not result.requires_grad


def test_equal_maxima_share_their_gradient():
    x = mc.Tensor([1.0, 3.0, 3.0], requires_grad=True)
    x.max().backward()
    assert x.grad.tolist() == [0, 0.5, 0.5]


def test_a_power_of_zero_has_no_slope_even_at_zero():
    x = mc.Tensor([0.0, 2.0], requires_grad=True)
    (x**0).sum().backward()
    assert x.grad.tolist() == [0, 0]


def test_exponents_have_gradients_where_the_base_is_zero():
    exponent = mc.Tensor([2.0, 2.0], requires_grad=True)
    (mc.Tensor([0.0, 2.0]) ** exponent).sum().backward()
    assert exponent.grad.tolist() == pytest.approx([0, 4 * np.log(2)])


def test_python_floats_become_float32_and_arrays_keep_their_dtype():
    assert mc.Tensor([1.0, 2.0]).dtype == np.float32
    assert mc.Tensor(1.5).dtype == np.float32
    assert mc.Tensor([1, 2]).dtype == np.int64
    assert mc.Tensor(np.zeros(2)).dtype == np.float64
    assert mc.Tensor(np.float64(2)).dtype == np.float64


def test_a_tensor_takes_an_array_without_a_copy():
    array = np.zeros(3)
    assert mc.Tensor(array).data is array
    assert mc.Tensor(mc.Tensor(array)).data is array


def test_gradients_add_up_over_uses_and_over_backward_calls():
    x = mc.Tensor([2.0], requires_grad=True)
    (x * x + 3 * x).sum().backward()
    assert x.grad.tolist() == [7]
    (x * x).sum().backward()
    assert x.grad.tolist() == [11]


def test_a_shared_node_passes_its_whole_gradient_on_once():
    x = mc.Tensor([3.0], requires_grad=True)
    calls = []

    @primitive
    def double(x):
        return 2 * x, (lambda dy: calls.append(1) or 2 * dy,)

    y = double(x)
    (y * y + y).sum().backward()
    assert x.grad.tolist() == [2 * (2 * 6 + 1)]
    assert len(calls) == 1


def test_a_scalar_may_be_used_many_times():
    x = mc.Tensor(np.arange(3.0), requires_grad=True)
    total = x.sum()
    (total * total + total + total).backward()
    assert x.grad.tolist() == [8, 8, 8]


def test_a_float32_leaf_has_a_float32_gradient_whatever_it_met():
    x = mc.Tensor(np.ones(3, np.float32), requires_grad=True)
    (x * np.arange(3.0)).sum().backward()
    assert x.grad.dtype == np.float32
    double = mc.Tensor(np.ones(3), requires_grad=True)
    ops.stack([x, np.zeros(3)]).sum().backward()
    with pytest.raises(TypeError, match="stack: tensors of float32, float64 do not mix"):
        ops.stack([x, double])


constants = [[1.0, 2.0, 3.0], (1, 2, 3), np.array(2.0), np.arange(1, 4), mc.Tensor([1, 2, 3])]


@pytest.mark.parametrize("constant", constants, ids=repr)
@pytest.mark.parametrize("operator", binary.values(), ids=binary.keys())
def test_lists_whole_numbers_and_arrays_without_axes_do_not_widen_float32(operator, constant):
    x = mc.Tensor(np.ones(3, np.float32), requires_grad=True)
    assert operator(x, constant).dtype == np.float32
    if not isinstance(constant, np.ndarray) or constant.ndim:
        assert operator(mc.Tensor(constant), x).dtype == np.float32
    assert ops.where(np.array([True, False, True]), x, constant).dtype == np.float32


def test_masks_and_whole_numbers_become_float32_beside_a_number():
    x = mc.Tensor(np.ones(3, np.float32))
    for y in ((x > 0) * 0.5, 1.0 - (x > 0), mc.Tensor([1, 2]) + 1.5, mc.Tensor([1, 2]).mean()):
        assert y.dtype == np.float32
    assert (mc.Tensor([1, 2]) + 1).dtype == np.int64


def test_a_list_of_tensors_with_gradients_is_refused():
    w = mc.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(TypeError, match=r"loses their gradients; use ops\.stack"):
        w * [w[0], w[1]]
    with pytest.raises(TypeError, match=r"use ops\.stack"):
        mc.Tensor([w[0], w[1]])


def test_a_list_can_be_multiplied_by_a_matrix():
    x = mc.Tensor(np.eye(2, dtype=np.float32))
    assert (x @ [1.0, 2.0]).data.tolist() == ([1.0, 2.0] @ x).data.tolist() == [1, 2]


def test_the_quotient_of_whole_numbers_is_float32():
    assert (mc.Tensor([1, 2]) / 2).dtype == np.float32


def test_conversion_to_whole_numbers_cuts_the_history():
    x = mc.Tensor([1.5], requires_grad=True)
    assert not x.astype(np.int64).requires_grad


def test_a_tensor_becomes_an_array_and_tensors_of_numbers_become_one():
    x = mc.Tensor([[1.5, 2.0]])
    assert np.asarray(x).tolist() == [[1.5, 2.0]]
    assert mc.Tensor([mc.Tensor(1.0), mc.Tensor(2.0)]).data.tolist() == [1, 2]
    assert float(mc.Tensor([3.0])) == 3
    assert [float(row.sum()) for row in mc.Tensor([[1.0, 2.0], [3.0, 4.0]])] == [3, 7]
    with pytest.raises(TypeError, match="nothing to iterate over"):
        list(mc.Tensor(1.0))
    with pytest.raises(TypeError, match="it takes real numbers"):
        mc.Tensor(["a"])


def test_only_a_leaf_can_change_what_it_requires():
    y = mc.Tensor([1.0], requires_grad=True) * 2
    with pytest.raises(RuntimeError, match="only a leaf can change requires_grad"):
        y.requires_grad = False


def test_a_decorated_function_runs_in_several_threads_at_once():
    x, failures = mc.Tensor([1.0], requires_grad=True), []
    barrier = threading.Barrier(2)

    @mc.no_grad()
    def f():
        barrier.wait()
        if (x * 2).requires_grad:
            failures.append("recorded")
        barrier.wait()

    threads = [threading.Thread(target=f) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


foreign = {k: f for k, f in unary.items() if k != "where broadcasts"}


@pytest.mark.parametrize("f", foreign.values(), ids=foreign.keys())
def test_operations_run_on_arrays_that_are_not_numpys(f):
    x = leaf(2, 3, 4)
    y = f(x)
    other = mc.Tensor(ForeignArray(x.data), requires_grad=True)
    with kernels.use(kernels.reference):
        z = f(other)
        z.backward(ForeignArray(np.ones(y.shape)))
    y.backward(np.ones(y.shape))
    assert np.allclose(z.data.values, y.data)
    assert np.allclose(other.grad.values, x.grad)


def test_a_leafs_gradient_is_nobody_elses_memory():
    a, b = (mc.Tensor(np.ones(3), requires_grad=True) for _ in range(2))
    seed = np.ones(3)
    (a + b).backward(seed)
    a.grad *= 5
    assert b.grad.tolist() == [1, 1, 1]
    assert seed.tolist() == [1, 1, 1]


def test_branches_that_share_a_gradient_do_not_spoil_each_other():
    x = mc.Tensor(np.ones(2), requires_grad=True)
    y = x * 1
    z = y + y
    total = z + y + z
    total.sum().backward()
    assert x.grad.tolist() == [5, 5]


def test_a_gradient_that_nobody_needs_is_never_computed():
    def forbidden(dy):
        raise AssertionError("computed without need")

    @primitive
    def product(a, b):
        return a * b, (lambda dy: dy * b, forbidden)

    x = mc.Tensor(np.ones(2), requires_grad=True)
    product(x, mc.Tensor(np.full(2, 3.0))).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_joint_gradients_are_computed_once():
    calls = []
    first, second = joint(lambda dy: calls.append(1) or (dy, 2 * dy), 2)
    assert (first(1), second(1), len(calls)) == (1, 2, 1)


def test_an_intermediate_array_dies_when_no_gradient_needs_it():
    x = mc.Tensor(np.ones(4), requires_grad=True)
    middle = x + 1
    watch = weakref.ref(middle)
    y = middle + 1
    del middle
    assert watch() is None
    y.sum().backward()
    assert x.grad.tolist() == [1] * 4


def test_memory_falls_during_backward():
    alive_at_the_end_of_the_sweep = []

    @primitive
    def first(x):
        def dx(dy):
            alive_at_the_end_of_the_sweep.append(kept() is not None)
            return dy

        return x * 1, (dx,)

    x = mc.Tensor(np.ones(4), requires_grad=True)
    later = first(x).exp()
    kept = weakref.ref(later.data)
    total = later.sum()
    del later
    assert kept() is not None
    total.backward()
    assert alive_at_the_end_of_the_sweep == [False]


def test_a_chain_of_20000_operations_is_swept_and_freed_without_recursion():
    x = mc.Tensor(np.ones(1), requires_grad=True)
    for swept in (True, False):
        y = x
        for _ in range(20_000):
            y = y + 1
        if swept:
            y.backward()
        del y
    assert x.grad.tolist() == [1]


def test_a_second_backward_raises_instead_of_adding_silently():
    x = mc.Tensor([1.0], requires_grad=True)
    y = x.exp()
    y.backward()
    with pytest.raises(RuntimeError, match="already swept at 'exp'; run the forward pass again"):
        y.backward()
    with pytest.raises(RuntimeError, match="already swept"):
        (y * 2).backward()


def test_backward_needs_something_that_requires_a_gradient():
    with pytest.raises(RuntimeError, match="nothing that this tensor was computed from"):
        mc.Tensor([1.0]).backward()


def test_backward_of_several_elements_needs_a_gradient_of_their_shape():
    x = mc.Tensor(np.ones((2, 3)), requires_grad=True)
    with pytest.raises(ValueError, match=r"shape \(2, 3\) needs a gradient"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"gradient has shape \(3,\), the tensor \(2, 3\)"):
        (x * 2).backward(np.ones(3))
    (x * 2).backward([[1, 2, 3], [4, 5, 6]])
    assert x.grad.tolist() == [[2, 4, 6], [8, 10, 12]]


def test_a_leaf_can_be_its_own_root():
    x = mc.Tensor([1.0], requires_grad=True)
    x.backward()
    assert x.grad.tolist() == [1]


def test_integers_have_no_gradient():
    with pytest.raises(TypeError, match="int64 values have no gradient; use float32 or float64"):
        mc.Tensor([1, 2], requires_grad=True)


def test_no_grad_records_nothing_as_block_and_as_decorator():
    x = mc.Tensor([1.0], requires_grad=True)
    with mc.no_grad():
        with mc.no_grad():
            assert not (x * 2).requires_grad
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad

    @mc.no_grad()
    def f():
        return x * 2

    assert not f().requires_grad
    assert not f().requires_grad


@pytest.mark.parametrize("name", ["max_pool2d", "adaptive_max_pool2d"])
def test_without_a_gradient_no_maximum_notes_its_place(name, monkeypatch):
    made, pool = [], getattr(kernels.cpu, name)

    def observed(*arguments, **options):
        made.append(pool(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(kernels.cpu, name, observed)
    x = leaf(1, 1, 4, 4)
    with mc.no_grad():
        getattr(ops, name)(x, 2)
    getattr(ops, name)(x, 2).sum().backward()
    mc.nn.fuse(mc.nn.Sequential(mc.nn.ReLU(), mc.nn.MaxPool2d(2)).eval())(x)
    assert made[0][1] is None
    assert made[1][1] is not None
    assert all(index is None for _, index in made[2:])


def test_no_grad_ends_with_an_error_too():
    x = mc.Tensor([1.0], requires_grad=True)
    with pytest.raises(ZeroDivisionError), mc.no_grad():
        raise ZeroDivisionError
    assert (x * 2).requires_grad


def test_no_grad_in_one_thread_leaves_others_recording():
    x, recorded = mc.Tensor([1.0], requires_grad=True), []
    with mc.no_grad():
        thread = threading.Thread(target=lambda: recorded.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    assert recorded == [True]


def test_detach_cuts_the_history():
    x = mc.Tensor([2.0], requires_grad=True)
    y = x * 3
    (y.detach() * x).sum().backward()
    assert x.grad.tolist() == [6]


def test_observers_see_every_operation():
    seen = []
    with observe(
        lambda name, arguments, options, result, function: seen.append((name, result.shape))
    ):
        mc.Tensor(np.ones((2, 3))).sum(axis=0)
    mc.Tensor([1.0]).exp()
    assert seen == [("sum", (3,))]


def test_tensors_show_their_values_and_convert_to_numbers():
    x = mc.Tensor([[1.5, 2.0]], requires_grad=True)
    assert repr(x) == "Tensor([[1.5, 2. ]], dtype=float32, requires_grad=True)"
    assert (float(x[0, 0]), int(x[0, 1]), bool(x[0, 0]), len(x)) == (1.5, 2, True, 1)
    assert x[0, 0].item() == 1.5
    assert (x.ndim, x.size, x.shape) == (2, 2, (1, 2))
    assert x.numpy() is x.data


def test_gradcheck_names_the_element_of_a_wrong_gradient():
    @primitive
    def wrong(x):
        return x * x, (lambda dy: dy * np.where(np.arange(x.size) == 2, 0, 2 * x),)

    with pytest.raises(AssertionError, match=r"input 0 at \(2,\): backward gives 0, central"):
        mc.gradcheck(wrong, mc.Tensor(np.arange(1.0, 5), requires_grad=True))


def test_gradcheck_finds_a_gradient_that_is_missing_altogether():
    with pytest.raises(AssertionError, match=r"backward gives 0"):
        mc.gradcheck(lambda x: mc.Tensor(x.data * 2), mc.Tensor(np.ones(2), requires_grad=True))


def test_gradcheck_asks_for_float64_and_for_something_to_check():
    with pytest.raises(TypeError, match="input 0 is float32; central differences need float64"):
        mc.gradcheck(lambda x: x, mc.Tensor([1.0], requires_grad=True))
    with pytest.raises(ValueError, match="no input requires a gradient"):
        mc.gradcheck(lambda x: x, mc.Tensor(np.ones(1)))


def test_gradcheck_leaves_its_inputs_as_they_were():
    x = leaf(3)
    before = x.data.copy()
    mc.gradcheck(lambda x: x.exp(), x)
    assert np.array_equal(x.data, before)
    assert x.grad is None
