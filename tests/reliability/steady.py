"""A long training whose memory is looked at: `python -m tests.reliability.steady ENTRY STEPS`.

It says how large the process was at the end of each hundredth of its steps [bytes].
"""

import os
import sys
from pathlib import Path

import numpy as np

import minicnn as mc
from minicnn import data, optim
from tests.reliability.small import ENTRIES

PARTS = 100


def resident():
    """Return how much memory this process has [bytes]."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main():
    name, steps = sys.argv[1], int(sys.argv[2])
    entry = ENTRIES[name]
    model = entry.build()
    x = entry.x(model)
    targets = entry.target(model(x).shape, whole=True)
    order = np.arange(steps // PARTS * len(x)) % len(x)
    # What an epoch begins and ends with, a record and a best state, is part of a training.
    batches = data.DataLoader(data.ArrayDataset(x[order], targets[order]), len(x), shuffle=True)

    def size(*_):
        print(resident())
        return 0.0

    mc.fit(
        model, batches, entry.loss, optim.Adam(model.parameters(), lr=1e-4), epochs=PARTS,
        valid=[(x, targets)], metrics={"size": size}, progress=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
