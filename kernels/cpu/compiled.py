"""Compilation by Numba, once per type of array, and kept on disk."""

from numba import njit


def compiled(**options):
    """Return a decorator: machine code that lets go of the interpreter while it runs.

    Where neither this folder nor the user's cache can be written, it is compiled anew by every
    process, for which Numba otherwise refuses to compile at all.
    """

    def decorate(function):
        try:
            return njit(nogil=True, cache=True, **options)(function)
        except RuntimeError:
            return njit(nogil=True, **options)(function)

    return decorate
