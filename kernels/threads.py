"""How many threads the kernels may use."""

from threadpoolctl import threadpool_info, threadpool_limits


def set_num_threads(count):
    """Use at most this many threads in matrix products, in this process from now on.

    One is the better choice for small matrices, and where other programs want the cores too: with
    two, LeNet-5's training step took six times as long on a machine with one free core of two.

    Raises
    ------
    ValueError
        If count is not a whole number >= 1.
    """
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"set_num_threads: count is {count!r}; it must be a whole number >= 1")
    threadpool_limits(limits=count, user_api="blas")


def get_num_threads():
    """Return how many threads matrix products may use."""
    pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    return max(pools, default=1)
