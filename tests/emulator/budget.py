"""How many registers each CUDA kernel may take: `python -m tests.emulator.budget` writes the file.

More registers than before are no error in themselves, but mean fewer threads at a time: a change
that needs them says so by changing the file.
"""

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
from minicnn.kernels.cuda import module, nvrtc

from minicnn import kernels

FILE = Path(__file__).with_name("registers.json")
BUILD = Path(__file__).parents[2] / "build" / "gate"
ARCHITECTURES = "sm_80", "sm_90", "sm_90a"
VERSION = 13, 0  # of the compiler, as setup.py asks for it: another one allots others
REALS = "float32", "float64"


@cache
def compiled(source, architecture, real, index=np.int32):
    """Return the figures of the kernels of a source; what was once compiled is read from disk."""
    options = module.options(np.dtype(real), np.dtype(index))
    parts = source.text, architecture, options, nvrtc.version()
    file = BUILD / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:20]}.json"
    if not file.exists():
        figures = nvrtc.compile_source(source.path, architecture, options).figures
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(figures))
    figures = json.loads(file.read_text())
    return {kernel: nvrtc.Figures(*numbers) for kernel, numbers in figures.items()}


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
