"""The small matrices of Winograd's convolution, applied to whole vectors of channels.

F(m, r) makes m results of a filter with r taps from a tile of m + r - 1 samples with as many
multiplications, where the definition takes m * r. It evaluates both as polynomials at some points,
multiplies there, and interpolates: y = A'[(G w) * (B' x)] (Lavin & Gray, "Fast algorithms for
convolutional neural networks", 2016, section 4.1). Its gradients take the same matrices, turned.

The points decide how it rounds. Where they come in pairs of either sign, so do rows of the
matrices, which then share their sums.
"""

from fractions import Fraction
from functools import lru_cache
from math import prod
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiled import linked
from .vectors import REGISTERS, load, pointer, sloped, spread, store, transposed

# Lavin & Gray's (0, 1, -1, 2, -2) round 2.5 times as much as these five, and the best that are
# powers of two, (0, 1, -1, 2, -1/2), 1.5 times as much and have only one pair.
POINTS = {
    0: (),
    3: (0, 1, -1),
    5: (0, Fraction(2, 3), -Fraction(2, 3), Fraction(3, 2), -Fraction(3, 2)),
    7: (0, 1, -1, 2, -2, Fraction(1, 2), -Fraction(1, 2)),
}
# F(1, 1), which does nothing, stands for the axis on which a filter has one tap.
ALGORITHMS = ((1, 1), (2, 3), (4, 3), (6, 3), (3, 4), (2, 5), (4, 5))
ROLES = ("input", "output", "slopes", "filters", "filters_grad")


def matrices(m, r):
    """Return B' (samples, samples), A' (m, samples) and G (samples, r) of F(m, r), exactly."""
    points = [Fraction(point) for point in POINTS[m + r - 2]]
    others = [[q for q in points if q != p] for p in points]
    to_samples = [[*_with_roots(roots), Fraction(0)] for roots in others]
    to_samples.append(_with_roots(points))
    from_samples = [[p**i for p in points] + [Fraction(i == m - 1)] for i in range(m)]
    of_filters = [
        [p**i / prod((p - q for q in roots), start=Fraction(1)) for i in range(r)]
        for p, roots in zip(points, others, strict=True)
    ]
    of_filters.append([Fraction(i == r - 1) for i in range(r)])
    return to_samples, from_samples, of_filters


