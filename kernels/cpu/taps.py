"""The largest samples of all windows along a row, in vectors, and where they are.

A tap is a place in a window; all windows of a row meet the same tap at once. Where windows are
`step` samples apart they meet every `step`-th, so as many vectors are loaded, and dealt out into
lanes in registers. Padding is nowhere stored: what lies outside the row is masked.

There is code for each step and each number of taps in a row. The type of the arguments tells them:
they are the lengths of `lanes` and `columns`, tuples of anything. Where `columns` is empty, the
code is for any number of taps, and takes a fifth more time.
"""

import contextlib

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .vectors import REGISTERS, bits, load, pointer, spread, store

_SIZE, _COLUMN = ir.IntType(64), ir.IntType(32)


@intrinsic
def largest(
    typing, y, index, to, count, x, plane, at, w, left, rows, row_step, kw, dilation, known, lanes,
    columns,
):  # fmt: skip
    """Set y, from `to`, to the maxima of `count` windows, and the index to where each was.

    They meet `rows` rows of x, `row_step` apart. The first begins at `at` in its plane, which
    begins at `plane`; all have w samples, and `left` of padding before. `known`: y and index hold
    what the rows above say. Of equals the first wins. No index is made where it is None.

    Returns whether there may be a NaN, which is not heeded: to ask each sample takes half as long
    again. It is told by the sum of samples, which may also be NaN where infinities meet.
    """
    signature = types.boolean(
        y, index, to, count, x, plane, at, w, left, rows, row_step, kw, dilation, known, lanes,
        columns,
    )  # fmt: skip

    def generate(context, builder, signature, values):
        _, _, to, count, _, plane, at, w, left, rows, row_step, kw, dilation, known, *_ = values
        row = _Row(context, builder, y, len(lanes), len(columns))
        maxima = _Maxima(row, None if index == types.none else context.get_data_type(index.dtype))
        samples = pointer(context, builder, x, values[4], plane)
        result = pointer(context, builder, y, values[0], to)
        places = pointer(context, builder, index, values[1], to) if maxima.kind else None
        groups = builder.sdiv(builder.sub(kw, row.number(1)), row.number(row.step))
        reach = builder.add(
            builder.mul(builder.mul(groups, row.number(row.step)), dilation),
            row.number(row.step * row.width),
        )

        def inside(j):
            start = builder.sub(builder.mul(j, row.number(row.step)), left)
            stop, end = builder.add(start, reach), builder.add(j, row.number(row.width))
            return row.all((row.number(0), start), (stop, w), (end, count))

        def body(j, is_masked):
            start = builder.sub(builder.mul(j, row.number(row.step)), left)
            mask = row.within(j, count) if is_masked else None
            here = builder.gep(result, [j])
            there = builder.gep(places, [j]) if maxima.kind else None
            maxima.begin(builder.add(at, start), start, is_masked)
            with builder.if_then(known):
                maxima.resume(here, there, mask)
            with cgutils.for_range(builder, rows, intp=_SIZE) as line:
                line_at = builder.add(at, builder.mul(line.index, row_step))
                maxima.enter_row(builder.add(line_at, start))
                for tap in row.each_tap(kw):
                    column = builder.add(start, builder.mul(tap, dilation))
                    origin = builder.add(line_at, column)
                    loaded = row.load(samples, origin, column, w, is_masked)
                    for lane, met in enumerate(row.dealt(loaded)):
                        with row.unless_past(builder.add(tap, row.number(lane)), kw, lane):
                            maxima.meet(met, lane)
                    maxima.move_on(dilation)
            maxima.keep(here, there, mask)

        row.each(count, inside, body)
        return maxima.is_any_nan()

    return signature, generate


class _Row:
    """A row in vectors: their types, and code for them."""

    def __init__(self, context, builder, array, step, taps):
        self.builder, self.step, self.taps = builder, step, taps
        self.width = REGISTERS.size * 8 // array.dtype.bitwidth
        self.vector = ir.VectorType(context.get_data_type(array.dtype), self.width)

    @staticmethod
    def number(value):
        return ir.Constant(_SIZE, value)

    def all(self, *pairs):
        """Return whether the first of each pair is at most the second."""
        result = ir.Constant(ir.IntType(1), 1)
        for low, high in pairs:
            result = self.builder.and_(result, self.builder.icmp_signed("<=", low, high))
        return result

    def each(self, count, inside, body):
        """Call body(j, is_masked) for each vector of `count` numbers; inside(j): without a mask."""
        steps = self.number(0), count, self.number(self.width)
        with (
            cgutils.for_range_slice(self.builder, *steps, _SIZE) as (j, _),
            self.builder.if_else(inside(j)) as (whole, partly),
        ):
            with whole:
                body(j, False)
            with partly:
                body(j, True)

    def each_tap(self, kw):
        """Yield the first tap of each step, in a loop unless their number is known."""
        if self.taps:
            yield from map(self.number, range(0, self.taps, self.step))
            return
        steps = self.number(0), kw, self.number(self.step)
        with cgutils.for_range_slice(self.builder, *steps, _SIZE) as (tap, _):
            yield tap

    def unless_past(self, tap, kw, lane):
        """Enter only if there is this tap; in the first lane there always is."""
        if lane == 0:
            return contextlib.nullcontext()
        limit = self.number(self.taps) if self.taps else kw
        return self.builder.if_then(self.builder.icmp_signed("<", tap, limit), likely=True)

    def within(self, start, count):
        """Return the mask of those of the next places, from `start`, that are in range(count)."""
        columns = ir.VectorType(_COLUMN, self.width)
        start, count = (
            spread(self.builder, self.builder.trunc(value, _COLUMN), columns)
            for value in (start, count)
        )
        places = self.builder.add(start, ir.Constant(columns, list(range(self.width))))
        return self.builder.icmp_unsigned("<", places, count)

    def load(self, place, origin, column, w, is_masked):
        """Return as many vectors as the step: samples, and -inf where the row has none."""
        loaded = []
        for part in range(self.step):
            skip = self.number(part * self.width)
            mask = self.within(self.builder.add(column, skip), w) if is_masked else None
            here = self.builder.gep(place, [self.builder.add(origin, skip)])
            loaded.append(load(self.builder, here, self.vector, mask, float("-inf")))
        return loaded

    def dealt(self, parts):
        """Return lanes: of vectors one behind the other, every so-many-th number from each."""
        count = len(parts)
        if count > 1 and count % 2 == 0:
            pairs = list(zip(parts[::2], parts[1::2], strict=True))
            even, odd = (
                self.dealt([self._picked(pair, start, 2) for pair in pairs]) for start in (0, 1)
            )
            return [lane for both in zip(even, odd, strict=True) for lane in both]
        return [self._picked(parts, start, count) for start in range(count)]

    def _picked(self, parts, start, step):
        """Return every `step`-th number of vectors, of which there are as many."""
        sources = [divmod(start + step * i, self.width) for i in range(self.width)]
        result, order = parts[0], [place for _, place in sources]
        for number, part in enumerate(parts[1:], 1):
            # The first shuffle finds the numbers of the first vector where they were.
            order = [
                self.width + place if which == number else order[i] if number == 1 else i
                for i, (which, place) in enumerate(sources)
            ]
            mask = ir.Constant(ir.VectorType(_COLUMN, self.width), order)
            result = self.builder.shuffle_vector(result, part, mask)
        return result


