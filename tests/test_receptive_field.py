"""Receptive fields from rules against those that gradients show."""

import gc
import math
import pkgutil
import weakref
from fractions import Fraction
from importlib import import_module

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minicnn import autograd, ops
from minicnn.autograd import Tensor, observe, primitive
from minicnn.field import Field, union
from minicnn.receptive_field import RULES, ReceptiveFields


def ones(*shape):
    return Tensor(np.ones(shape))


def analysed(f, *shapes):
    """Return the fields of what f computes from inputs of these shapes."""
    inputs = [Tensor(np.ones(shape)) for shape in shapes]
    fields = ReceptiveFields(*inputs)
    with observe(fields):
        y = f(*inputs)
    return fields.of(y)


def probed(f, shape, index, draws=1):
    """Return the first and last sample along each axis that gets a gradient from y[index].

    Inputs and weights are positive, so that gradients of several paths do not cancel. Where only
    some samples get one, as from a maximum, several random inputs are drawn.
    """
    reached = np.zeros(shape, bool)
    for seed in range(draws):
        x = Tensor(np.random.default_rng(seed).uniform(1, 2, shape), requires_grad=True)
        y = f(x)
        dy = np.zeros(y.shape)
        dy[index] = 1
        y.backward(dy)
        reached |= x.grad != 0
    along = np.nonzero(reached)[-len(spatial_extents(shape)) :]
    return [(at.min(), at.max()) if at.size else (math.inf, -math.inf) for at in along]


def spatial_extents(shape):
    return shape[2:] or shape[1:]


def weights(*shape):
    """Return positive weights, no two alike: the deviation of equal values has no gradient."""
    return Tensor(np.random.default_rng(0).uniform(1, 2, shape))


