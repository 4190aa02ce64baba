"""How much memory results take at the same time: numbers by hand, and those of real runs."""

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minicnn as mc
from minicnn import kernels, models, nn, ops
from minicnn.activations import Activations
from minicnn.autograd import Tensor, no_grad, observe

S = 4 * 60  # bytes of the input in most tests, and of whatever has its size


def x_of(*shape):
    return Tensor(kernels.outline.zeros(np.zeros((), np.float32), shape))


def followed(f, x=None):
    """Return peak and total [bytes] of what f computes from x."""
    x = x_of(1, 3, 4, 5) if x is None else x
    activations = Activations(x)
    with kernels.use(kernels.outline), no_grad(), observe(activations):
        f(x)
    return activations.peak, activations.total


def test_in_a_chain_the_input_and_two_neighbours_are_alive():
    def chain(x):
        for _ in range(5):
            x = ops.relu(x)

    assert followed(chain) == (3 * S, 6 * S)


def test_a_convolution_its_activation_and_a_pooling():
    convolve = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    image, maps, pooled = 4 * 8 * 8, 4 * 4 * 6 * 6, 4 * 4 * 3 * 3
    table = mc.summary(convolve, (1, 8, 8))
    assert table.peak_activations == image + 2 * maps
    assert table.activations == image + 2 * maps + pooled


def test_the_shortcut_of_a_residual_block_stays_alive_to_its_sum():
    def plain(x):
        x = ops.relu(x)
        x = ops.tanh(x)
        return ops.tanh(x)

    def residual(x):
        x = ops.relu(x)
        return x + ops.tanh(ops.tanh(x))

    assert followed(plain) == (3 * S, 4 * S)
    assert followed(residual) == (4 * S, 5 * S)


def test_all_parts_of_a_concatenation_are_alive_with_the_whole():
    def inception(x):
        return ops.concatenate([ops.relu(x), ops.relu(x), ops.tanh(ops.relu(x))], axis=1)

    # x, three parts and the whole of three; the relu below the tanh is gone by then.
    assert followed(inception) == (7 * S, 8 * S)


def test_what_does_nothing_in_evaluation_takes_nothing():
    idle = nn.Sequential(nn.Identity(), nn.Dropout(0.5), nn.GaussianNoise(1.0)).eval()
    assert followed(idle) == (S, S)
    assert followed(lambda x: x.astype(np.float32)) == (S, S)


def test_views_take_nothing():
    def views(x):
        return x.reshape(3, 20).transpose(1, 0)[2:, None, 1]

    assert followed(views) == (S, S)


def test_a_view_keeps_all_of_its_array_alive():
    def corner(x):
        y = ops.relu(x)[0, 0, :1, :1].reshape(1)
        return ops.tanh(ops.tanh(y))

    assert followed(corner) == (2 * S + 2 * 4, 2 * S + 2 * 4)


def test_an_array_dies_with_its_last_view():
    def views(x):
        y = ops.relu(x)
        halves = y[:, :, :2], y[:, :, 2:]
        del y
        ops.tanh(x)  # x, y and this
        del halves
        ops.tanh(x)  # x and this

    activations = Activations(x := x_of(1, 3, 4, 5))
    with kernels.use(kernels.outline), no_grad(), observe(activations):
        views(x)
    assert (activations.peak, activations.total) == (3 * S, 4 * S)
    assert activations._alive == S


