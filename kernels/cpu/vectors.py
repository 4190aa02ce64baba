"""Vectors: how long they are on this processor, and how to write code for them.

Compilers find vectors in simple loops only. For the others, code is written in LLVM's own language,
for whatever vectors there are. `MINICNN_SIMD=avx512|avx2|neon|plain` chooses others than the
processor's own.
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

from .compiled import compiled, linked


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
    return name


KIND = _chosen()
REGISTERS = KINDS[KIND]
_ALIGN = ir.IntType(32)


def pointer(context, builder, array_type, array, offset):
    """Return where a number of an array is."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def load(builder, place, vector, mask=None, otherwise=0):
    """Load a vector that lies anywhere, but `otherwise`, and not read, where the mask says no."""
    place = builder.bitcast(place, vector.as_pointer())
    align = bits(vector.element) // 8
    if mask is None:
        value = builder.load(place)
        value.align = align
        return value
    kind = ir.FunctionType(vector, [place.type, _ALIGN, mask.type, vector])
    name = f"llvm.masked.load.{_kind(vector)}.p0"
    masked = cgutils.get_or_insert_function(builder.module, kind, name)
    nothing = ir.Constant(vector, [otherwise] * vector.count)
    return builder.call(masked, [place, ir.Constant(_ALIGN, align), mask, nothing])


def store(builder, value, place, mask=None):
    """Store a vector anywhere, but not where the mask says no."""
    vector = value.type
    place = builder.bitcast(place, vector.as_pointer())
    align = bits(vector.element) // 8
    if mask is None:
        builder.store(value, place).align = align
        return
    kind = ir.FunctionType(ir.VoidType(), [vector, place.type, _ALIGN, mask.type])
    name = f"llvm.masked.store.{_kind(vector)}.p0"
    masked = cgutils.get_or_insert_function(builder.module, kind, name)
    builder.call(masked, [value, place, ir.Constant(_ALIGN, align), mask])


def bits(number):
    """Return how many bits a number has."""
    if isinstance(number, ir.IntType):
        return number.width
    return 64 if isinstance(number, ir.DoubleType) else 32


def _kind(vector):
    """Return what LLVM calls a type of vectors in the names of functions."""
    letter = "i" if isinstance(vector.element, ir.IntType) else "f"
    return f"v{vector.count}{letter}{bits(vector.element)}"


def first(builder, count, lanes):
    """Return the mask of the first `count` lanes."""
    numbers = ir.VectorType(count.type, lanes)
    lane = ir.Constant(numbers, list(range(lanes)))
    return builder.icmp_signed("<", lane, spread(builder, count, numbers))


def spread(builder, number, vector):
    """Return a vector that holds this number everywhere."""
    index = ir.IntType(32)
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(index, 0))
    mask = ir.Constant(ir.VectorType(index, vector.count), [0] * vector.count)
    return builder.shuffle_vector(first, nothing, mask)


def sloped(builder, vector, slope):
    """Return a vector whose numbers below 0 are multiplied by a slope: 1 leaves them, 0 is ReLU."""
    zero = ir.Constant(vector.type, [0.0] * vector.type.count)
    product = builder.fmul(vector, spread(builder, slope, vector.type))
    is_zero = builder.fcmp_ordered("==", slope, ir.Constant(slope.type, 0.0))
    low = builder.select(is_zero, zero, product)  # an infinity times 0 would be NaN
    # Nothing is less than NaN, which stays.
    return builder.select(builder.fcmp_ordered("<", vector, zero), low, vector)


@intrinsic
def copy(typing, target, target0, source, source0, count):
    """Copy `count` numbers: whole vectors, then what is left under a mask.

    A loop would become a call or a preamble of checks; both cost more than a row of 7 pixels.
    """
    signature = types.void(target, target0, source, source0, count)

    def generate(context, builder, signature, values):
        target, target0, source, source0, count = values
        vector = _vector_of(context, signature.args[0])
        to = pointer(context, builder, signature.args[0], target, target0)
        origin = pointer(context, builder, signature.args[2], source, source0)

        def put(i, mask):
            value = load(builder, builder.gep(origin, [i]), vector, mask)
            store(builder, value, builder.gep(to, [i]), mask)

        _for_vectors(builder, count, vector.count, put)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def clear(typing, target, target0, count):
    """Set `count` numbers to 0, as `copy` copies them."""
    signature = types.void(target, target0, count)

    def generate(context, builder, signature, values):
        target, target0, count = values
        vector = _vector_of(context, signature.args[0])
        to = pointer(context, builder, signature.args[0], target, target0)
        zero = ir.Constant(vector, [0.0] * vector.count)

        def put(i, mask):
            store(builder, zero, builder.gep(to, [i]), mask)

        _for_vectors(builder, count, vector.count, put)
        return context.get_dummy_value()

    return signature, generate