def conv(x, *kernel_size, channels=1, groups=1, **options):
    """Convolve x along as many axes as the kernel has."""
    convolve = ops.conv1d if len(kernel_size) == 1 else ops.conv2d
    w = weights(channels, x.shape[1] // groups, *kernel_size)
    return convolve(x, w, groups=groups, **options)


def upsample(x, *kernel_size, **options):
    """Convolve x transposed, to one channel."""
    convolve = ops.conv_transpose1d if len(kernel_size) == 1 else ops.conv_transpose2d
    return convolve(x, weights(x.shape[1], 1, *kernel_size), **options)


LABELS = np.zeros((1, 8), int)
STATISTICS = Tensor(np.ones(2)), Tensor(np.ones(2))

# Each element of the result must see exactly what the rule says: name -> (shape, function).
EXACT = {
    "conv1d": ((1, 2, 12), lambda x: conv(x, 4)),
    "conv1d, stride": ((1, 1, 15), lambda x: conv(x, 3, stride=2)),
    "conv1d, uneven padding": ((1, 1, 12), lambda x: conv(x, 4, padding=((3, 1),))),
    "conv1d, dilation": ((1, 1, 14), lambda x: conv(x, 3, dilation=3, padding=2)),
    "conv2d": ((1, 1, 9, 8), lambda x: conv(x, 3, 2, stride=(2, 1), padding=((1, 0), (0, 2)))),
    "conv2d, groups": ((1, 4, 5, 5), lambda x: conv(x, 2, 3, groups=2, channels=4)),
    "conv2d, groups of an axis": (
        (1, 1, 6, 9),
        lambda x: conv(x.reshape(1, 6, 9), 3, groups=3, channels=6),
    ),
    "conv_transpose1d": ((1, 1, 8), lambda x: upsample(x, 4, stride=2, padding=1)),
    "conv_transpose1d, gaps": ((1, 1, 6), lambda x: upsample(x, 2, stride=3)),
    "conv_transpose1d, a window over gaps": (
        (1, 1, 6),
        lambda x: conv(upsample(x, 1, stride=3), 3),
    ),
    "conv_transpose1d, dilation": ((1, 1, 6), lambda x: upsample(x, 3, stride=2, dilation=3)),
    "conv_transpose2d": (
        (1, 1, 5, 4),
        lambda x: upsample(x, 3, 2, stride=(2, 1), padding=((1, 0), (0, 1)), output_padding=(1, 0)),
    ),
    "conv_transpose1d, then windows": (
        (1, 1, 12),
        lambda x: conv(upsample(conv(x, 3, stride=2), 4, stride=2, padding=1), 2),
    ),
    "conv_transpose1d twice": (
        (1, 1, 7),
        lambda x: upsample(upsample(x, 3, stride=2), 4, stride=3),
    ),
    "avg_pool1d": ((1, 1, 12), lambda x: ops.avg_pool1d(x, 3, 2, ceil_mode=True)),
    "avg_pool2d": ((1, 1, 7, 8), lambda x: ops.avg_pool2d(x, (2, 3), (1, 2), ((1, 0), (0, 1)))),
    "max_pool1d": ((1, 1, 14), lambda x: ops.max_pool1d(x, 3, 2, 1, dilation=2)),
    "max_pool2d": ((1, 1, 6, 6), lambda x: ops.max_pool2d(x, 2)),
    "lp_pool1d": ((1, 1, 12), lambda x: ops.lp_pool1d(x, 3, 4, 2, 1)),
    "lp_pool2d": ((1, 1, 6, 7), lambda x: ops.lp_pool2d(x, 2, (3, 2), 2)),
    "std_pool1d": ((1, 1, 12), lambda x: ops.std_pool1d(x, 3, 2, 1)),
    "std_pool2d": ((1, 1, 6, 7), lambda x: ops.std_pool2d(x, (3, 2), 1)),
    "adaptive_avg_pool1d": ((1, 1, 12), lambda x: ops.adaptive_avg_pool1d(x, 4)),
    "adaptive_avg_pool1d, uneven": ((1, 1, 13), lambda x: ops.adaptive_avg_pool1d(x, 5)),
    "adaptive_avg_pool1d, more than samples": ((1, 1, 4), lambda x: ops.adaptive_avg_pool1d(x, 6)),
    "adaptive_lp_pool2d": ((1, 1, 6, 5), lambda x: ops.adaptive_lp_pool2d(x, 2, (4, 2))),
    "adaptive_max_pool1d": ((1, 1, 7), lambda x: ops.adaptive_max_pool1d(x, 3)),
    "adaptive_std_pool1d": ((1, 1, 11), lambda x: ops.adaptive_std_pool1d(x, 3)),
    "global_avg_pool": ((1, 2, 3, 4), ops.global_avg_pool),
    "global_std_pool": ((1, 2, 6), ops.global_std_pool),
    "linear": ((1, 9), lambda x: ops.linear(x, ones(2, 9))),
    "linear, frame by frame": (
        (1, 3, 4, 5),
        lambda x: ops.linear(x.transpose(0, 3, 1, 2).reshape(1, 5, 12), ones(2, 12)),
    ),
    "matmul from the right": ((1, 2, 6), lambda x: x @ ones(6, 3)),
    "matmul from the left": ((1, 2, 6), lambda x: ones(4, 2) @ x),
    "matmul of a batch": ((1, 2, 6), lambda x: ones(3, 4, 2) @ x),
    "matmul with a vector": ((1, 2, 6), lambda x: x @ ones(6)),
    "matmul of a vector": ((1, 1, 6), lambda x: ones(1) @ x),
    "matmul of two vectors": ((1, 1, 6), lambda x: x[0, 0] @ ones(6)),
    "matmul with itself": ((1, 2, 6), lambda x: x[0] @ x[0].T),
    "softmax": ((1, 2, 6), ops.softmax),
    "log_softmax": ((1, 2, 6), lambda x: ops.log_softmax(x, axis=1)),
    "sum": ((1, 2, 6), lambda x: x.sum(axis=(0, -1))),
    "sum of all": ((1, 2, 3, 4), lambda x: x.sum()),
    "mean": ((1, 2, 4, 5), lambda x: x.mean(axis=-2, keepdims=True)),
    "max": ((1, 2, 4), lambda x: x.max(axis=-1)),
    "batch_norm": ((1, 2, 6), lambda x: ops.batch_norm(x, *STATISTICS, *STATISTICS)),
    "batch_norm of the batch": ((1, 2, 6), lambda x: ops.batch_norm(x, training=True)),
    "a residual": (
        (1, 2, 6),
        lambda x: ops.batch_norm(x[:, :, :-2], *STATISTICS, *STATISTICS, residual=x[:, :, 2:]),
    ),
    "a residual to the batch": (
        (1, 2, 6),
        lambda x: ops.batch_norm(ones(1, 2, 4), training=True, residual=x[:, :, 2:]),
    ),
    "local_response_norm": ((1, 3, 4), lambda x: ops.local_response_norm(x, 3, 1.0)),
    "local_response_norm across an axis": (
        (1, 9),
        lambda x: ops.local_response_norm(x, 4, 1.0),
    ),
    "pad": ((1, 1, 5), lambda x: ops.pad(x, ((0, 0), (0, 0), (2, 1)))),
    "transpose": ((1, 1, 3, 4), lambda x: x.transpose(-1, 0, 2, 1)),
    "concatenate channels": (
        (1, 1, 9),
        lambda x: conv(ops.concatenate([x, conv(x, 3, padding=1), conv(x, 5, padding=2)], 1), 1),
    ),
    "concatenate in time": (
        (1, 1, 9),
        lambda x: ops.concatenate([np.zeros((1, 1, 2)), x[:, :, :4], x[:, :, 4:]], axis=2),
    ),
    "stack": ((1, 1, 6), lambda x: ops.stack([x, 2 * x], axis=-1)),
    "where": ((1, 1, 6), lambda x: ops.where(x > 1.5, x, x * x)),
    "broadcasting": ((1, 1, 4, 5), lambda x: x * ones(4, 1) + ones(3, 1, 1)),
    "residual block": ((1, 2, 11), lambda x: x + conv(conv(x, 3, padding=1), 3, padding=1)),
    "gate over all": ((1, 2, 6), lambda x: x * x.mean(axis=2, keepdims=True)),
    "reshape that splits": ((1, 1, 12), lambda x: conv(x.reshape(1, 1, 3, 4), 2, 1)),
    "reshape that splits and joins": (
        (1, 1, 12),
        lambda x: conv(x.reshape(1, 3, 2, 2).reshape(1, 1, 6, 2), 2, 1).reshape(1, 10),
    ),
    "reshape of irregular windows": (
        (1, 1, 6),
        lambda x: upsample(x, 4, stride=2, padding=1).reshape(1, 12, 1, 1).transpose(2, 3, 1, 0),
    ),
    "getitem, slice": ((1, 1, 12), lambda x: x[:, :, 2:9:3]),
    "getitem, backwards": ((1, 1, 12), lambda x: conv(x[..., ::-1], 3, stride=2)),
    "getitem, number": ((1, 2, 4, 5), lambda x: x[0, :, -1]),
    "getitem, new axis": ((1, 1, 6), lambda x: x[..., None, 1:]),
    "getitem, maps": ((1, 2, 6), lambda x: x[:, [1, 0, 1]]),
    "getitem, maps last": ((1, 2, 6), lambda x: x.transpose(0, 2, 1)[..., [1, 0, 1]]),
    "getitem, mask": ((1, 2, 6), lambda x: x[:, np.array([True, False])]),
    "getitem, arrays apart": ((1, 2, 4, 5), lambda x: x[np.array([0]), :, 1:, 2]),
    "elementwise": (
        (1, 1, 4),
        lambda x: (
            (abs(-x).exp().log().sqrt() ** 2 / 3 - 1)
            .clip(-9, 9)
            .astype(np.float32)
            .astype(np.float64)
        ),
    ),
    "activations": (
        (1, 1, 4),
        lambda x: ops.softplus(
            ops.elu(ops.leaky_relu(ops.relu(ops.sigmoid(ops.tanh(ops.scaled_tanh(x))))))
        ),
    ),
    "noise": (
        (1, 2, 4),
        lambda x: ops.gaussian_noise(ops.dropout(ops.spatial_dropout(x, 1e-9), 1e-9), 1e-9),
    ),
    "cross_entropy": ((1, 3, 8), lambda x: ops.cross_entropy(x, LABELS, reduction="none")),
    "other losses": (
        (1, 1, 4),
        lambda x: ops.binary_cross_entropy_with_logits(
            ops.mse_loss(x, 0 * ones(*x.shape), reduction="none")
            + ops.huber_loss(x, 0 * ones(*x.shape), reduction="none"),
            np.zeros(x.shape),
            reduction="none",
        ),
    ),
}

# Here an element may see less than the rule says, which gives one interval to all of them.
COVERED = {
    "flattened": ((1, 2, 3, 4), lambda x: x.reshape(1, 24)),
    "chosen samples": ((1, 1, 8), lambda x: x[:, :, [1, 5, 2]]),
    "arrays apart": ((1, 2, 4, 5), lambda x: x[:, [0, 1], :, [2, 3]]),
    "two speeds": ((1, 1, 8), lambda x: x[:, :, :4] + x[:, :, ::2]),
    "split, irregular": ((1, 1, 6), lambda x: upsample(x, 4, stride=2, padding=1).reshape(1, 4, 3)),
    "weights from the input": ((1, 1, 8), lambda x: ops.conv1d(x, x[:, :, 2:5])),
    "arrays apart, after an axis": (
        (1, 2, 4, 5),
        lambda x: x.transpose(0, 2, 1, 3)[:, :, [0, 1], None, [2, 3]],
    ),
    "two irregular maps": (
        (1, 1, 4, 4),
        lambda x: (y := upsample(x, 4, 4, stride=2, padding=1)) + y.transpose(0, 1, 3, 2),
    ),
}


def primitives():
    """Return the names of all operations of the engine and of `minicnn.ops`."""
    modules = [
        autograd,
        *(import_module(f"minicnn.ops.{file.name}") for file in pkgutil.iter_modules(ops.__path__)),
    ]
    code = primitive(abs).__code__
    found = [value for module in modules for value in vars(module).values()]
    return {f.__name__.strip("_") for f in found if getattr(f, "__code__", None) is code}


@pytest.mark.parametrize("name", EXACT)
def test_an_element_sees_what_its_gradient_reaches(name):
    shape, f = EXACT[name]
    fields, spatial = analysed(f, shape), spatial_extents(shape)
    draws = 80 if name.startswith(("max", "adaptive_max")) else 1
    inside = 0
    elements = list(np.ndindex(f(ones(*shape)).shape))
    for index in elements:
        held = [fields[axis].at(*index) for axis in fields]
        reached = probed(f, shape, index, draws)
        if all(first >= 0 and last < n for (first, last), n in zip(held, spatial, strict=True)):
            assert reached == held, index
            inside += 1
        for (begin, end), (first, last) in zip(held, reached, strict=True):
            assert begin <= first
            assert last <= end
    assert inside >= min(len(elements), 3)


@pytest.mark.parametrize("name", COVERED)
def test_a_field_that_cannot_move_holds_what_all_elements_see(name):
    shape, f = COVERED[name]
    fields = analysed(f, shape)
    elements = list(np.ndindex(f(ones(*shape)).shape))
    for axis, extent in enumerate(spatial_extents(shape)):
        seen = [probed(f, shape, index)[axis] for index in elements]
        held = [fields[axis].at(*index) for index in elements]
        assert all(h[0] <= s[0] and s[1] <= h[1] for s, h in zip(seen, held, strict=True))
        assert max(min(held)[0], 0) == min(seen)[0]
        assert min(max(last for _, last in held), extent - 1) == max(last for _, last in seen)


def test_fields_irregular_along_different_axes_join_to_a_regular_one_that_holds_both():
    rows = Field((0, -2), (1, -1), steps=(2, 1), axis=0)
    columns = Field((0, -3), (0, -1), steps=(2, 1), axis=1)
    assert union([rows, columns], (4, 4)) == Field((-3,), (1,), steps=(2, 1))


def test_windows_that_begin_regularly_may_still_differ_in_size():
    x = Field((0,), (0,), steps=(1,))
    y = x.through(0, lambda output: range(output, output + 1 + output % 2), 1, period=2)
    assert [y.at(i) for i in range(4)] == [(0, 0), (1, 2), (2, 2), (3, 4)]
    assert y.size == 2


def test_every_operation_has_a_rule_and_every_rule_an_operation():
    assert set(RULES) == primitives()


def test_every_rule_is_compared_with_gradients():
    used = set()
    for shape, f in (EXACT | COVERED).values():
        with observe(lambda name, *call: used.add(name)):
            f(Tensor(np.ones(shape)))
    assert used == set(RULES)


WINDOWS = st.fixed_dictionaries(
    dict(
        kernel_size=st.integers(1, 4),
        stride=st.integers(1, 3),
        dilation=st.integers(1, 2),
        before=st.integers(0, 3),
        after=st.integers(0, 3),
    )
)
KINDS = ("conv", "upsample", "max", "avg", "lp", "std")


def layer(x, kind, axes, largest):
    """Run one layer with windows as drawn, one set per axis; maxima only where they are wanted."""
    dimensions = f"{len(axes)}d"
    kernel_size, stride, dilation = (
        tuple(axis[name] for axis in axes) for name in ("kernel_size", "stride", "dilation")
    )
    padding = tuple((axis["before"], axis["after"]) for axis in axes)
    if kind == "conv":
        return conv(x, *kernel_size, stride=stride, dilation=dilation, padding=padding)
    if kind == "upsample":
        return upsample(x, *kernel_size, stride=stride)
    if kind == "lp":
        return getattr(ops, f"lp_pool{dimensions}")(x, 2, kernel_size, stride)
    if kind == "std":
        # A window of one sample has no deviation, and no gradient.
        kernel_size = tuple(size + 1 for size in kernel_size)
    if kind == "max" and not largest:
        kind = "avg"
    return getattr(ops, f"{kind}_pool{dimensions}")(x, kernel_size, stride)


def stack(layers, *, largest):
    """Return a function that runs these layers, as long as the maps are neither small nor huge."""

    def f(x):
        for kind, axes in layers:
            if min(x.shape[2:]) >= 8 and max(x.shape) <= 200:
                x = layer(x, kind, axes, largest)
        return x

    return f


def middle(shape, fields, extent):
    """Return some elements whose fields lie in the middle half of the input along every axis."""
    inside = set(range(extent // 4, extent - extent // 4))
    places = []
    for axis, field in fields.items():
        along = (
            tuple(i * (axis + 2 == k) for k in range(len(shape))) for i in range(shape[axis + 2])
        )
        places.append([index[axis + 2] for index in along if inside.issuperset(field.at(*index))])
    return [(0, 0, *index) for index in zip(*places, strict=False)][:8]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.sampled_from(KINDS), st.tuples(WINDOWS)), min_size=1, max_size=4))