def _with_roots(roots):
    """Return the coefficients, lowest first, of the polynomial that is zero at these points."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *coefficients], [*coefficients, Fraction(0)]
        coefficients = [a - root * b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


class Matrices(NamedTuple):
    """The matrices that take both axes to frequencies or back, and the number of frequencies."""

    h: int
    w: int
    samples_h: int
    samples_w: int


def _by_role(m, r):
    """Return the five matrices of F(m, r): its own, and those of its gradients, turned."""
    to_samples, from_samples, of_filters = matrices(m, r)
    turned = [[*zip(*rows, strict=True)] for rows in (from_samples, of_filters)]
    all_five = to_samples, from_samples, turned[0], of_filters, turned[1]
    return {
        (role, m, r): tuple(map(tuple, rows)) for role, rows in zip(ROLES, all_five, strict=True)
    }


_MATRICES = {role: rows for m, r in ALGORITHMS for role, rows in _by_role(m, r).items()}
# Some algorithms share a matrix; each is compiled once.
_DISTINCT = list(dict.fromkeys(_MATRICES.values()))
_NUMBERS = {role: _DISTINCT.index(rows) for role, rows in _MATRICES.items()}


@lru_cache(maxsize=256)
def matrices_of(role, m, r):
    """Return the matrices of a role for tiles of size m and filters of size r, both (h, w)."""
    h, w = (_NUMBERS[role, *axis] for axis in zip(m, r, strict=True))
    return Matrices(h, w, *(a + b - 1 for a, b in zip(m, r, strict=True)))


class _Writer:
    """Writes the instructions for products of constant matrices with vectors."""

    def __init__(self, builder, vector):
        self.builder, self.vector = builder, vector
        bits = 32 if isinstance(vector.element, ir.FloatType) else 64
        self.multiply_add = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector, [vector] * 3),
            f"llvm.fmuladd.v{vector.count}f{bits}",
        )

    def product(self, rows, vectors):
        """Return rows @ vectors; what two rows or two columns share is computed once."""
        rows, vectors = self._paired_columns([list(row) for row in rows], list(vectors))
        results = [None] * len(rows)
        for i, row in enumerate(rows):
            if results[i] is not None:
                continue
            k = next((k for k in range(i + 1, len(rows)) if _mirrored(row, rows[k])), None)
            if k is None:
                results[i] = self._sum(row, vectors)
                continue
            same = [a if a == b else 0 for a, b in zip(row, rows[k], strict=True)]
            opposite = [a if a != b else 0 for a, b in zip(row, rows[k], strict=True)]
            one, other = self._sum(same, vectors), self._sum(opposite, vectors)
            results[i] = self.builder.fadd(one, other)
            results[k] = self.builder.fsub(one, other)
        return results

    def _paired_columns(self, rows, vectors):
        """Replace vectors that all rows take alike, but for the sign, by sum and difference."""
        for j in range(len(vectors)):
            for k in range(j + 1, len(vectors)):
                if not _mirrored([row[j] for row in rows], [row[k] for row in rows]):
                    continue
                one, other = vectors[j], vectors[k]
                vectors[j] = self.builder.fadd(one, other)
                vectors[k] = self.builder.fsub(one, other)
                for row in rows:
                    row[j], row[k] = (row[j], 0) if row[j] == row[k] else (0, row[j])
        return rows, vectors

    def _sum(self, factors, vectors):
        terms = [(f, v) for f, v in zip(factors, vectors, strict=True) if f]
        terms.sort(key=lambda term: (abs(term[0]) != 1, term[0] < 0))
        total = None
        for factor, vector in terms:
            constant = ir.Constant(self.vector, [float(factor)] * self.vector.count)
            if total is None:
                total = vector if factor == 1 else self.builder.fmul(constant, vector)
            elif abs(factor) == 1:
                add = self.builder.fadd if factor == 1 else self.builder.fsub
                total = add(total, vector)
            else:
                total = self.builder.call(self.multiply_add, [constant, vector, total])
        return total


def _mirrored(one, other):
    """Tell whether the numbers of two lines differ in some signs, and not in all of them."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a or b]
    alike = [a == b for a, b in pairs]
    return all(abs(a) == abs(b) for a, b in pairs) and any(alike) and not all(alike)


@intrinsic
def _transform(
    typing, which, source, source0, source_term, source_step,
    target, target0, target_term, target_step, count,
):  # fmt: skip
    signature = types.void(
        which, source, source0, source_term, source_step,
        target, target0, target_term, target_step, count,
    )  # fmt: skip

    def generate(context, builder, signature, values):
        which, source, source0, source_term, source_step = values[:5]
        target, target0, target_term, target_step, count = values[5:]
        # Copies of all these loops in each caller would be compiled again and again.
        builder.function.attributes.add("noinline")
        vector = _vector(context, signature.args[1])
        origin = pointer(context, builder, signature.args[1], source, source0)
        to = pointer(context, builder, signature.args[5], target, target0)
        writer = _Writer(builder, vector)
        done = builder.append_basic_block("done")
        choice = builder.switch(which, done)

        def places(start, step, term, index, size):
            place = builder.gep(start, [builder.mul(index, step)])
            for _ in range(size):
                yield place
                place = builder.gep(place, [term])

        for number, rows in enumerate(_DISTINCT):
            block = builder.append_basic_block()
            choice.add_case(ir.Constant(which.type, number), block)
            builder.position_at_end(block)
            with cgutils.for_range(builder, count) as loop:
                read = places(origin, source_step, source_term, loop.index, len(rows[0]))
                written = places(to, target_step, target_term, loop.index, len(rows))
                results = writer.product(rows, [load(builder, place, vector) for place in read])
                for result, place in zip(results, written, strict=True):
                    store(builder, result, place)
            builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, generate


@linked()
def transform(
    which, source, source0, source_term, source_step,
    target, target0, target_term, target_step, count,
):  # fmt: skip
    """Multiply a matrix by vectors of the source, which lie a term apart, `count` times.

    Each time begins a step further on. A vector holds as many channels as it has lanes.
    """
    _transform(
        which, source, source0, source_term, source_step,
        target, target0, target_term, target_step, count,
    )  # fmt: skip


