"""Products of a few rows with a large matrix, each number of which is read once, as it lies.

They cost what it takes to read the matrix. The few rows stand upright where they must, which is
little to copy.
"""

import numpy as np

from .. import memory
from .parallel import parallel
from .tile import ROWS, columns, multiply
from .vectors import REGISTERS, copy, in_vectors, transpose

# Terms by columns of a block, which stays in the cache while rows pass by [elements].
BLOCK = 32_768
TERMS = 256
# As many multiply-adds take as long as one number of `parallel`; weights come slowly.
WORK = 8


def multiply_upright(x, w, b, y):
    """Put x (n, i) times the transpose of w (o, i), plus b (o,) or None, into y (n, o)."""
    n, terms = x.shape
    bias = memory.zeros((len(w),), x.dtype) if b is None else np.ascontiguousarray(b)
    tile = columns(x.dtype)
    for start in range(0, n, 4 * tile):
        some_x, some_y = x[start : start + 4 * tile], y[start : start + 4 * tile]
        width = -(-len(some_x) // tile) * tile
        make = memory.empty if width == len(some_x) else memory.zeros
        upright = make((terms * width,), x.dtype)
        lanes = REGISTERS.size // x.itemsize
        _stand_up(
            some_x.reshape(-1), len(some_x), terms, upright, width, count=-(-terms // lanes),
            elements=some_x.size,
        )  # fmt: skip
        _rows(
            w.reshape(-1), upright, bias, some_y.reshape(-1), len(some_x), width, terms,
            count=-(-len(w) // ROWS), elements=len(some_x) * w.size // WORK,
        )  # fmt: skip


def multiply_flat(a, b, c):
    """Put a (rows, terms) @ b (terms, width) into c, a panel of columns at a time."""
    (rows, terms), width = a.shape, b.shape[1]
    tile = columns(a.dtype)
    panel = max(1, min(BLOCK // min(terms, TERMS) // tile, 16)) * tile
    # Rows are cut too where there are many; no sum depends on either cut.
    strips = -(-rows // 64)
    _panels(
        a.reshape(-1), b.reshape(-1), c.reshape(-1), rows, terms, width, panel, strips,
        count=-(-width // panel) * strips, elements=rows * b.size // WORK,
    )  # fmt: skip


@parallel()
def _stand_up(x, n, terms, upright, width, start, stop):
    """Copy x (n, terms) as (terms, width), a vector of terms at a time."""
    lanes = in_vectors(1, x)
    for k in range(start * lanes, min(stop * lanes, terms), lanes):
        for i in range(0, n, lanes):
            high, wide = min(lanes, n - i), min(lanes, terms - k)
            transpose(upright, k * width + i, width, x, i * terms + k, terms, high, wide)


@parallel()
def _rows(w, upright, bias, y, n, width, terms, start, stop):
    """Make some columns of y (n, outputs) from their rows of w (outputs, terms), tile by tile."""
    row0, row1 = start * ROWS, min(stop * ROWS, len(bias))
    outputs, lanes = len(bias), in_vectors(1, w)
    at_once, block = 8 * ROWS, max(TERMS, BLOCK // width)
    sums = np.empty((at_once + ROWS) * width, w.dtype)
    laid = np.empty(lanes * lanes, w.dtype)
    for row in range(row0, row1, at_once):
        rows = min(at_once, row1 - row)
        for k in range(0, terms, block):
            multiply(
                w, row * terms + k, terms, rows, upright[k * width :], width, min(block, terms - k),
                sums, width, n, k == 0,
            )  # fmt: skip
        for i in range(0, n, lanes):
            for o in range(0, rows, lanes):
                high, wide = min(lanes, rows - o), min(lanes, n - i)
                transpose(laid, 0, lanes, sums, o * width + i, width, high, wide)
                for s in range(wide):
                    to = (i + s) * outputs + row + o
                    for t in range(high):
                        y[to + t] = laid[s * lanes + t] + bias[row + o + t]


@parallel()
def _panels(a, b, c, rows, terms, width, panel, strips, start, stop):
    """Make some panels of c (rows, width), each in strips of rows."""
    strip = (rows + strips - 1) // strips
    sums = np.empty((strip + ROWS) * panel, a.dtype)
    rest = np.zeros(TERMS * panel, a.dtype)
    for item in range(start, stop):
        column, row = item // strips * panel, item % strips * strip
        count, some = min(panel, width - column), min(strip, rows - row)
        # The last vectors of b would end behind it.
        aside = count % in_vectors(1, b) > 0
        for k in range(0, terms, TERMS):
            block = min(TERMS, terms - k)
            if aside:
                for i in range(block):
                    copy(rest, i * panel, b, (k + i) * width + column, count)
                multiply(
                    a, row * terms + k, terms, some, rest, panel, block, sums, panel, count,
                    k == 0,
                )  # fmt: skip
            else:
                multiply(
                    a, row * terms + k, terms, some, b[k * width + column :], width, block, sums,
                    panel, count, k == 0,
                )  # fmt: skip
        for i in range(some):
            copy(c, (row + i) * width + column, sums, i * panel, count)