class _Maxima:
    """The largest samples so far of a vector of windows, and where in their plane they are."""

    def __init__(self, row, kind):
        self.row, self.builder = row, row.builder
        self.kind = kind and ir.VectorType(kind, row.width)
        # As wide as the samples, for one mask chooses both.
        self.places = ir.VectorType(ir.IntType(bits(row.vector.element)), row.width)
        self._best, self._sum, self._all = (
            cgutils.alloca_once(self.builder, row.vector) for _ in range(3)
        )
        self._at, self._here = (cgutils.alloca_once(self.builder, self.places) for _ in range(2))
        self.builder.store(ir.Constant(row.vector, [0] * row.width), self._all)

    def begin(self, place, column, is_masked):
        """Begin below all samples, at the first of each window: it wins where all are -inf."""
        builder, nothing = self.builder, ir.Constant(self.places, [0] * self.row.width)
        builder.store(ir.Constant(self.row.vector, [float("-inf")] * self.row.width), self._best)
        builder.store(ir.Constant(self.row.vector, [0] * self.row.width), self._sum)
        if not self.kind:
            return
        at = self._along(place)
        if is_masked:
            columns = self._along(column)
            skipped = builder.select(builder.icmp_signed("<", columns, nothing), columns, nothing)
            at = builder.sub(at, skipped)
        builder.store(at, self._at)

    def resume(self, here, there, mask):
        """Begin with what is known."""
        builder = self.builder
        builder.store(load(builder, here, self.row.vector, mask), self._best)
        if self.kind:
            at = load(builder, there, self.kind, mask)
            at = at if self.kind == self.places else builder.sext(at, self.places)
            builder.store(at, self._at)

    def enter_row(self, place):
        """Go where the first tap of the first window is."""
        if self.kind:
            self.builder.store(self._along(place), self._here)

    def meet(self, value, lane):
        """Meet a sample of each window."""
        builder, best = self.builder, self.builder.load(self._best)
        is_larger = builder.fcmp_ordered(">", value, best)
        # With this very comparison it is one instruction.
        builder.store(builder.select(is_larger, value, best), self._best)
        builder.store(builder.fadd(builder.load(self._sum), value), self._sum)
        if self.kind:
            lanes = ir.Constant(self.places, [lane] * self.row.width)
            here = builder.add(builder.load(self._here), lanes)
            at = builder.select(is_larger, here, builder.load(self._at))
            builder.store(at, self._at)

    def move_on(self, dilation):
        """Go to the taps a step further."""
        if self.kind:
            builder = self.builder
            further = self._spread(builder.mul(dilation, self.row.number(self.row.step)))
            builder.store(builder.add(builder.load(self._here), further), self._here)

    def keep(self, here, there, mask):
        """Write what was found."""
        builder = self.builder
        store(builder, builder.load(self._best), here, mask)
        if self.kind:
            at = builder.load(self._at)
            at = at if self.kind == self.places else builder.trunc(at, self.kind)
            store(builder, at, there, mask)
        met = builder.load(self._sum)
        is_number = builder.fcmp_ordered("ord", met, met)
        builder.store(builder.select(is_number, builder.load(self._all), met), self._all)

    def is_any_nan(self):
        """Return whether a sum of samples was NaN."""
        builder, total = self.builder, self.builder.load(self._all)
        found = builder.fcmp_unordered("uno", total, total)
        bits = builder.bitcast(found, ir.IntType(self.row.width))
        return builder.icmp_unsigned("!=", bits, ir.Constant(bits.type, 0))

    def _spread(self, place):
        """Return a vector of this place."""
        element = self.places.element
        place = place if element.width == 64 else self.builder.trunc(place, element)
        return spread(self.builder, place, self.places)

    def _along(self, place):
        """Return the places that begin here, a step apart."""
        steps = ir.Constant(self.places, [self.row.step * i for i in range(self.row.width)])
        return self.builder.add(self._spread(place), steps)
