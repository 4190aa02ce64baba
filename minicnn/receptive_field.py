"""Receptive fields: which samples of the input each element of a tensor depends on.

The fields are found from the operations that run, not from the layers: every primitive has a rule
here that says how the fields of its arguments become those of its result. So residual sums,
concatenations, reshapes and functional calls count as much as layers do.

A field is theoretical: it counts the padding as samples, and so may begin before the input or be
larger than all of it. It is an interval, and holds the gaps of a dilated filter too. Where several
paths meet, it is the smallest interval that holds all of them; where these move at different
speeds, as in a sum with a global average, it holds what all positions see together.

Araujo, Norris & Sim, "Computing receptive fields of convolutional neural networks", Distill, 2019.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from operator import mul

import numpy as np

from minicnn.autograd import Tensor
from minicnn.field import Field, union


@dataclass(frozen=True, slots=True)
class Call:
    """One run of an operation: the shapes of its arguments, its options, its result's shape."""

    arguments: list[tuple[int, ...]]
    options: dict
    result: tuple[int, ...]


class ReceptiveFields:
    """Follow receptive fields through operations; an observer for `minicnn.autograd.observe`.

    What a model computes beside these operations, with NumPy on `Tensor.data` or by comparing
    tensors, counts as constant.

    Parameters
    ----------
    *inputs : Tensor, shape (N, C, H, W), (N, C, L) or (N, L)
        Their axes H and W, or L, are the ones whose samples are counted. Over all inputs they are
        numbered from 0.

    Attributes
    ----------
    axes : int
        How many such axes there are.

    Examples
    --------
    >>> x = Tensor(np.zeros((1, 1, 100), np.float32))
    >>> fields = ReceptiveFields(x)
    >>> with observe(fields):
    ...     y = ops.max_pool1d(x, 3, stride=2)
    >>> fields.of(y)[0].size, fields.of(y)[0].stride
    (3, 2)
    """

    def __init__(self, *inputs: Tensor):
        self.axes = 0
        # By array, not by tensor: `detach` puts the same array into another tensor. The weak
        # reference lets the array die, and tells when its number went to a new one.
        self._known: dict[int, tuple[weakref.ref, dict[int, Field] | None]] = {}
        for x in inputs:
            fields = {}
            for axis in range(max(1, min(2, x.ndim - 1)), x.ndim):
                steps = tuple(int(axis == other) for other in range(x.ndim))
                fields[self.axes] = Field((0,), (0,), steps)
                self.axes += 1
            self._keep(x, fields)

    def of(self, tensor) -> dict[int, Field] | None:
        """Return the field of a tensor along each axis of the input that it depends on.

        None means unknown: the tensor depends on an operation that has no rule.
        """
        array = _array(tensor)
        reference, fields = self._known.get(id(array), (None, {}))
        return fields if reference is not None and reference() is array else {}

    def __call__(self, name, arguments, options, result, function):
        """Find the field of the result, as an observer of operations."""
        known = [self.of(argument) for argument in arguments]
        if all(fields == {} for fields in known) or not result.size:
            return
        if None in known or name not in RULES:
            self._keep(result, None)
            return
        call = Call([np.shape(_array(a)) for a in arguments], options, result.shape)
        seen: dict[int, list[Field]] = {}
        for i, fields in enumerate(known):
            for axis, field in (fields or {}).items():
                seen.setdefault(axis, []).append(RULES[name](field, call, i))
        self._keep(result, {axis: union(seen[axis], result.shape) for axis in sorted(seen)})

    def _keep(self, tensor, fields):
        self._known[id(tensor.data)] = weakref.ref(tensor.data), fields


# A rule takes the field of one argument, the call, and which of its arguments it is. It returns
# what the elements of the result see through this argument.


def _broadcast(field, call, i, axes=None):
    """Put axes of argument i, all of them by default, last among the result's."""
    shape = call.arguments[i]
    axes = range(len(shape)) if axes is None else axes
    added = len(call.result) - len(axes)
    paired = zip(axes, call.result[added:], strict=True)
    kept = [axis if axis is not None and shape[axis] == extent else None for axis, extent in paired]
    return field.arranged([None] * added + kept)


def _gathered(field, call, i, axes):
    for axis in axes:
        field = field.gathered(axis, call.arguments[i][axis])
    return field


