"""Arithmetic on complex vectors, written in LLVM's own language: what intrinsics are made of."""

import math

from llvmlite import ir

from .vectors import REGISTERS, load, pointer, spread, store


class ComplexVectors:
    """Writes arithmetic on complex vectors, as pairs (real, imaginary)."""

    def __init__(self, context, builder, array_type):
        self.context, self.builder, self.array_type = context, builder, array_type
        self.number = context.get_data_type(array_type.dtype)
        self.lanes = REGISTERS.size * 8 // array_type.dtype.bitwidth
        self.vector = ir.VectorType(self.number, self.lanes)

    def load(self, array, offset):
        """Return the vector of an array that begins at this offset."""
        place = pointer(self.context, self.builder, self.array_type, array, offset)
        return load(self.builder, place, self.vector)

    def store(self, value, array, offset):
        """Put a vector into an array at this offset."""
        store(
            self.builder,
            value,
            pointer(self.context, self.builder, self.array_type, array, offset),
        )

    def everywhere(self, number):
        """Return this number in all lanes."""
        return spread(self.builder, number, self.vector)

    def spread(self, array, offset):
        """Return the number of an array at this offset in all lanes."""
        place = pointer(self.context, self.builder, self.array_type, array, offset)
        return self.everywhere(self.builder.load(place))

    def root(self, array, index):
        """Return a root of unity in all lanes."""
        offset = self.builder.shl(index, ir.Constant(index.type, 1))
        following = self.builder.add(offset, ir.Constant(index.type, 1))
        return self.spread(array, offset), self.spread(array, following)

    def constant(self, value):
        """Return this number in all lanes."""
        return ir.Constant(self.vector, [float(value)] * self.lanes)

    def sum(self, a, b):
        """Return a + b."""
        return self.builder.fadd(a, b, flags=("contract",))

    def difference(self, a, b):
        """Return a - b."""
        return self.builder.fsub(a, b, flags=("contract",))

    def product(self, a, b):
        """Return a * b."""
        return self.builder.fmul(a, b, flags=("contract",))

    def add(self, a, b):
        """Return a + b of complex numbers."""
        return self.sum(a[0], b[0]), self.sum(a[1], b[1])

    def subtract(self, a, b):
        """Return a - b of complex numbers."""
        return self.difference(a[0], b[0]), self.difference(a[1], b[1])

    def multiply(self, a, b):
        """Return a * b of complex numbers."""
        real = self.difference(self.product(a[0], b[0]), self.product(a[1], b[1]))
        return real, self.sum(self.product(a[0], b[1]), self.product(a[1], b[0]))

    def scale(self, a, factor):
        """Return a complex number times a real one."""
        return self.product(a[0], factor), self.product(a[1], factor)

    def turned(self, a):
        """Return -i a."""
        return a[1], self.builder.fneg(a[0])

    def dft(self, values):
        """Return the discrete Fourier transform of a few complex numbers."""
        count = len(values)
        if count == 1:
            return values
        return self._halves(values) if count % 2 == 0 else self._odd(values)

    def _halves(self, values):
        even, odd = self.dft(values[::2]), self.dft(values[1::2])
        turned = [self._turn(value, k, len(values)) for k, value in enumerate(odd)]
        pairs = list(zip(even, turned, strict=True))
        return [self.add(*pair) for pair in pairs] + [self.subtract(*pair) for pair in pairs]

    def _turn(self, value, k, count):
        if k == 0:
            return value
        if 4 * k == count:
            return self.turned(value)
        angle = -2 * math.pi * k / count
        return self.multiply(
            value, (self.constant(math.cos(angle)), self.constant(math.sin(angle)))
        )

    def _odd(self, values):
        first, count = values[0], len(values)
        pairs = [(values[j], values[count - j]) for j in range(1, count // 2 + 1)]
        sums = [self.add(*pair) for pair in pairs]
        differences = [self.subtract(*pair) for pair in pairs]
        results = [first] * count
        for value in sums:
            results[0] = self.add(results[0], value)
        for k in range(1, count // 2 + 1):
            middle, side = first, None
            for j, (total, difference) in enumerate(zip(sums, differences, strict=True), 1):
                angle = 2 * math.pi * j * k / count
                middle = self.add(middle, self.scale(total, self.constant(math.cos(angle))))
                term = self.scale(difference, self.constant(math.sin(angle)))
                side = term if side is None else self.add(side, term)
            results[k] = self.add(middle, self.turned(side))
            results[count - k] = self.subtract(middle, self.turned(side))
        return results
