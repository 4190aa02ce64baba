"""One kernel on all cores: compiled functions on threads of Python's own.

Compiled functions let go of the interpreter, so they run side by side. Numba has threads too, but
one of its layers (omp) kills a child that forks, as data loaders do, and another (workqueue) aborts
the process where two Python threads call it at once.

How work is cut into parts depends on its size alone, and no two parts write to the same place. So
results are the same, bit for bit, for any number of threads.
"""

import os
from concurrent.futures import ThreadPoolExecutor

from ..threads import get_num_threads

# Handing work to another thread and back costs about 50 us, in which a core moves so much memory.
LEAST = 1 << 18  # [elements]

_pools = {}


def in_parts(function, count, elements):
    """Call `function(start, stop)` for parts of `range(count)`, on several threads if it pays.

    Parameters
    ----------
    function : callable
        Spends its time in compiled code.
    count : int
        How many items there are, of which parts may be done apart.
    elements : int
        How many numbers all items hold together: says whether a second thread is worth it.
    """
    threads = min(get_num_threads(), count, elements // LEAST + 1)
    if threads < 2:
        function(0, count)
        return
    # Twice as many parts as threads: another program may hold up one of them.
    parts = min(2 * threads, count)
    cuts = [part * count // parts for part in range(parts + 1)]
    list(_pool(threads).map(function, cuts[:-1], cuts[1:]))


def _pool(threads):
    """Return threads of this process: a child that forked has none of its parent's."""
    key = os.getpid(), threads
    if key not in _pools:
        _pools[key] = ThreadPoolExecutor(threads, thread_name_prefix="minicnn")
    return _pools[key]
