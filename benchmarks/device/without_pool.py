"""A plugin of pytest: every array has memory of its own, as NVIDIA's sanitizer needs it.

CuPy's pool hands out pieces of larger allocations, and a kernel that reads past its array would
still read within one.
"""


def pytest_configure(config):
    """Take CuPy's memory from CUDA directly."""
    import cupy

    cupy.cuda.set_allocator(None)