def test_stacks_along_one_axis_see_what_their_gradients_reach(layers):
    fields = analysed(stack(layers, largest=True), (1, 1, 120))
    # A maximum sends its gradient to one sample; an average of the same window, to all.
    f = stack(layers, largest=False)
    elements = middle(f(ones(1, 1, 120)).shape, fields, 120)
    assume(elements)
    for index in elements:
        assert probed(f, (1, 1, 120), index) == [fields[0].at(*index)]


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.tuples(WINDOWS, WINDOWS)), min_size=1, max_size=3)
)
def test_stacks_along_two_axes_see_what_their_gradients_reach(layers):
    fields = analysed(stack(layers, largest=True), (1, 1, 40, 40))
    f = stack(layers, largest=False)
    elements = middle(f(ones(1, 1, 40, 40)).shape, fields, 40)
    assume(elements)
    for index in elements:
        assert probed(f, (1, 1, 40, 40), index) == [fields[axis].at(*index) for axis in (0, 1)]


def test_size_and_stride_follow_the_recursion_of_the_literature():
    # The convolutions and poolings of AlexNet: Araujo, Norris & Sim, table 1.
    def alexnet(x):
        x = ops.max_pool1d(conv(x, 11, stride=4, padding=2), 3, 2)
        x = ops.max_pool1d(conv(x, 5, padding=2), 3, 2)
        for _ in range(3):
            x = conv(x, 3, padding=1)
        return ops.max_pool1d(x, 3, 2)

    fields = analysed(alexnet, (1, 1, 227))
    assert (fields[0].size, fields[0].stride) == (195, 32)


