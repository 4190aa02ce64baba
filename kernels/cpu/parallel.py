"""One kernel on all cores: compiled functions on threads of Python's own.

Compiled functions let go of the interpreter, so they run side by side. Numba has threads too, but
one of its layers (omp) kills a child that forks, as data loaders do, and another (workqueue) aborts
the process where two Python threads call it at once.

How work is cut into parts depends on its size alone, and no two parts write to the same place. So
results are the same, bit for bit, for any number of threads.
"""

import os
from concurrent.futures import ThreadPoolExecutor, wait
from itertools import pairwise

from ..threads import get_num_threads

# Handing work to another thread and back costs about 50 us, in which a core moves so much memory.
LEAST = 1 << 18  # [elements]

_pools: dict[int, ThreadPoolExecutor] = {}


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
    pool, pending = _pool(threads), []
    for start, stop in pairwise(cuts):
        try:
            pending.append(pool.submit(function, start, stop))
        except RuntimeError:  # the interpreter is about to exit, and starts nothing any more
            function(start, stop)
    wait(pending)  # all of them, also if one fails: nobody writes to the arrays afterwards
    for future in pending:
        future.result()


def _pool(threads):
    """Return this many threads; they are kept for the next kernel."""
    if threads not in _pools:
        _pools[threads] = ThreadPoolExecutor(threads, thread_name_prefix="minicnn")
    return _pools[threads]


# A child that forked has none of its parent's threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)
