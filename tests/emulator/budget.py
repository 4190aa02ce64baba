"""How many registers each CUDA kernel may take: `python -m tests.emulator.budget` writes the file.

More registers than before are no error in themselves, but mean fewer threads at a time: a change
that needs them says so by changing the file.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
from minicnn.kernels.cuda import module, nvrtc

from minicnn import kernels

FILE = Path(__file__).with_name("registers.json")
ARCHITECTURES = "sm_80", "sm_90", "sm_90a"
VERSION = 13, 0  # of the compiler, as setup.py asks for it: another one allots others
REALS = "float32", "float64"


@cache
def compiled(source, architecture, real, index=np.int32):
    """Return the figures of the kernels of a source."""
    options = module.options(np.dtype(real), np.dtype(index))
    return nvrtc.compile_source(source.path, architecture, options).figures


def measured():
    """Return the most registers that each kernel takes on any architecture, by its type."""
    return {
        kernel: {
            real: max(compiled(source, a, real)[kernel].registers for a in ARCHITECTURES)
            for real in REALS
        }
        for source in kernels.cuda.sources()
        for kernel in source.kernels
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(measured(), indent=1) + "\n")
