"""Compilation by Numba, once per type of array, and kept on disk."""

import hashlib
import os
from pathlib import Path

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
            dispatcher = njit(nogil=True, cache=kept, **options)(function)
        except RuntimeError:
            return njit(nogil=True, **options)(function)
        if kept:
            # Numba looks at the function's own file only, and would keep code that holds an old
            # version of what it calls in another.
            file = dispatcher._cache._cache_file
            file._source_stamp = file._source_stamp, _STAMP
        return dispatcher

    return decorate


def _stamp():
    """Return what tells this version of all files in this folder from any other."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found = path.stat()
        digest.update(f"{path.name} {found.st_mtime_ns} {found.st_size}\n".encode())
    return digest.hexdigest()


_STAMP = _stamp()