def test_padding_counts_so_a_field_can_begin_before_the_input_and_exceed_it():
    fields = analysed(lambda x: conv(conv(x, 9, padding=4), 9, padding=4), (1, 1, 10))
    assert fields[0].size == 17
    assert fields[0].at(0, 0, 0) == (-8, 8)
    assert fields[0].at(0, 0, 9) == (1, 17)


def test_upsampling_makes_the_stride_a_fraction_and_the_size_that_of_the_widest_phase():
    fields = analysed(lambda x: upsample(x, 3, stride=2), (1, 1, 10))
    assert (fields[0].size, fields[0].stride) == (2, Fraction(1, 2))
    assert fields[0].at(0, 0, 4) == (1, 2)
    assert fields[0].at(0, 0, 5) == (2, 2)


def test_a_strided_convolution_after_upsampling_has_a_whole_stride_again():
    fields = analysed(lambda x: conv(upsample(x, 4, stride=2), 2, stride=2), (1, 1, 10))
    assert fields[0].stride == 1
    assert isinstance(fields[0].stride, int)


def test_elements_between_the_windows_of_upsampling_see_nothing():
    fields = analysed(lambda x: upsample(x, 1, stride=2), (1, 1, 4))
    assert fields[0].size == 1
    assert fields[0].at(0, 0, 1) == (math.inf, -math.inf)
    fields = analysed(lambda x: upsample(x, 1, stride=2)[:, :, 1::2], (1, 1, 4))
    assert fields[0].size == 0


