"""How many threads the kernels may use."""

from threadpoolctl import threadpool_info, threadpool_limits

_count = None  # as many as NumPy's matrix product until somebody says otherwise


def set_num_threads(count):
    """Use at most this many threads in kernels and matrix products, in this process from now on.

    One is the better choice for small matrices, and where other programs want the cores too: with
    two, LeNet-5's training step took six times as long on a machine with one free core of two.

    Raises
    ------
    ValueError
        If count is not a whole number >= 1.
    """
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"set_num_threads: count is {count!r}; it must be a whole number >= 1")
    global _count
    threadpool_limits(limits=count, user_api="blas")
    _count = count


def get_num_threads():
    """Return how many threads kernels and matrix products may use."""
    global _count
    if _count is None:  # asking takes longer than a small kernel
        pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        _count = max(pools, default=1)
    return _count
