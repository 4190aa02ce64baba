"""Fourier transforms of many short real signals at once, one in each lane of a vector.

A signal of even length is taken as half as many complex numbers, whose spectrum is made by the
self-sorting algorithm of Stockham with radices 8, 4, 2, 3 and 5, and then taken apart. Every step
is written for whole vectors, in LLVM's own language: loops over lanes would be checked for overlap
each time, which costs more than the sums.

Van Loan, "Computational frameworks for the fast Fourier transform", 1992, sections 1.7 and 4.3.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiled import linked
from .complex_vectors import ComplexVectors
from .vectors import REGISTERS

RADICES = (8, 4, 2, 3, 5)


class Transform(NamedTuple):
    """Radices whose product is half the length, and roots of unity as pairs (real, imaginary)."""

    length: int
    radices: np.ndarray
    roots: np.ndarray  # of half the length
    halves: np.ndarray  # of the length


@lru_cache(maxsize=64)
def transform(length, dtype):
    """Return how signals of this even length are transformed."""
    half = length // 2
    return Transform(length, np.array(_radices(half)), _roots(half, dtype), _roots(length, dtype))


def smooth_length(least):
    """Return the shortest even length, of 8 or more, whose half has no factor but 2, 3 and 5."""
    half = max((least + 1) // 2, 4)
    while _rest(half) != 1:
        half += 1
    return 2 * half


def _rest(number):
    for factor in (2, 3, 5):
        while number % factor == 0:
            number //= factor
    return number


def _radices(number):
    """Return as few radices as possible: 4 and 4 rather than 8 and 2."""
    twos = (number & -number).bit_length() - 1
    radices = {0: [], 1: [4, 4] if twos > 1 else [2], 2: [4]}[twos % 3]
    radices += [8] * ((twos - sum(r.bit_length() - 1 for r in radices)) // 3)
    for factor in (3, 5):
        while number % factor == 0:
            number //= factor
            radices.append(factor)
    return radices


def _roots(length, dtype):
    angles = -2 * math.pi * np.arange(length) / length
    return np.stack([np.cos(angles), np.sin(angles)], 1).astype(dtype).reshape(-1)


def _butterfly(radix):
    """Return one step of the algorithm on so many complex vectors of an array."""

    @intrinsic
    def butterfly(typing, work, source, source_step, target, target_step, real, roots, root):
        signature = types.void(
            work, source, source_step, target, target_step, real, roots, root
        )  # fmt: skip

        def generate(context, builder, signature, values):
            work, source, source_step, target, target_step, real, roots, root = values
            write = ComplexVectors(context, builder, signature.args[0])
            imaginary = builder.sub(ir.Constant(real.type, write.lanes), real)
            inputs = []
            for _ in range(radix):
                pair = builder.add(source, real), builder.add(source, imaginary)
                inputs.append(tuple(write.load(work, place) for place in pair))
                source = builder.add(source, source_step)
            index = ir.Constant(root.type, 0)
            for i, value in enumerate(write.dft(inputs)):
                if i:
                    index = builder.add(index, root)
                    value = write.multiply(value, write.root(roots, index))
                write.store(value[0], work, builder.add(target, real))
                write.store(value[1], work, builder.add(target, imaginary))
                target = builder.add(target, target_step)
            return context.get_dummy_value()

        return signature, generate

    return butterfly


_eight, _four, _two, _three, _five = map(_butterfly, RADICES)


@linked()
def fourier(work, transform, real):
    """Transform the complex vectors in the first half of `work`; return where the results are.

    `real` says where in each pair of vectors the real parts are: the inverse is the transform of
    what has real and imaginary parts exchanged, exchanged again.
    """
    lanes = REGISTERS.size // work.itemsize
    count = transform.length // 2
    pair = 2 * lanes
    source, target = 0, transform.length * lanes
    left, done = count, 1
    for radix in transform.radices:
        left //= radix
        for p in range(left):
            root = p * done
            for q in range(done):
                origin, step = source + (q + done * p) * pair, done * left * pair
                to, to_step = target + (q + done * radix * p) * pair, done * pair
                if radix == 8:
                    _eight(work, origin, step, to, to_step, real, transform.roots, root)
                elif radix == 4:
                    _four(work, origin, step, to, to_step, real, transform.roots, root)
                elif radix == 2:
                    _two(work, origin, step, to, to_step, real, transform.roots, root)
                elif radix == 3:
                    _three(work, origin, step, to, to_step, real, transform.roots, root)
                else:
                    _five(work, origin, step, to, to_step, real, transform.roots, root)
        done *= radix
        source, target = target, source
    return source


def _separate(right):
    """Return the step from the spectrum of complex numbers to two frequencies of the real signal.

    A complex product takes three real ones, which this prepares: of a left factor a + bi it writes
    a + b, a and b; of a right factor c + di it writes c, d - c and -(c + d).
    """

    @intrinsic
    def separate(typing, work, one, other, roots, k, sign, target, first, last, plane):
        signature = types.void(
            work, one, other, roots, k, sign, target, first, last, plane
        )  # fmt: skip

        def generate(context, builder, signature, values):
            work, one, other, roots, k, sign, target, first, last, plane = values
            write = ComplexVectors(context, builder, signature.args[0])
            beside = ir.Constant(one.type, write.lanes)
            sign = write.everywhere(sign)
            z = write.load(work, one), write.load(work, builder.add(one, beside))
            mirror = write.load(work, other), write.load(work, builder.add(other, beside))
            mirror = mirror[0], builder.fneg(mirror[1])
            half = write.constant(0.5)
            even = write.scale(write.add(z, mirror), half)
            odd = write.scale(write.turned(write.subtract(z, mirror)), half)
            odd = write.multiply(odd, write.root(roots, k))
            a, b = write.add(even, odd)
            c, d = write.subtract(even, odd)
            for place, real, imaginary in ((last, c, builder.fneg(d)), (first, a, b)):
                imaginary = write.product(imaginary, sign)
                total = write.sum(real, imaginary)
                if right:
                    planes = real, write.difference(imaginary, real), builder.fneg(total)
                else:
                    planes = total, real, imaginary
                for value in planes:
                    write.store(value, target, place)
                    place = builder.add(place, plane)
            return context.get_dummy_value()

        return signature, generate

    return separate


def _join(bounds):
    """Return the step from two frequencies of a real signal to the spectrum of complex numbers.

    The three real products of a complex one lie in planes. At both ends of the spectrum, its
    bounds, there is only one.
    """

    @intrinsic
    def join(typing, source, first, last, plane, roots, k, factor, work, one, other):
        signature = types.void(
            source, first, last, plane, roots, k, factor, work, one, other
        )  # fmt: skip

        def generate(context, builder, signature, values):
            source, first, last, plane, roots, k, factor, work, one, other = values
            write = ComplexVectors(context, builder, signature.args[0])
            factor = write.everywhere(factor)

            def number(place):
                product = write.load(source, place)
                if bounds:
                    return write.product(product, factor), write.constant(0)
                place = builder.add(place, plane)
                imaginary = write.sum(product, write.load(source, place))
                real = write.sum(product, write.load(source, builder.add(place, plane)))
                return write.scale((real, imaginary), factor)

            x, mirror = number(first), number(last)
            mirror = mirror[0], builder.fneg(mirror[1])
            even, odd = write.add(x, mirror), write.subtract(x, mirror)
            cosine, sine = write.root(roots, k)
            odd = write.multiply(odd, (cosine, builder.fneg(sine)))
            turned = builder.fneg(odd[1]), odd[0]
            beside = ir.Constant(one.type, write.lanes)
            real, imaginary = write.subtract(even, turned)
            write.store(real, work, other)
            write.store(builder.fneg(imaginary), work, builder.add(other, beside))
            real, imaginary = write.add(even, turned)
            write.store(real, work, one)
            write.store(imaginary, work, builder.add(one, beside))
            return context.get_dummy_value()

        return signature, generate

    return join


_left, _right = _separate(False), _separate(True)
_inner, _outer = _join(False), _join(True)


@linked()
def spectrum(work, transform, right, sign, target, first, frequency, plane):
    """Write the spectra of the samples in `work`, three planes per frequency, for a product."""
    lanes = REGISTERS.size // work.itemsize
    half = transform.length // 2
    result = fourier(work, transform, np.int64(0))  # a bare 0 would be compiled apart
    sign = work.dtype.type(sign)
    for k in range(half // 2 + 1):
        one, other = result + 2 * k * lanes, result + (half - k) % half * 2 * lanes
        low, high = first + k * frequency, first + (half - k) * frequency
        if right:
            _right(work, one, other, transform.halves, k, sign, target, low, high, plane)
        else:
            _left(work, one, other, transform.halves, k, sign, target, low, high, plane)


@linked()
def samples(work, transform, source, first, frequency, plane):
    """Return where in `work` are the samples whose spectra are three planes of products."""
    lanes = REGISTERS.size // work.itemsize
    half = transform.length // 2
    factor = work.dtype.type(1 / transform.length)
    _outer(
        source, first, first + half * frequency, plane, transform.halves, 0, factor, work, 0, 0
    )  # fmt: skip
    for k in range(1, half // 2 + 1):
        one, other = 2 * k * lanes, (half - k) * 2 * lanes
        low, high = first + k * frequency, first + (half - k) * frequency
        _inner(source, low, high, plane, transform.halves, k, factor, work, one, other)
    return fourier(work, transform, lanes)
