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


def columns(dtype):
    """Return how many columns a full tile has."""
    return REGISTERS.vectors * REGISTERS.size // np.dtype(dtype).itemsize


def _pointer(context, builder, array_type, array, offset):
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def _load(builder, pointer, vector):
    """Load a vector that lies anywhere."""
    load = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    load.align = 4
    return load


def _store(builder, value, pointer):
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer())).align = 4


def _spread(builder, number, vector):
    """Return a vector that holds this number everywhere."""
    index = ir.IntType(32)
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(index, 0))
    mask = ir.Constant(ir.VectorType(index, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, nothing, mask)


def _tile(vectors):
    """Return the micro-kernel that is this many vectors wide."""

    @intrinsic
    def tile(typing, a, a0, a_row, a_term, rows, b, b0, b_row, terms, c, c0, c_row, fresh):
        """Add a[rows, terms] @ b[terms, tile] to c[rows, tile], or replace it where it is fresh.

        Rows of c beyond `rows` are written too, with no meaning.
        """
        signature = types.void(
            a, a0, a_row, a_term, rows, b, b0, b_row, terms, c, c0, c_row, fresh
        )  # fmt: skip

        def generate(context, builder, signature, values):
            a, a0, a_row, a_term, rows, b, b0, b_row, terms, c, c0, c_row, fresh = values
            number = context.get_data_type(signature.args[0].dtype)
            lanes = REGISTERS.size // (signature.args[0].dtype.bitwidth // 8)
            vector, size = ir.VectorType(number, lanes), a0.type
            constant = lambda value: ir.Constant(size, value)  # noqa: E731
            mangled = f"llvm.fmuladd.v{lanes}f{signature.args[0].dtype.bitwidth}"
            multiply_add = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), mangled
            )
            last = builder.sub(rows, constant(1))
            starts = []
            for i in range(ROWS):  # rows that are not there repeat the last one
                row = builder.select(builder.icmp_signed("<", constant(i), last), constant(i), last)
                offset = builder.add(a0, builder.mul(row, a_row))
                starts.append(_pointer(context, builder, signature.args[0], a, offset))
            b_start = _pointer(context, builder, signature.args[5], b, b0)
            c_start = _pointer(context, builder, signature.args[9], c, c0)
            zero = ir.Constant(vector, [0.0] * lanes)

            before = builder.block
            loop, done = builder.append_basic_block("terms"), builder.append_basic_block("done")
            builder.branch(loop)
            builder.position_at_end(loop)
            k = builder.phi(size)
            k.add_incoming(constant(0), before)
            sums = [[builder.phi(vector) for _ in range(vectors)] for _ in range(ROWS)]
            a_offset = builder.mul(k, a_term)
            b_place = builder.gep(b_start, [builder.mul(k, b_row)])
            b_vectors = [
                _load(builder, builder.gep(b_place, [constant(j * lanes)]), vector)
                for j in range(vectors)
            ]
            for start, row in zip(starts, sums, strict=True):
                factor = _spread(builder, builder.load(builder.gep(start, [a_offset])), vector)
                for total, b_vector in zip(row, b_vectors, strict=True):
                    total.add_incoming(zero, before)
                    total.add_incoming(builder.call(multiply_add, [factor, b_vector, total]), loop)
            following = builder.add(k, constant(1))
            k.add_incoming(following, loop)
            builder.cbranch(builder.icmp_signed("<", following, terms), loop, done)

            builder.position_at_end(done)
            replace = builder.icmp_signed("!=", fresh, ir.Constant(fresh.type, 0))
            for i, row in enumerate(sums):
                for j, total in enumerate(row):
                    offset = builder.add(builder.mul(c_row, constant(i)), constant(j * lanes))
                    place = builder.gep(c_start, [offset])
                    old = builder.select(replace, zero, _load(builder, place, vector))
                    value = total.incomings[1][0]
                    _store(builder, builder.fadd(value, old), place)
            return context.get_dummy_value()

        return signature, generate

    return tile


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
        lane = ir.Constant(ir.VectorType(size, lanes), list(range(lanes)))
        left = _spread(builder, builder.sub(count, whole), ir.VectorType(size, lanes))
        mask = builder.icmp_signed("<", lane, left)
        pointer, align = vector.as_pointer(), ir.Constant(ir.IntType(32), 4)
        kind = f"v{lanes}f{bits}.p0"
        load = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector, [pointer, align.type, mask.type, vector]),
            f"llvm.masked.load.{kind}",
        )
        store = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(ir.VoidType(), [vector, pointer, align.type, mask.type]),
            f"llvm.masked.store.{kind}",
        )
        source_place = builder.bitcast(builder.gep(origin, [whole]), pointer)
        target_place = builder.bitcast(builder.gep(to, [whole]), pointer)
        nothing = ir.Constant(vector, [0.0] * lanes)
        value = builder.call(load, [source_place, align, mask, nothing])
        builder.call(store, [value, target_place, align, mask])
        builder.branch(done)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return signature, generate


_wide = _tile(REGISTERS.vectors)
_middle = _tile(REGISTERS.vectors - 1)
_narrow = _tile(1)


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
    """Add a[rows, terms] @ b[terms, width] to c[rows, width], or replace it where it is fresh.

    All three are flat; a begins at a0 and its rows lie a_row apart. c is written in whole tiles, so
    it has room for as many rows and columns. Tiles of one row share what they read of a.
    """
    _multiply(a, a0, a_row, 1, rows, b, b_row, terms, c, c_row, width, fresh)


@compiled()
def multiply_across(a, a0, a_row, rows, b, b_row, terms, c, c_row, width, fresh):
    """Add a[terms, rows]' @ b[terms, width] to c[rows, width], or replace it where it is fresh."""
    _multiply(a, a0, 1, a_row, rows, b, b_row, terms, c, c_row, width, fresh)