def _vector_of(context, array_type):
    """Return the type of the vectors of an array's numbers."""
    lanes = REGISTERS.size * 8 // array_type.dtype.bitwidth
    return ir.VectorType(context.get_data_type(array_type.dtype), lanes)


def _for_vectors(builder, count, lanes, put):
    """Write the loop put(i, None) for the start of each whole vector, then put(i, mask)."""
    size = count.type
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
    put(i, None)
    i.add_incoming(builder.add(i, step), body)
    builder.branch(check)

    builder.position_at_end(rest)
    tail = builder.append_basic_block("tail")
    builder.cbranch(builder.icmp_signed("<", whole, count), tail, done)
    builder.position_at_end(tail)
    put(whole, first(builder, builder.sub(count, whole), lanes))
    builder.branch(done)
    builder.position_at_end(done)


@intrinsic
def transpose(typing, target, target0, target_row, source, source0, source_row, rows, count):
    """Put `rows` rows of `count` numbers upright, at most as many of each as a vector has."""
    signature = types.void(target, target0, target_row, source, source0, source_row, rows, count)

    def generate(context, builder, signature, values):
        target, target0, target_row, source, source0, source_row, rows, count = values
        number, size = context.get_data_type(signature.args[0].dtype), count.type
        lanes = REGISTERS.size * 8 // signature.args[0].dtype.bitwidth
        vector = ir.VectorType(number, lanes)
        to = pointer(context, builder, signature.args[0], target, target0)
        origin = pointer(context, builder, signature.args[3], source, source0)
        across, along = first(builder, count, lanes), first(builder, rows, lanes)
        nothing = ir.Constant(across.type, [False] * lanes)
        lines = []
        for i in range(lanes):
            there = builder.icmp_signed("<", ir.Constant(size, i), rows)
            mask = builder.select(there, across, nothing)
            place = builder.gep(origin, [builder.mul(source_row, ir.Constant(size, i))])
            lines.append(load(builder, place, vector, mask))
        for i, line in enumerate(transposed(builder, lines)):
            there = builder.icmp_signed("<", ir.Constant(size, i), count)
            mask = builder.select(there, along, nothing)
            place = builder.gep(to, [builder.mul(target_row, ir.Constant(size, i))])
            store(builder, line, place, mask)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def transpose_square(typing, source, source0, source_step, target, target0, target_step):
    """Put as many rows upright as a vector has numbers, of as many numbers."""
    signature = types.void(source, source0, source_step, target, target0, target_step)

    def generate(context, builder, signature, values):
        source, source0, source_step, target, target0, target_step = values
        lanes = REGISTERS.size * 8 // signature.args[0].dtype.bitwidth
        vector = ir.VectorType(context.get_data_type(signature.args[0].dtype), lanes)
        rows = []
        for _ in range(lanes):
            place = pointer(context, builder, signature.args[0], source, source0)
            rows.append(load(builder, place, vector))
            source0 = builder.add(source0, source_step)
        for row in transposed(builder, rows):
            store(builder, row, pointer(context, builder, signature.args[3], target, target0))
            target0 = builder.add(target0, target_step)
        return context.get_dummy_value()

    return signature, generate


def transposed(builder, rows):
    """Return the columns of as many vectors as each has numbers."""
    count = len(rows)
    index = ir.VectorType(ir.IntType(32), count)
    interleaved = [i // 2 + i % 2 * count for i in range(2 * count)]
    halves = [ir.Constant(index, interleaved[:count]), ir.Constant(index, interleaved[count:])]
    for _ in range(count.bit_length() - 1):
        pairs = zip(rows[: count // 2], rows[count // 2 :], strict=True)
        rows = [builder.shuffle_vector(a, b, half) for a, b in pairs for half in halves]
    return rows


@compiled(inline="always")
def in_vectors(count, array):
    """Return how many elements whole vectors have that hold `count` of an array."""
    lanes = REGISTERS.size // array.itemsize
    return (count + lanes - 1) // lanes * lanes


@linked()
def aligned(count, array):
    """Return new memory for so many numbers, of an array's type, that begins where vectors do.

    A vector that lies across two lines of the cache costs as much as two.
    """
    lanes = REGISTERS.size // array.itemsize
    memory = np.empty(count + lanes, array.dtype)
    skipped = -(memory.ctypes.data // array.itemsize) % lanes
    return memory[skipped : skipped + count]