def test_a_reshape_that_numpy_copies_counts_and_one_that_it_does_not_does_not():
    assert followed(lambda x: x.transpose(0, 2, 3, 1).reshape(60)) == (2 * S, 2 * S)
    assert followed(lambda x: x.transpose(0, 2, 3, 1).reshape(1, 20, 3)) == (S, S)
    assert followed(lambda x: x[:, :, 1:3].reshape(30)) == (S + S // 2, S + S // 2)
    assert followed(lambda x: x[:, 1:].reshape(40)) == (S, S)


def test_elements_chosen_by_arrays_or_one_by_one_are_copies():
    assert followed(lambda x: x[:, [0, 1, 1]]) == (2 * S, 2 * S)
    assert followed(lambda x: x[:, np.array([True, False, True])])[1] == S + 2 * S // 3
    assert followed(lambda x: x[0, True])[1] == S + S
    assert followed(lambda x: x[0, 0, 0, 0]) == (S + 4, S + 4)
    assert followed(lambda x: x[0, 0, 0, 0, ...]) == (S, S)


def test_elements_count_in_their_own_dtype():
    assert followed(lambda x: x.astype(np.float64)) == (3 * S, 3 * S)


def test_weights_count_only_where_a_new_one_is_computed():
    weight = nn.Parameter(np.ones((3, 4, 5), np.float32))

    assert followed(lambda x: x * weight.reshape(1, 3, 4, 5)) == (2 * S, 2 * S)
    assert followed(lambda x: weight.astype(np.float32).transpose(2, 0, 1)) == (S, S)
    assert followed(lambda x: ops.relu(x) * (2 * weight)) == (4 * S, 4 * S)


def test_what_a_kernel_keeps_for_its_gradient_does_not_count():
    assert followed(lambda x: ops.max_pool2d(x, 1)) == (2 * S, 2 * S)


def test_nobody_is_kept_alive():
    activations = Activations(x := Tensor(np.zeros(3, np.float32)))
    gc.disable()
    try:
        with no_grad(), observe(activations):
            y = ops.relu(x).reshape(3, 1)
        gone = [weakref.ref(x.data), weakref.ref(y.data)]
        assert activations._alive == 2 * 3 * 4
        del x, y
        assert [reference() for reference in gone] == [None, None]
        assert (activations._alive, activations._layouts) == (0, {})
    finally:
        gc.enable()


class Owners:
    """What `Activations` finds, from the memory that NumPy really took."""

    def __init__(self, model, x):
        self.known = {id(t.data) for t in (*model.parameters(), *model.buffers())}
        self.total = self.peak = self.alive = 0
        self.add(x.data)

    def __call__(self, name, arguments, options, result, function):
        self.add(result.data)

    def add(self, array):
        while array.base is not None:
            array = array.base
        if id(array) in self.known:
            return
        self.known.add(id(array))
        weakref.finalize(array, self.remove, id(array), array.nbytes)
        self.total += array.nbytes
        self.alive += array.nbytes
        self.peak = max(self.peak, self.alive)

    def remove(self, number, size):
        self.known.remove(number)
        self.alive -= size


@st.composite
def rearrangements(draw):
    """Return a shape, and the axes, the shape or the index of one rearrangement after the other."""
    shape = tuple(draw(st.permutations([1, 2, 3, 4])))
    array, steps = np.empty(shape, bool), []
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["transpose", "reshape", "getitem"]))
        if kind == "transpose":
            step = tuple(draw(st.permutations(range(array.ndim))))
        elif kind == "reshape":
            step = draw(st.sampled_from(shapes(array.size)))
        else:
            parts = [draw(st.sampled_from(SLICES if n else SLICES[:8])) for n in array.shape]
            step = tuple(parts + draw(st.sampled_from([[], [None], [...]])))
        array = applied(array, kind, step)
        steps.append((kind, step))
    return shape, steps


SLICES = [slice(None)] * 4 + [slice(1, None), slice(0, 1), slice(None, None, 2)]
SLICES += [slice(None, None, -1), 0, np.int64(-1)]


def shapes(size):
    """Return all shapes of up to four axes that hold so many elements."""
    if not size:
        return [(0,), (3, 0, 1)]
    divisors = [extent for extent in range(1, size + 1) if size % extent == 0]
    pairs = [(extent, size // extent) for extent in divisors]
    return [shape for a, b in pairs for shape in ((a, b), (a, 1, b), (a, b, 1))] + [
        (*pair, b) for a, b in pairs for pair in ((c, a // c) for c in divisors if a % c == 0)
    ]


def applied(x, kind, step):
    return x[step] if kind == "getitem" else getattr(x, kind)(step)


@given(rearrangements())
def test_rearrangements_are_views_where_those_of_numpy_are(drawn):
    shape, steps = drawn

    def rearranged(x):
        for step in steps:
            x = applied(x, *step)

    x = Tensor(np.zeros(shape, np.float32))
    owners = Owners(nn.Identity(), x)
    with no_grad(), observe(owners):
        rearranged(x)
    assert followed(rearranged, x_of(*shape)) == (owners.peak, owners.total)


class Block(nn.Module):
    """Two branches, a shortcut, and reshapes that are views and that are copies."""

    def __init__(self):
        self.conv, self.norm = nn.Conv2d(4, 2, 3, padding=1), nn.BatchNorm2d(4)
        self.pool, self.linear = nn.MaxPool2d(3, 1, padding=1), nn.Linear(4, 4)

    def forward(self, x):
        y = ops.concatenate([self.conv(x), self.pool(x)[:, :2]], axis=1)
        x = x + self.norm(y)
        rows = x.transpose(0, 2, 3, 1)
        return self.linear(rows.reshape(-1, 4)).reshape(rows.shape).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (models.lenet5(), (1, 32, 32)),
        (models.lenet5("modern"), (1, 32, 32)),
        (nn.Sequential(nn.Conv2d(1, 4, 3), Block(), Block(), nn.Flatten()), (1, 9, 7)),
        (nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.AvgPool1d(2), nn.Flatten()), (2, 40)),
        (nn.Sequential(nn.Linear(7, 5), nn.Dropout(), nn.Softmax()), (7,)),
    ],
    ids=["lenet5", "modern-lenet5", "blocks", "sequence", "dense"],
)
def test_a_summary_finds_what_a_real_run_takes(model, shape):
    x = Tensor(np.zeros((1, *shape), np.float32))
    owners = Owners(model.eval(), x)
    with no_grad(), observe(owners):
        model(x)
    table = mc.summary(model, shape)
    assert (table.peak_activations, table.activations) == (owners.peak, owners.total)
