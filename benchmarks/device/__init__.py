"""What `benchmarks/gpu.py` measures on a GPU: one file for each section, and what they share.

A section is a process of its own, `python -m benchmarks.device NAME SECONDS`, so that one which
crashes or hangs takes none of the others along. Its file has a function `items(gpu)`, which returns
what it measures, one by one.
"""
