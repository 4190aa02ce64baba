"""Winograd's filters: how they are taken to the frequencies and their gradient back.

Their frequencies lie in panels as wide as a tile of registers. Those of large filters are made and
used in turns.
"""

from itertools import pairwise
from math import ceil
from typing import NamedTuple

import numpy as np

from .compiled import linked
from .parallel import parallel
from .tile import columns
from .vectors import REGISTERS, aligned, in_vectors
from .winograd_transforms import load_pixels, matrices_of, store_pixels, transform

# Frequencies of filters that are kept at once, in the third cache [elements].
KEPT = 1 << 21
# What rows and planes are longer than they need be: a power of two apart, they would drive each
# other out of the cache.
SPARE = 16
# Filters whose transforms are computed side by side.
SIDE = 8


class Bank(NamedTuple):
    """The filters of one group as they lie in w [elements], and what takes them to frequencies."""

    terms: int
    outputs: int
    term_step: int
    output_step: int
    size: int
    kh: int
    kw: int
    flipped: bool
    h: int
    w: int
    samples_h: int
    samples_w: int


def transform_filters(w, *, m, groups):
    """Return the frequencies of w (o, c/groups, kh, kw) for tiles of size m, in turns."""
    bank = bank_of(w, m, groups, False)
    turns = turns_of(bank, w)
    filters = np.empty((groups, turns, size_of(bank, turns, w)), w.dtype)
    for group in range(groups):
        for turn in range(turns):
            j0, j1 = cut(turn, turns, bank.outputs, w.dtype)
            transform_turn(w, bank, group, j0, j1, filters[group, turn])
    return filters


def cut(part, parts, count, dtype):
    """Return where one of the parts of so many channels begins and ends: between panels."""
    panel = columns(dtype)
    panels = -(-count // panel)
    return part * panels // parts * panel, min((part + 1) * panels // parts * panel, count)


def edges_of(channels, parts, dtype):
    """Return where parts of so many channels begin, and the last one ends."""
    return [0, *(cut(part, parts, channels, dtype)[1] for part in range(parts))]


def widest(edges):
    """Return how many channels the largest part has."""
    return max(end - begin for begin, end in pairwise(edges))


def bank_of(w, m, groups, flipped):
    """Describe the filters of one group: for the input gradient, inputs and outputs swap roles."""
    o, c, kh, kw = w.shape
    o //= groups
    sizes = (o, c, c * kh * kw, kh * kw) if flipped else (c, o, kh * kw, c * kh * kw)
    return Bank(*sizes, o * c * kh * kw, kh, kw, flipped, *matrices_of("filters", m, (kh, kw)))


def turns_of(bank, w):
    """Return in how many turns the filters are done: their frequencies stay in the third cache."""
    panel = bank.samples_h * bank.samples_w * bank.terms * columns(w.dtype)
    return ceil(ceil(bank.outputs / columns(w.dtype)) / max(KEPT // panel, 1))


def size_of(bank, turns, w):
    """Return how many frequencies the largest turn has."""
    panels = ceil(ceil(bank.outputs / columns(w.dtype)) / turns)
    plane = min(panels * columns(w.dtype), in_vectors(bank.outputs, w)) * bank.terms
    return bank.samples_h * bank.samples_w * (plane + SPARE)


def transform_turn(w, bank, group, j0, j1, u):
    """Take filters j0 to j1 of a group to the frequencies, u."""
    vectors = -(-(j1 - j0) // (REGISTERS.size // w.itemsize))
    _turn(w.reshape(-1), bank, group, u, j0, j1, count=vectors, elements=u.size)


@parallel()
def _turn(w, bank, group, u, j0, j1, start, stop):
    """Take some vectors of filters j0 to j1 to the frequencies."""
    lanes = REGISTERS.size // w.itemsize
    first, last = j0 + start * lanes, min(j0 + stop * lanes, j1)
    to_frequencies(w, bank, group, u, j0, first, last, j1, 0, bank.terms)


@linked()
def to_frequencies(w, bank, group, u, j0, first, last, j1, term0, term1):
    """Take terms term0 to term1 of filters first to last, of j0 to j1 in u, to the frequencies."""
    lanes, terms = REGISTERS.size // w.itemsize, term1 - term0
    panel, kw, taps = REGISTERS.vectors * lanes, bank.kw, bank.kh * bank.kw
    plane = in_vectors(j1 - j0, w) * terms + SPARE
    loaded = aligned((SIDE * taps + lanes) * lanes, w)
    column = SIDE * lanes
    row = bank.samples_w * column
    half = aligned(bank.kh * row, w)
    start, sign = (taps - 1, -1) if bank.flipped else (0, 1)
    for j in range(first, last, lanes):
        k0 = j0 + (j - j0) // panel * panel
        width = in_vectors(min(panel, j1 - k0), w)
        for k in range(term0, term1, SIDE):
            count = min(SIDE, term1 - k)
            origin = group * bank.size + j * bank.output_step + k * bank.term_step
            # The taps of several terms are one run where the terms follow one another.
            run = count * taps if bank.term_step == taps else taps
            for a in range(0, count * taps, run):
                for tap in range(0, run, lanes):
                    load_pixels(
                        loaded, (a + tap) * lanes, w, origin + a // taps * bank.term_step + tap,
                        bank.output_step, min(lanes, last - j), 0, run - tap,
                    )  # fmt: skip
            for a in range(bank.kh):
                transform(
                    bank.w, loaded, (start + sign * a * kw) * lanes, sign * lanes, taps * lanes,
                    half, a * row, column, lanes, count,
                )  # fmt: skip
            place = (k0 - j0) * terms + (k - term0) * width + j - k0
            for b in range(bank.samples_w):
                transform(
                    bank.h, half, b * column, row, lanes,
                    u, b * plane + place, bank.samples_w * plane, width, count,
                )  # fmt: skip


@linked()
def filters_grad(sums, s_row, s_plane, back, kh, kw, outputs, channels, dw, first, dw_row, spoilt):
    """Take frequencies (f, outputs, channels) back to the taps of filters."""
    lanes = REGISTERS.size // dw.itemsize
    taps, step = kh * kw, back.samples_w * lanes
    half = aligned(kh * SIDE * step, dw)
    made = aligned((SIDE * taps + lanes) * lanes, dw)
    made[:] = 0  # vectors end behind the taps that are made
    bias, seen = np.zeros(lanes, dw.dtype), np.zeros(lanes, dw.dtype)
    for o in range(0, outputs, SIDE):
        count = min(SIDE, outputs - o)
        for c in range(0, channels, lanes):
            for b in range(back.samples_w):
                transform(
                    back.h, sums, b * s_plane + o * s_row + c, back.samples_w * s_plane, s_row,
                    half, b * lanes, SIDE * step, step, count,
                )  # fmt: skip
            for a in range(kh):
                transform(
                    back.w, half, a * SIDE * step, lanes, step,
                    made, a * kw * lanes, lanes, taps * lanes, count,
                )  # fmt: skip
            for a in range(count):
                target = (first + (o + a) * dw_row + c) * taps
                for tap in range(0, taps, lanes):
                    store_pixels(
                        dw, target + tap, taps, min(lanes, channels - c), taps - tap,
                        made, (a * taps + tap) * lanes, bias, 0, dw.dtype.type(1), seen,
                    )  # fmt: skip
    if seen.any():
        spoilt[0] = 1
