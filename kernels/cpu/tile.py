"""The inner loop of every product: a tile of the result that stays in registers.

A processor multiplies and adds whole vectors. To keep it busy, a tile of the result, some rows by
some vectors, is held in its registers while the terms stream by: each step loads one vector of `b`
per column of the tile and one number of `a` per row, and uses each many times. This is the
micro-kernel of Goto & van de Geijn, "Anatomy of high-performance matrix multiplication", 2008.

Compilers do not find it by themselves, so it is written in LLVM's own language, for whatever vectors
the processor at hand has. `MINICNN_SIMD=avx512|avx2|neon|plain` chooses others.
"""

import os
import platform
from typing import NamedTuple

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiled import compiled


class Registers(NamedTuple):
    """How long a vector is [bytes], and the tile that fits in the registers of its kind."""

    size: int
    rows: int
    vectors: int


# 32 registers hold 8 x 3 sums beside 3 vectors of b and a number of a; 16 hold 4 x 3.
KINDS = {
    "avx512": Registers(64, 8, 3),
    "avx2": Registers(32, 4, 3),
    "neon": Registers(16, 8, 3),
    "plain": Registers(16, 4, 2),
}


def _of_this_processor():
    """Return the kind of vectors that this processor has."""
    features = llvmlite.binding.get_host_cpu_features()
    if features.get("avx512f"):
        return "avx512"
    if features.get("avx2") and features.get("fma"):
        return "avx2"
    return "neon" if platform.machine().lower() in ("arm64", "aarch64") else "plain"


def _chosen():
    name = os.environ.get("MINICNN_SIMD") or _of_this_processor()
    if name not in KINDS:
        raise ValueError(f"MINICNN_SIMD is {name!r}; it must be one of {', '.join(KINDS)}")
    return KINDS[name]


REGISTERS = _chosen()
ROWS = REGISTERS.rows
_ALIGN = ir.IntType(32)


def columns(dtype):
    """Return how many columns a full tile has."""
    return REGISTERS.vectors * REGISTERS.size // np.dtype(dtype).itemsize


