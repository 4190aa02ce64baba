"""One receptive field: the interval of input samples that each element of a tensor sees."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from operator import mul, sub
from typing import Any

Number = int | Fraction


@dataclass(frozen=True, slots=True)
class Field:
    """What the elements of a tensor see along one axis of the input.

    The element at `index` sees the samples first[p] + steps . index to last[p] + steps . index. The
    phase p is index[axis] modulo the number of phases. There is one phase only, unless windows
    begin at irregular distances, as after a transposed convolution.

    Attributes
    ----------
    first, last : tuple of numbers [samples]
        For each phase the first and the last sample; infinity and minus infinity for none.
    steps : tuple of numbers, one per axis of the tensor [samples]
        How far the field moves from one element to the next.
    axis : int
        The axis of the tensor along which the phases alternate.
    """

    first: tuple[Any, ...]
    last: tuple[Any, ...]
    steps: tuple[Any, ...]
    axis: int = 0

    @property
    def size(self) -> Number:
        """How many samples an element sees, from the first to the last, the most of all phases."""
        return _whole(max(-1, *map(sub, self.last, self.first)) + 1)

    @property
    def stride(self) -> Number | None:
        """The distance between the fields of neighbours [samples], None where all see the same."""
        moving = [abs(step) for step in self.steps if step]
        return _whole(min(moving)) if moving else None

    def at(self, *index: int) -> tuple[Number, Number]:
        """Return the first and the last sample that this element sees [samples].

        Below 0, and from the size of the input on, lies the padding.
        """
        moved = sum(map(mul, self.steps, index))
        phase = index[self.axis] % len(self.first) if index else 0
        return _whole(self.first[phase] + moved), _whole(self.last[phase] + moved)

    def through(self, axis, window, rate, period=1) -> Field:
        """Return the field of outputs that see the elements `window(output)` of an axis.

        `period` outputs further, the window lies `rate * period` elements further.
        """
        step, phases = self.steps[axis], len(self.first)
        if phases > 1 and axis != self.axis:
            return self if not step else self.regular().through(axis, window, rate, period)
        if phases == 1 and not step:
            return self
        first, last = [], []
        for output in range(period * phases // math.gcd(phases, int(rate * period))):
            taps = window(output)
            # From period to period the field moves evenly, so it is widest at either end.
            ends = {*taps[:phases], *taps[-phases:]}
            moved = rate * step * output
            first.append(
                min((self.first[i % phases] + step * i for i in ends), default=math.inf) - moved
            )
            last.append(
                max((self.last[i % phases] + step * i for i in ends), default=-math.inf) - moved
            )
        if len({*first}) == len({*last}) == 1:
            first, last = first[:1], last[:1]
        steps = (*self.steps[:axis], rate * step, *self.steps[axis + 1 :])
        return Field(tuple(first), tuple(last), steps, axis)

    def strided(self, axis, offset, kernel_size=1, stride=1, dilation=1) -> Field:
        """Return the field of outputs that see windows at regular distances along an axis."""
        reach = dilation * (kernel_size - 1)

        def window(output):
            return range(begin := output * stride + offset, begin + reach + 1, dilation)

        return self.through(axis, window, stride)

    def spread(self, axis, offset, kernel_size, stride, dilation) -> Field:
        """Return the field of outputs that see the elements whose windows, strided, hold them."""

        def window(output):
            distances = (output - offset - dilation * tap for tap in range(kernel_size))
            return [distance // stride for distance in distances if distance % stride == 0]

        return self.through(axis, window, Fraction(1, stride), stride)

    def shared(self, axis, extent, windows) -> Field:
        """Return the field of outputs that share an axis evenly, as adaptive pooling does."""

        def window(output):
            return range(output * extent // windows, -(-(output + 1) * extent // windows))

        # A single output has no neighbours: it sees everything, however the input grows.
        rate = Fraction(extent, windows) if windows > 1 else 0
        return self.through(axis, window, rate, windows // math.gcd(extent, windows))

    def gathered(self, axis, extent) -> Field:
        """Return the field of outputs that each see all elements of an axis."""
        return self.through(axis, lambda output: range(extent), 0)

    def arranged(self, axes) -> Field:
        """Return the field with these axes of it, None for a new one; of one left out, index 0."""
        steps = tuple(0 if axis is None else self.steps[axis] for axis in axes)
        if self.axis in axes:
            return Field(self.first, self.last, steps, axes.index(self.axis))
        return Field(self.first[:1], self.last[:1], steps)

    def regular(self) -> Field:
        """Return a field of one phase that holds all phases."""
        return replace(self, first=(min(self.first),), last=(max(self.last),))


def union(fields, shape):
    """Return a field of a tensor of this shape that holds all of these fields."""
    for axis, extent in enumerate(shape):
        if len({field.steps[axis] for field in fields}) > 1:
            fields = [field.gathered(axis, extent) for field in fields]
    if len({field.axis for field in fields if len(field.first) > 1}) > 1:
        fields = [field.regular() for field in fields]
    phases = range(math.lcm(*(len(field.first) for field in fields)))
    first = tuple(min(field.first[p % len(field.first)] for field in fields) for p in phases)
    last = tuple(max(field.last[p % len(field.last)] for field in fields) for p in phases)
    axis = next((field.axis for field in fields if len(field.first) > 1), 0)
    return Field(first, last, fields[0].steps, axis)


def _whole(number):
    """Return a fraction that is a whole number as one."""
    return int(number) if isinstance(number, Fraction) and number.denominator == 1 else number