def test_a_flattened_map_sees_everything_and_does_not_move():
    fields = analysed(lambda x: conv(x, 3, 5, padding=1).reshape(1, -1), (1, 1, 8, 20))
    assert [fields[axis].size for axis in (0, 1)] == [10, 22]
    assert [fields[axis].stride for axis in (0, 1)] == [None, None]


def test_global_pooling_sees_everything_and_has_no_neighbours():
    fields = analysed(lambda x: ops.adaptive_avg_pool2d(x, 1), (1, 1, 8, 20))
    assert [(fields[axis].size, fields[axis].stride) for axis in (0, 1)] == [(8, None), (20, None)]


def test_uneven_adaptive_windows_have_the_size_of_the_largest_and_a_fraction_between_them():
    fields = analysed(lambda x: ops.adaptive_avg_pool1d(x, 5), (1, 1, 13))
    assert (fields[0].size, fields[0].stride) == (4, Fraction(13, 5))


def test_a_waveform_as_the_height_of_an_image_keeps_its_axis():
    # CREPE's first two layers, smaller: (N, L) to (N, 1, L, 1), and uneven "same" padding.
    def crepe(x):
        x = x.reshape(len(x), 1, 128, 1)
        x = conv(x, 64, 1, stride=(4, 1), padding=((30, 30), (0, 0)))
        return conv(ops.max_pool2d(x, (2, 1)), 8, 1, padding=((3, 4), (0, 0)))

    fields = analysed(crepe, (1, 128))
    assert list(fields) == [0]
    assert (fields[0].size, fields[0].stride) == (64 + 4 + 7 * 8, 8)
    assert fields[0].at(0, 0, 0, 0)[0] == -30 - 3 * 8


