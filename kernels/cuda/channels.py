"""Sums over everything but the channels, in a fixed order: the same bits each time."""

import math

from .launch import BLOCK, Launcher, contiguous, empty

_launch = Launcher("channels.cu")
# Blocks that keep a large GPU busy: where there are fewer channels, each is cut into pieces.
BLOCKS = 1024
FEWEST = 4 * BLOCK  # values in a piece


def channels_of(shape):
    """Return the channels of an array (n, c, ...), cut into pieces."""
    outer, count, inner = shape[0], shape[1], math.prod(shape[2:])
    if inner == 0:  # which nothing can be divided by
        outer, inner = 0, 1
    wanted = -(-BLOCKS // max(count, 1))
    pieces = max(1, min(wanted, outer * inner // FEWEST))
    return dict(outer=outer, count=count, inner=inner, pieces=pieces)


def grid_of(channels):
    """Return the grid of blocks with one for each piece."""
    return channels["count"], channels["pieces"]


def empty_pieces(like, channels):
    """Return an array for one number of each piece."""
    return empty(like, (channels["pieces"], channels["count"]))


def sums(x):
    """Return the sums (c,) of an array (n, c, ...)."""
    channels = channels_of(x.shape)
    pieces = empty_pieces(x, channels)
    _launch("piece_sums", contiguous(x), pieces, channels, grid=grid_of(channels))
    return add_pieces(pieces, channels)


def add_pieces(pieces, channels):
    """Return the sums (c,) of what was found of each piece."""
    total = empty(pieces, (channels["count"],))
    _launch("add_pieces", pieces, total, channels, threads=channels["count"])
    return total
