"""The inner loop of every product: a tile of the result that stays in registers.

A processor multiplies and adds whole vectors. To keep it busy, a tile of the result, some rows by
some vectors, is held in its registers while the terms stream by: each step loads one vector of `b`
per column of the tile and one number of `a` per row, and uses each many times. This is the
micro-kernel of Goto & van de Geijn, "Anatomy of high-performance matrix multiplication", 2008.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .compiled import linked
from .vectors import REGISTERS, bits, first, load, pointer, sloped, spread, store

ROWS = REGISTERS.rows


def columns(dtype):
    """Return how many columns a full tile has."""
    return REGISTERS.vectors * REGISTERS.size // np.dtype(dtype).itemsize


@intrinsic
def _tile(typing, a, a0, a_row, a_term, rows, b, b0, b_row, terms, c, c0, c_row, columns, fresh):
    """Add a[rows, terms] @ b[terms, columns] to c[rows, columns], or put it there if it is fresh.

    Rows lie so far apart, and terms of a. The smallest tile is computed that is as wide, and is
    written whole: rows and columns beyond those wanted have no meaning.
    """
    signature = types.void(
        a, a0, a_row, a_term, rows, b, b0, b_row, terms, c, c0, c_row, columns, fresh
    )

    def generate(context, builder, signature, values):
        a, a0, a_row, a_term, rows, b, b0, b_row, terms, c, c0, c_row, columns, fresh = values
        kinds = signature.args
        b_start = pointer(context, builder, kinds[5], b, b0)
        c_start = pointer(context, builder, kinds[9], c, c0)

        def write(tile_rows, vectors):
            starts = [
                pointer(context, builder, kinds[0], a, builder.add(a0, builder.mul(row, a_row)))
                for row in _existing(builder, tile_rows, rows)
            ]
            sums = _sum_up(
                builder, vectors, terms, starts, lambda k: builder.mul(k, a_term),
                lambda k: builder.gep(b_start, [builder.mul(k, b_row)]),
            )  # fmt: skip
            _add(builder, sums, _places(builder, c_start, c_row, sums), fresh)

        _smallest(builder, (ROWS,), rows, columns, _lanes(b_start), write)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def _scattered_tile(
    typing, a, a0, a_rows, a_row, rows, a_terms, a_term, b, b0, b_rows, b_row, terms, c, c0, c_row,
    columns, fresh, bias, slope,
):  # fmt: skip
    """Do what `multiply_rows` does for no more rows and columns than a tile has."""
    signature = types.void(
        a, a0, a_rows, a_row, rows, a_terms, a_term, b, b0, b_rows, b_row, terms, c, c0, c_row,
        columns, fresh, bias, slope,
    )  # fmt: skip

    def generate(context, builder, signature, values):
        (
            a, a0, a_rows, a_row, rows, a_terms, a_term, b, b0, b_rows, b_row, terms, c, c0, c_row,
            columns, fresh, bias, slope,
        ) = values  # fmt: skip
        kinds = signature.args
        a_table = pointer(context, builder, kinds[5], a_terms, a_term)
        b_start = pointer(context, builder, kinds[7], b, b0)
        b_table = pointer(context, builder, kinds[9], b_rows, b_row)
        c_start = pointer(context, builder, kinds[12], c, c0)

        def write(tile_rows, vectors):
            starts, biases = [], []
            for row in _existing(builder, tile_rows, rows):
                row = builder.add(a_row, row)
                offset = builder.load(pointer(context, builder, kinds[2], a_rows, row))
                starts.append(pointer(context, builder, kinds[0], a, builder.add(a0, offset)))
                biases.append(pointer(context, builder, kinds[17], bias, row))
            sums = _sum_up(
                builder, vectors, terms, starts, lambda k: builder.load(builder.gep(a_table, [k])),
                lambda k: builder.gep(b_start, [builder.load(builder.gep(b_table, [k]))]),
            )  # fmt: skip
            place = _places(builder, c_start, c_row, sums)
            _finish(builder, sums, biases, place, rows, columns, fresh, slope)

        _smallest(builder, (ROWS // 2, ROWS), rows, columns, _lanes(b_start), write)
        return context.get_dummy_value()

    return signature, generate


def _lanes(place):
    """Return how many of the numbers that lie there a vector has."""
    return REGISTERS.size * 8 // bits(place.type.pointee)


def _smallest(builder, heights, rows, columns, lanes, write):
    """Write code for tiles of these heights and all widths; the smallest that will do is used."""
    done = builder.append_basic_block("done")

    def if_at_most(count, limit, largest):
        """Go on where count is at most the limit; return where it goes on otherwise."""
        if limit == largest:
            return done
        fits, larger = (builder.append_basic_block(name) for name in ("fits", "larger"))
        is_small = builder.icmp_signed("<=", count, ir.Constant(count.type, limit))
        builder.cbranch(is_small, fits, larger)
        builder.position_at_end(fits)
        return larger

    for height in heights:
        higher = if_at_most(rows, height, heights[-1])
        for vectors in range(1, REGISTERS.vectors + 1):
            wider = if_at_most(columns, vectors * lanes, REGISTERS.vectors * lanes)
            write(height, vectors)
            builder.branch(done)
            builder.position_at_end(wider)
        builder.position_at_end(higher)


def _existing(builder, tile_rows, rows):
    """Return the number of each row of a tile; rows that are not there repeat the last one."""
    last = builder.sub(rows, ir.Constant(rows.type, 1))
    numbers = [ir.Constant(rows.type, i) for i in range(tile_rows)]
    return [
        builder.select(builder.icmp_signed("<", number, last), number, last) for number in numbers
    ]


def _sum_up(builder, vectors, terms, starts, a_offset, b_place):
    """Write the loop over the terms; return the vectors of sums of each row.

    `starts` are the rows of a, `a_offset` says how far from there term k is, and `b_place` where
    its row of b begins.
    """
    size, number = terms.type, starts[0].type.pointee
    lanes = _lanes(starts[0])
    vector = ir.VectorType(number, lanes)
    multiply_add = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(vector, [vector] * 3),
        f"llvm.fmuladd.v{lanes}f{bits(number)}",
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
    b_vectors = [load(builder, builder.gep(b_row, [place]), vector) for place in places]
    for start, row in zip(starts, sums, strict=True):
        factor = spread(builder, builder.load(builder.gep(start, [a_term])), vector)
        for total, b_vector in zip(row, b_vectors, strict=True):
            results.append(builder.call(multiply_add, [factor, b_vector, total]))
            total.add_incoming(zero, before)
            total.add_incoming(results[-1], loop)
    following = builder.add(k, ir.Constant(size, 1))
    k.add_incoming(following, loop)
    _keep_rolled(builder, builder.cbranch(builder.icmp_signed("<", following, terms), loop, done))

    builder.position_at_end(done)
    return [results[i * vectors : (i + 1) * vectors] for i in range(len(starts))]


def _keep_rolled(builder, branch):
    """Do not let LLVM unroll the loop that ends here: twice the addresses need more registers."""
    module = builder.module
    option = module.add_metadata([ir.MetaDataString(module, "llvm.loop.unroll.disable")])
    loop = ir.values.MDValue(module, [option], name=str(len(module.metadata)))
    loop.operands = loop, option  # what names a loop begins with itself
    branch.set_metadata("llvm.loop", loop)


def _places(builder, c_start, c_row, sums):
    """Return a function: where vector j of row i of the result lies."""
    lanes, size = sums[0][0].type.count, c_row.type

    def place(i, j):
        offset = builder.add(builder.mul(c_row, ir.Constant(size, i)), ir.Constant(size, j * lanes))
        return builder.gep(c_start, [offset])

    return place


def _add(builder, sums, place, fresh):
    """Add sums to what is there, or put them there where it is fresh."""
    replace = builder.icmp_signed("!=", fresh, ir.Constant(fresh.type, 0))
    for i, row in enumerate(sums):
        for j, value in enumerate(row):
            zero = ir.Constant(value.type, [0.0] * value.type.count)
            old = builder.select(replace, zero, load(builder, place(i, j), value.type))
            store(builder, builder.fadd(value, old), place(i, j))


def _finish(builder, sums, biases, place, rows, columns, fresh, slope):
    """Finish sums: with what is there or, where it is fresh, their bias; slope them below 0."""
    vector, size = sums[0][0].type, rows.type
    replace = builder.icmp_signed("!=", fresh, ir.Constant(fresh.type, 0))

    def put(i, mask_of):
        bias = spread(builder, builder.load(biases[i]), vector)
        for j, value in enumerate(sums[i]):
            mask = mask_of(j)
            old = builder.select(replace, bias, load(builder, place(i, j), vector, mask))
            value = builder.fadd(value, old)
            store(builder, sloped(builder, value, slope), place(i, j), mask)

    def part(j):
        left = builder.sub(columns, ir.Constant(size, j * vector.count))
        return first(builder, left, vector.count)

    full = ir.Constant(size, len(sums[0]) * vector.count)
    is_full = builder.icmp_signed(">=", columns, full)
    for i in range(len(sums)):
        is_there = builder.icmp_signed("<", ir.Constant(size, i), rows)
        with builder.if_then(is_there), builder.if_else(is_full) as (whole, rest):
            with whole:
                put(i, lambda j: None)
            with rest:
                put(i, part)


@linked(inline="always")
def _multiply(a, a0, a_row, a_term, rows, b, b_row, terms, c, c_row, width, fresh):
    full = REGISTERS.vectors * (REGISTERS.size // b.itemsize)
    for i in range(0, rows, ROWS):
        left, start = min(ROWS, rows - i), a0 + i * a_row
        for j in range(0, width, full):
            _tile(
                a, start, a_row, a_term, left, b, j, b_row, terms, c, i * c_row + j, c_row,
                width - j, fresh,
            )  # fmt: skip


@linked()
def multiply(a, a0, a_row, rows, b, b_row, terms, c, c_row, width, fresh):
    """Add a[rows, terms] @ b[terms, width] to c[rows, width], or put it there where it is fresh.

    All three are flat; a begins at a0 and its rows lie a_row apart. c is written in whole tiles, so
    it has room for as many rows and columns. Tiles of one row share what they read of a.
    """
    _multiply(a, a0, a_row, 1, rows, b, b_row, terms, c, c_row, width, fresh)


@linked()
def multiply_across(a, a0, a_row, rows, b, b_row, terms, c, c_row, width, fresh):
    """Do what `multiply` does for the transpose of a[terms, rows]: its rows stand upright."""
    _multiply(a, a0, 1, a_row, rows, b, b_row, terms, c, c_row, width, fresh)


@linked()
def multiply_rows(
    a, a0, a_rows, a_row, rows, a_terms, a_term, b, b0, b_rows, b_row, terms, c, c0, c_row, width,
    fresh, bias, slope,
):  # fmt: skip
    """Do what `multiply` does for rows that begin where tables say, and finish the result.

    a[i, k] is a[a0 + a_rows[a_row + i] + a_terms[a_term + k]]. Row k of b begins at
    b0 + b_rows[b_row + k]; it is read in whole vectors. A fresh result has the bias of its row,
    bias[a_row + i], added. What is below 0 is multiplied by `slope`. Nothing is written beyond rows
    and width, so c may be where the result belongs.
    """
    full = REGISTERS.vectors * (REGISTERS.size // b.itemsize)
    for i in range(0, rows, ROWS):
        for j in range(0, width, full):
            _scattered_tile(
                a, a0, a_rows, a_row + i, min(ROWS, rows - i), a_terms, a_term, b, b0 + j, b_rows,
                b_row, terms, c, c0 + i * c_row + j, c_row, width - j, fresh, bias, slope,
            )  # fmt: skip