def test_a_filter_over_all_mel_bands_leaves_time_as_the_moving_axis():
    def mel_cnn(x):
        x = conv(x, 40, 4, channels=3)
        x = ops.max_pool1d(x.reshape(1, 3, -1), 4)
        return conv(x, 3)

    fields = analysed(mel_cnn, (1, 1, 40, 60))
    assert [(fields[axis].size, fields[axis].stride) for axis in (0, 1)] == [(40, None), (15, 4)]


def test_a_sequence_of_one_element_keeps_its_stride_through_one_dimensional_layers():
    fields = analysed(lambda x: conv(conv(x, 9, stride=3), 3, padding=1), (1, 1, 9))
    assert (fields[0].size, fields[0].stride) == (15, 3)


def test_axes_of_several_inputs_are_numbered_one_after_the_other():
    fields = analysed(
        lambda a, b: conv(a, 3, 2).sum(axis=(2, 3)) + conv(b, 5).sum(axis=2),
        (1, 1, 4, 5),
        (1, 1, 7),
    )
    assert {axis: field.size for axis, field in fields.items()} == {0: 4, 1: 5, 2: 7}


def test_a_detached_tensor_keeps_its_field():
    fields = analysed(lambda x: conv(x, 3).detach() * 2, (1, 1, 9))
    assert fields[0].size == 3


def test_a_constant_sees_nothing():
    fields = analysed(lambda x: conv(ones(1, 1, 9), 3), (1, 1, 9))
    assert fields == {}


def test_an_input_of_single_numbers_has_no_axis_to_count_along():
    assert ReceptiveFields(ones(1)).axes == 0


def test_an_empty_result_sees_nothing():
    fields = analysed(lambda x: x[:, :, 5:5].reshape(0), (1, 1, 9))
    assert fields == {}


def test_an_operation_without_a_rule_makes_the_field_unknown_from_there_on():
    @primitive
    def reversal(x):
        return x[..., ::-1], (lambda dy: dy[..., ::-1],)

    fields = analysed(lambda x: reversal(conv(x, 3)), (1, 1, 9))
    assert fields is None
    fields = analysed(lambda x: conv(x, 3) + conv(reversal(x), 3), (1, 1, 9))
    assert fields is None


def test_an_operation_without_a_rule_matters_only_for_what_depends_on_the_input():
    @primitive
    def unknown(x):
        return x, (lambda dy: dy,)

    fields = analysed(lambda x: x + unknown(ones(9)), (1, 1, 9))
    assert fields[0].size == 1


def test_arrays_die_though_their_fields_are_known():
    x = ones(1, 1, 9)
    fields = ReceptiveFields(x)
    with observe(fields):
        y = conv(x, 3)
    array = weakref.ref(y.data)
    del y
    gc.collect()
    assert array() is None
