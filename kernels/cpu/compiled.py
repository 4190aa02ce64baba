"""Compilation by Numba, once per type of array, and kept on disk."""

import os

from numba import njit


def compiled(**options):
    """Return a decorator: machine code that lets go of the interpreter while it runs.

    Code for a chosen kind of vectors (MINICNN_SIMD) is not kept: what is kept is this processor's.

    Where neither this folder nor the user's cache can be written, it is compiled anew by every
    process, for which Numba otherwise refuses to compile at all.
    """

    def decorate(function):
        kept = not os.environ.get("MINICNN_SIMD")
        try:
            return njit(nogil=True, cache=kept, **options)(function)
        except RuntimeError:
            return njit(nogil=True, **options)(function)

    return decorate