def _pointer(context, builder, array_type, array, offset):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def _load(builder, pointer, vector, mask=None):
    """Load a vector that lies anywhere; 0 where the mask says no, untouched in memory."""
    pointer = builder.bitcast(pointer, vector.as_pointer())
    if mask is None:
        load = builder.load(pointer)
        load.align = _bits(vector) // 8
        return load
    kind = ir.FunctionType(vector, [pointer.type, _ALIGN, mask.type, vector])
    name = f"llvm.masked.load.v{vector.count}f{_bits(vector)}.p0"
    load = cgutils.get_or_insert_function(builder.module, kind, name)
    nothing = ir.Constant(vector, [0.0] * vector.count)
    return builder.call(load, [pointer, ir.Constant(_ALIGN, _bits(vector) // 8), mask, nothing])


def _store(builder, value, pointer, mask=None):
    """Store a vector anywhere, but not where the mask says no."""
    vector = value.type
    pointer = builder.bitcast(pointer, vector.as_pointer())
    if mask is None:
        builder.store(value, pointer).align = _bits(vector) // 8
        return
    kind = ir.FunctionType(ir.VoidType(), [vector, pointer.type, _ALIGN, mask.type])
    name = f"llvm.masked.store.v{vector.count}f{_bits(vector)}.p0"
    store = cgutils.get_or_insert_function(builder.module, kind, name)
    builder.call(store, [value, pointer, ir.Constant(_ALIGN, _bits(vector) // 8), mask])


def _bits(vector):
    return 64 if isinstance(vector.element, ir.DoubleType) else 32


def _first(builder, count, lanes):
    """Return the mask of the first `count` lanes."""
    numbers = ir.VectorType(count.type, lanes)
    lane = ir.Constant(numbers, list(range(lanes)))
    return builder.icmp_signed("<", lane, _spread(builder, count, numbers))


def _spread(builder, number, vector):
    """Return a vector that holds this number everywhere."""
    index = ir.IntType(32)
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(index, 0))
    mask = ir.Constant(ir.VectorType(index, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, nothing, mask)


def _tile(tile_rows, vectors):
    """Return the micro-kernel for tiles of so many rows, so many vectors wide."""

    @intrinsic
    def tile(typing, a, a0, a_row, a_term, rows, b, b0, b_row, terms, c, c0, c_row, fresh):
        """Add a[rows, terms] @ b[terms, tile] to c[rows, tile], or put it there where it is fresh.

        Rows lie so far apart, and terms of a. Rows of c beyond `rows` are written too, with no
        meaning.
        """
        signature = types.void(a, a0, a_row, a_term, rows, b, b0, b_row, terms, c, c0, c_row, fresh)

        def generate(context, builder, signature, values):
            a, a0, a_row, a_term, rows, b, b0, b_row, terms, c, c0, c_row, fresh = values
            kinds = signature.args
            starts = [
                _pointer(context, builder, kinds[0], a, builder.add(a0, builder.mul(row, a_row)))
                for row in _existing(builder, tile_rows, rows)
            ]
            b_start = _pointer(context, builder, kinds[5], b, b0)
            c_start = _pointer(context, builder, kinds[9], c, c0)
            _sum_up(
                builder, vectors, terms, starts, lambda k: builder.mul(k, a_term),
                lambda k: builder.gep(b_start, [builder.mul(k, b_row)]), c_start, c_row, fresh,
            )  # fmt: skip
            return context.get_dummy_value()

        return signature, generate

    return tile


def _scattered_tile(tile_rows, vectors):
    """Return the same micro-kernel for rows that begin where tables say."""

    @intrinsic
    def tile(typing, a, a0, a_rows, a_row, rows, b, b0, b_rows, b_row, terms, c, c0, c_row, fresh):
        """Do what `_tile` does; row i of a begins at a0 + a_rows[a_row + i], and so for b."""
        signature = types.void(
            a, a0, a_rows, a_row, rows, b, b0, b_rows, b_row, terms, c, c0, c_row, fresh
        )

        def generate(context, builder, signature, values):
            a, a0, a_rows, a_row, rows, b, b0, b_rows, b_row, terms, c, c0, c_row, fresh = values
            kinds, starts = signature.args, []
            for row in _existing(builder, tile_rows, rows):
                place = _pointer(context, builder, kinds[2], a_rows, builder.add(a_row, row))
                offset = builder.add(a0, builder.load(place))
                starts.append(_pointer(context, builder, kinds[0], a, offset))
            b_start = _pointer(context, builder, kinds[5], b, b0)
            b_table = _pointer(context, builder, kinds[7], b_rows, b_row)
            c_start = _pointer(context, builder, kinds[10], c, c0)
            _sum_up(
                builder, vectors, terms, starts, lambda k: k,
                lambda k: builder.gep(b_start, [builder.load(builder.gep(b_table, [k]))]),
                c_start, c_row, fresh,
            )  # fmt: skip
            return context.get_dummy_value()

        return signature, generate

    return tile


def _existing(builder, tile_rows, rows):
    """Return the number of each row of a tile; rows that are not there repeat the last one."""
    last = builder.sub(rows, ir.Constant(rows.type, 1))
    numbers = [ir.Constant(rows.type, i) for i in range(tile_rows)]
    return [
        builder.select(builder.icmp_signed("<", number, last), number, last) for number in numbers
    ]


def _sum_up(builder, vectors, terms, starts, a_offset, b_place, c_start, c_row, fresh):
    """Write the loop over the terms, and what becomes of the sums.

    `starts` are the rows of a, `a_offset` says how far from there term k is, and `b_place` where its
    row of b begins.
    """
    size, number = terms.type, starts[0].type.pointee
    bits = 64 if isinstance(number, ir.DoubleType) else 32
    lanes = REGISTERS.size * 8 // bits
    vector = ir.VectorType(number, lanes)
    multiply_add = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [vector] * 3),
        f"llvm.fmuladd.v{lanes}f{bits}",
    )
    before, zero = builder.block, ir.Constant(vector, [0.0] * lanes)
    places = [ir.Constant(size, j * lanes) for j in range(vectors)]
    loop, done = builder.append_basic_block("terms"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    k = builder.phi(size)
    k.add_incoming(ir.Constant(size, 0), before)
    sums = [[builder.phi(vector) for _ in range(vectors)] for _ in starts]
    b_row, a_term, results = b_place(k), a_offset(k), []
    b_vectors = [_load(builder, builder.gep(b_row, [place]), vector) for place in places]
    for start, row in zip(starts, sums, strict=True):
        factor = _spread(builder, builder.load(builder.gep(start, [a_term])), vector)
        for total, b_vector in zip(row, b_vectors, strict=True):
            results.append(builder.call(multiply_add, [factor, b_vector, total]))
            total.add_incoming(zero, before)
            total.add_incoming(results[-1], loop)
    following = builder.add(k, ir.Constant(size, 1))
    k.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, terms), loop, done)

    builder.position_at_end(done)
    replace = builder.icmp_signed("!=", fresh, ir.Constant(fresh.type, 0))
    for index, value in enumerate(results):
        i, j = divmod(index, vectors)
        offset = builder.add(builder.mul(c_row, ir.Constant(size, i)), places[j])
        place = builder.gep(c_start, [offset])
        old = builder.select(replace, zero, _load(builder, place, vector))
        _store(builder, builder.fadd(value, old), place)


@intrinsic
def copy(typing, target, target0, source, source0, count):
    """Copy `count` numbers: whole vectors, then what is left under a mask.

    A loop would become a call or a preamble of checks; both cost more than a row of 7 pixels.
    """
    signature = types.void(target, target0, source, source0, count)

    def generate(context, builder, signature, values):
        target, target0, source, source0, count = values
        number = context.get_data_type(signature.args[0].dtype)
        bits = signature.args[0].dtype.bitwidth
        lanes = REGISTERS.size * 8 // bits
        vector, size = ir.VectorType(number, lanes), count.type
        to = _pointer(context, builder, signature.args[0], target, target0)
        origin = _pointer(context, builder, signature.args[2], source, source0)
        step, zero = ir.Constant(size, lanes), ir.Constant(size, 0)
        whole = builder.sub(count, builder.srem(count, step))

        before = builder.block
        check, body = builder.append_basic_block("check"), builder.append_basic_block("body")
        rest, done = builder.append_basic_block("rest"), builder.append_basic_block("done")
        builder.branch(check)
        builder.position_at_end(check)
        i = builder.phi(size)
        i.add_incoming(zero, before)
        builder.cbranch(builder.icmp_signed("<", i, whole), body, rest)
        builder.position_at_end(body)
        value = _load(builder, builder.gep(origin, [i]), vector)
        _store(builder, value, builder.gep(to, [i]))
        i.add_incoming(builder.add(i, step), body)
        builder.branch(check)

        builder.position_at_end(rest)
        tail = builder.append_basic_block("tail")
        builder.cbranch(builder.icmp_signed("<", whole, count), tail, done)
        builder.position_at_end(tail)
        mask = _first(builder, builder.sub(count, whole), lanes)
        value = _load(builder, builder.gep(origin, [whole]), vector, mask)
        _store(builder, value, builder.gep(to, [whole]), mask)
        builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def transpose(typing, target, target0, target_row, source, source0, source_row, rows, count):
    """Put `rows` rows of `count` numbers upright, at most as many of each as a vector has."""
    signature = types.void(target, target0, target_row, source, source0, source_row, rows, count)

    def generate(context, builder, signature, values):
        target, target0, target_row, source, source0, source_row, rows, count = values
        number, size = context.get_data_type(signature.args[0].dtype), count.type
        lanes = REGISTERS.size * 8 // signature.args[0].dtype.bitwidth
        vector = ir.VectorType(number, lanes)
        to = _pointer(context, builder, signature.args[0], target, target0)
        origin = _pointer(context, builder, signature.args[3], source, source0)
        across, along = _first(builder, count, lanes), _first(builder, rows, lanes)
        nothing = ir.Constant(across.type, [False] * lanes)
        lines = []
        for i in range(lanes):
            there = builder.icmp_signed("<", ir.Constant(size, i), rows)
            mask = builder.select(there, across, nothing)
            place = builder.gep(origin, [builder.mul(source_row, ir.Constant(size, i))])
            lines.append(_load(builder, place, vector, mask))
        # Blocks of half the size change places, then blocks within these, down to single numbers.
        distance = lanes // 2
        while distance:
            for i in (i for i in range(lanes) if not i & distance):
                one, other = lines[i], lines[i + distance]
                lines[i] = _mixed(
                    builder, one, other,
                    [k if not k & distance else lanes + k - distance for k in range(lanes)],
                )  # fmt: skip
                lines[i + distance] = _mixed(
                    builder, one, other,
                    [k + distance if not k & distance else lanes + k for k in range(lanes)],
                )  # fmt: skip
            distance //= 2
        for i, line in enumerate(lines):
            there = builder.icmp_signed("<", ir.Constant(size, i), count)
            mask = builder.select(there, along, nothing)
            place = builder.gep(to, [builder.mul(target_row, ir.Constant(size, i))])
            _store(builder, line, place, mask)
        return context.get_dummy_value()

    return signature, generate


def _mixed(builder, one, other, lanes):
    """Return the vector of these lanes of two vectors in a row."""
    return builder.shuffle_vector(
        one, other, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes)
    )


_wide, _middle = (_tile(ROWS, REGISTERS.vectors - i) for i in (0, 1))
_narrow = _tile(ROWS, 1)
_wide_rows, _middle_rows = (_scattered_tile(ROWS, REGISTERS.vectors - i) for i in (0, 1))
_narrow_rows = _scattered_tile(ROWS, 1)
_low_rows, _low_narrow_rows = (
    _scattered_tile(ROWS // 2, vectors) for vectors in (REGISTERS.vectors, 1)
)


@compiled(inline="always")
def in_vectors(count, array):
    """Return how many elements whole vectors have that hold `count` of an array."""
    lanes = REGISTERS.size // array.itemsize
    return (count + lanes - 1) // lanes * lanes


@compiled()
def aligned(count, array):
    """Return new memory for so many numbers, of an array's type, that begins where vectors do.

    A vector that lies across two lines of the cache costs as much as two.
    """
    lanes = REGISTERS.size // array.itemsize
    memory = np.empty(count + lanes, array.dtype)
    skipped = -(memory.ctypes.data // array.itemsize) % lanes
    return memory[skipped : skipped + count]


@compiled(inline="always")
def _multiply(a, a0, a_row, a_term, rows, b, b_row, terms, c, c_row, width, fresh):
    lanes = REGISTERS.size // b.itemsize
    full = REGISTERS.vectors * lanes
    for i in range(0, rows, ROWS):
        left, start = min(ROWS, rows - i), a0 + i * a_row
        for j in range(0, width, full):
            vectors = (min(full, width - j) + lanes - 1) // lanes
            c0 = i * c_row + j
            if vectors == REGISTERS.vectors:
                _wide(a, start, a_row, a_term, left, b, j, b_row, terms, c, c0, c_row, fresh)
            elif vectors > 1:
                _middle(a, start, a_row, a_term, left, b, j, b_row, terms, c, c0, c_row, fresh)
            else:
                _narrow(a, start, a_row, a_term, left, b, j, b_row, terms, c, c0, c_row, fresh)


@compiled()
def multiply(a, a0, a_row, rows, b, b_row, terms, c, c_row, width, fresh):
    """Add a[rows, terms] @ b[terms, width] to c[rows, width], or put it there where it is fresh.

    All three are flat; a begins at a0 and its rows lie a_row apart. c is written in whole tiles, so
    it has room for as many rows and columns. Tiles of one row share what they read of a.
    """
    _multiply(a, a0, a_row, 1, rows, b, b_row, terms, c, c_row, width, fresh)


@compiled()
def multiply_across(a, a0, a_row, rows, b, b_row, terms, c, c_row, width, fresh):
    """Add a[terms, rows]' @ b[terms, width] to c[rows, width], or put it there where it is fresh."""
    _multiply(a, a0, 1, a_row, rows, b, b_row, terms, c, c_row, width, fresh)


@compiled()
def multiply_rows(a, a0, a_rows, a_row, rows, b, b0, b_rows, b_row, terms, c, c_row, width, fresh):
    """Do what `multiply` does for rows that begin where tables say: they may lie anywhere.

    Row i of a begins at a0 + a_rows[a_row + i], and so for b, which is read in whole vectors.
    """
    lanes = REGISTERS.size // b.itemsize
    full = REGISTERS.vectors * lanes
    for i in range(0, rows, ROWS):
        left, row = min(ROWS, rows - i), a_row + i
        for j in range(0, width, full):
            vectors = (min(full, width - j) + lanes - 1) // lanes
            c0, b1 = i * c_row + j, b0 + j
            if left <= ROWS // 2 and vectors == REGISTERS.vectors:
                _low_rows(
                    a, a0, a_rows, row, left, b, b1, b_rows, b_row, terms, c, c0, c_row, fresh
                )
            elif left <= ROWS // 2:
                for v in range(0, vectors * lanes, lanes):
                    _low_narrow_rows(
                        a, a0, a_rows, row, left, b, b1 + v, b_rows, b_row, terms, c, c0 + v, c_row,
                        fresh,
                    )  # fmt: skip
            elif vectors == REGISTERS.vectors:
                _wide_rows(
                    a, a0, a_rows, row, left, b, b1, b_rows, b_row, terms, c, c0, c_row, fresh
                )
            elif vectors > 1:
                _middle_rows(
                    a, a0, a_rows, row, left, b, b1, b_rows, b_row, terms, c, c0, c_row, fresh
                )
            else:
                _narrow_rows(
                    a, a0, a_rows, row, left, b, b1, b_rows, b_row, terms, c, c0, c_row, fresh
                )