def _weighted(rule):
    """Return the rule for x with one for its weights: where they have a field, all of it counts."""

    def weighted(field, call, i):
        if i == 0:
            return rule(field, call, i)
        everything = _gathered(field, call, i, range(len(call.arguments[i])))
        return everything.arranged([None] * len(call.result))

    return weighted


def _convolution(field, call, i):
    return _windows(_channels(field, call), call, call.arguments[1][2:], Field.strided)


def _transposed_convolution(field, call, i):
    return _windows(_channels(field, call), call, call.arguments[1][2:], Field.spread)


def _pooling(field, call, i):
    return _windows(field, call, call.options["kernel_size"], Field.strided)


def _windows(field, call, kernel_size, move):
    """Move windows over height and width."""
    padding, stride = call.options["padding"], call.options["stride"]
    dilation = call.options.get("dilation", (1, 1))
    for axis in (0, 1):
        offset = -padding[axis][0]
        field = move(field, 2 + axis, offset, kernel_size[axis], stride[axis], dilation[axis])
    return field


def _channels(field, call):
    """Mix the channels of each group; a reshape may have put an axis of the input there."""
    groups = call.options["groups"]
    outputs = call.result[1] // groups
    field = field.shared(1, call.arguments[0][1], groups)
    return field.through(1, lambda output: (output // outputs,), Fraction(1, outputs), outputs)


def _adaptive_pooling(field, call, i):
    for axis in (2, 3):
        field = field.shared(axis, call.arguments[0][axis], call.result[axis])
    return field


def _linear(field, call, i):
    return field.gathered(1, call.arguments[0][1])


def _matmul(field, call, i):
    left, right = map(len, call.arguments)
    contracted = left - 1 if i == 0 else max(right - 2, 0)
    field = field.gathered(contracted, call.arguments[i][contracted])
    if i == 0:
        return _broadcast(field, call, i, [*range(left - 1), *[None] * (right > 1)])
    axes = [*range(right - 2), *[None] * (left > 1), *[right - 1] * (right > 1)]
    return _broadcast(field, call, i, axes)


def _reduction(field, call, i):
    shape, axis = call.arguments[0], call.options["axis"]
    axes = range(len(shape)) if axis is None else np.atleast_1d(axis) % len(shape)
    field = _gathered(field, call, 0, axes)
    if call.options["keepdims"]:
        return field
    return field.arranged([axis for axis in range(len(shape)) if axis not in axes])


def _softmax(field, call, i):
    return _gathered(field, call, 0, [call.options["axis"] % len(call.result)])


def _softmax_cross_entropy(field, call, i):
    rank = len(call.arguments[i])
    if rank == len(call.result):  # labels
        return field
    return _gathered(field, call, i, [1]).arranged([axis for axis in range(rank) if axis != 1])


def _batch_norm(field, call, i):
    if i == 3:  # the residual
        return _broadcast(field, call, i)
    return _weighted(_normalised)(field, call, i)


def _normalised(field, call, i):
    return _gathered(field, call, 0, [axis for axis in range(len(call.result)) if axis != 1])


def _local_response_norm(field, call, i):
    size = call.options["size"]
    return field.strided(1, -(size // 2), size)


def _concatenate(field, call, i):
    axis = call.options["axis"]
    return field.strided(axis, -sum(shape[axis] for shape in call.arguments[:i]))


def _stack(field, call, i):
    axes: list[int | None] = [*range(len(call.result) - 1)]
    axes.insert(call.options["axis"] % len(call.result), None)
    return field.arranged(axes)


def _pad(field, call, i):
    for axis, (before, _) in enumerate(call.options["padding"]):
        field = field.strided(axis, -before)
    return field


def _transpose(field, call, i):
    return field.arranged([axis % len(call.result) for axis in call.options["axes"]])


def _reshape(field, call, i):
    shape, steps, places = call.arguments[0], [0] * len(call.result), {}
    for old, new in _runs(shape, call.result):
        if shape[old[0]] == 1:
            # A sequence of one element is still a sequence: what moves stays, as the last axes.
            moving = [axis for axis in old if field.steps[axis]]
            for axis, place in zip(reversed(moving), reversed(new), strict=False):
                steps[place], places[axis] = field.steps[axis], place
            continue
        if any(field.steps[a] != field.steps[b] * shape[b] for a, b in pairwise(old)):
            field = _gathered(field, call, 0, old)
        elif len(old) + len(new) > 2 and field.axis in old:
            field = field.regular()
        step, places[old[-1]] = field.steps[old[-1]], new[-1]
        for axis in reversed(new):
            steps[axis], step = step, step * call.result[axis]
    if field.axis in places:
        return Field(field.first, field.last, tuple(steps), places[field.axis])
    return Field(field.first[:1], field.last[:1], tuple(steps))


def _runs(before, after):
    """Return the shortest runs of axes that hold the same elements, those of extent 1 apart."""
    totals = [list(accumulate(shape, mul)) for shape in (before, after)]
    cuts = sorted({*totals[0]} & {*totals[1]})
    runs: dict[tuple, tuple[list, list]] = {}
    for side, shape in enumerate((before, after)):
        for axis, total in enumerate(totals[side]):
            cut = next(cut for cut in cuts if cut >= total) if shape[axis] > 1 else total
            runs.setdefault((cut, shape[axis] > 1), ([], []))[side].append(axis)
    return [(old, new) for old, new in runs.values() if old and new]


def _getitem(field, call, i):
    shape, axis = call.arguments[0], 0
    kept: list[int | None] = []
    chosen = []  # where numbers and arrays stand in the index, and among the kept axes
    for place, part in enumerate(_complete(call.options["index"], len(shape))):
        if part is None:
            kept.append(None)
            continue
        if isinstance(part, slice):
            begin, _, stride = part.indices(shape[axis])
            field = field.strided(axis, begin, stride=stride)
            kept.append(axis)
        else:
            positions = np.mod(part, shape[axis])
            begin, extent = int(positions.min()), int(np.ptp(positions)) + 1
            field = field.strided(axis, begin).gathered(axis, extent)
            chosen.append((place, len(kept)))
        axis += 1
    added = [None] * (len(call.result) - len(kept))
    # NumPy puts the axes of index arrays where the arrays stood, but first where these are apart.
    together = chosen and chosen[-1][0] - chosen[0][0] == len(chosen) - 1
    at = chosen[0][1] if together else 0
    return field.arranged(kept[:at] + added + kept[at:])


def _complete(index, ndim):
    """Return an index with a part for every axis: masks as numbers, the ellipsis as slices."""
    parts: list = []
    for part in index:
        array = np.asarray(part) if isinstance(part, list) else part
        is_mask = hasattr(array, "dtype") and array.dtype.kind == "b"
        parts.extend(np.nonzero(array) if is_mask else [array])
    missing = ndim - sum(part is not None and part is not Ellipsis for part in parts)
    at = next((i for i, part in enumerate(parts) if part is Ellipsis), len(parts))
    return parts[:at] + [slice(None)] * missing + parts[at + 1 :]


def _array(value):
    return value.data if isinstance(value, Tensor) else value


_ELEMENTWISE = """
    absolute add add_residual astype clip divide dropout elu exp gaussian_noise huber leaky_relu log
    multiply negative power relu scaled_tanh sigmoid sigmoid_cross_entropy softplus spatial_dropout
    sqrt squared_error subtract tanh where
"""
RULES: dict[str, Callable[[Field, Call, int], Field]] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _broadcast),
    **{f"{kind}_pool2d": _pooling for kind in ("avg", "lp", "max", "std")},
    **{f"adaptive_{kind}_pool2d": _adaptive_pooling for kind in ("avg", "lp", "max", "std")},
    **dict.fromkeys(("extremum", "mean", "sum"), _reduction),
    **dict.fromkeys(("log_softmax", "softmax"), _softmax),
    "batch_norm": _batch_norm,
    "batch_norm_inference": _weighted(_broadcast),
    "concatenate": _concatenate,
    "conv2d": _weighted(_convolution),
    "conv_transpose2d": _weighted(_transposed_convolution),
    "getitem": _getitem,
    "linear": _weighted(_linear),
    "local_response_norm": _local_response_norm,
    "matmul": _matmul,
    "pad": _pad,
    "reshape": _reshape,
    "softmax_cross_entropy": _softmax_cross_entropy,
    "stack": _stack,
    "transpose": _transpose,
}
