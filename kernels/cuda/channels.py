"""Sums over everything but the channels, in a fixed order: the same bits each time."""

import math

from .launch import BLOCK, Launcher, contiguous, empty

_launch = Launcher("channels.cu")
# Where there are fewer channels, each is cut into pieces: so many that eight find room on each
# multiprocessor of a large GPU, and what is left for a last round is a small part.
BLOCKS = 2112
FEWEST = 8 * BLOCK  # values in a piece
WARP = 32
MANY = 4 * WARP  # pieces that a warp adds up, and not a thread


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
    total, lanes = empty(pieces, (channels["count"],)), WARP if channels["pieces"] >= MANY else 1
    arguments = pieces, total, lanes, channels
    _launch("add_pieces", *arguments, threads=channels["count"] * lanes)
    return total