def _vector(context, array):
    number = context.get_data_type(array.dtype)
    return ir.VectorType(number, REGISTERS.size * 8 // array.dtype.bitwidth)


def _at_most(builder, index, limit):
    index = ir.Constant(limit.type, index)
    return builder.select(builder.icmp_signed("<", index, limit), index, limit)


def _lanes_before(builder, limit, vector):
    """Return a mask of the lanes whose number is less."""
    index = ir.VectorType(ir.IntType(32), vector.count)
    lane = ir.Constant(index, list(range(vector.count)))
    most, none = ir.Constant(limit.type, vector.count), ir.Constant(limit.type, 0)
    limit = builder.select(builder.icmp_signed("<", limit, most), limit, most)
    limit = builder.select(builder.icmp_signed(">", limit, none), limit, none)
    limit = builder.trunc(limit, ir.IntType(32))
    return builder.icmp_signed("<", lane, spread(builder, limit, index))


@intrinsic
def load_pixels(typing, target, target0, source, source0, plane, channels, first, last):
    """Turn a row of pixels, of planes that follow one another, into vectors of channels.

    Pixels before the first and from the last on are 0, and not read.
    """
    signature = types.void(target, target0, source, source0, plane, channels, first, last)

    def generate(context, builder, signature, values):
        target, target0, source, source0, plane, channels, first, last = values
        vector = _vector(context, signature.args[0])
        to = pointer(context, builder, signature.args[0], target, target0)
        origin = pointer(context, builder, signature.args[2], source, source0)
        outside = _lanes_before(builder, first, vector)
        mask = builder.and_(_lanes_before(builder, last, vector), builder.not_(outside))
        end = builder.sub(channels, ir.Constant(channels.type, 1))
        rows = []
        for i in range(vector.count):  # channels that are not there repeat the last one
            place = builder.gep(origin, [builder.mul(_at_most(builder, i, end), plane)])
            rows.append(load(builder, place, vector, mask))
        for i, pixel in enumerate(transposed(builder, rows)):
            store(builder, pixel, builder.gep(to, [ir.Constant(channels.type, i * vector.count)]))
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def store_pixels(
    typing, target, target0, plane, channels, count, source, source0, bias, bias0, slope, seen
):
    """Turn vectors of channels into `count` pixels of planes; add the bias, slope them below 0.

    To the vector `seen` it adds 0 for finite numbers, and NaN for others. It looks at a whole
    vector of pixels, beyond `count` too.
    """
    signature = types.void(
        target, target0, plane, channels, count, source, source0, bias, bias0, slope, seen
    )

    def generate(context, builder, signature, values):
        target, target0, plane, channels, count, source, source0, bias, bias0 = values[:9]
        slope, seen = values[9:]
        vector = _vector(context, signature.args[0])
        to = pointer(context, builder, signature.args[0], target, target0)
        origin = pointer(context, builder, signature.args[5], source, source0)
        place = pointer(context, builder, signature.args[7], bias, bias0)
        bias = load(builder, place, vector)
        zero = ir.Constant(vector, [0.0] * vector.count)
        pixels, sums = [], []
        for i in range(vector.count):
            place = builder.gep(origin, [ir.Constant(count.type, i * vector.count)])
            pixel = builder.fadd(load(builder, place, vector), bias)
            pixels.append(sloped(builder, pixel, slope))
            sums.append(pixel)
        # A tree of sums: one after the other they would wait for each other.
        while len(sums) > 1:
            sums = [builder.fadd(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
        zero_or_nan = builder.fmul(sums[0], zero)
        place = pointer(context, builder, signature.args[10], seen, ir.Constant(count.type, 0))
        store(builder, builder.fadd(load(builder, place, vector), zero_or_nan), place)
        end = builder.sub(channels, ir.Constant(channels.type, 1))
        for i, row in enumerate(transposed(builder, pixels)):
            there = builder.icmp_signed("<", ir.Constant(channels.type, i), channels)
            left = builder.select(there, count, ir.Constant(count.type, 0))
            place = builder.gep(to, [builder.mul(_at_most(builder, i, end), plane)])
            store(builder, row, place, _lanes_before(builder, left, vector))
        return context.get_dummy_value()

    return signature, generate
