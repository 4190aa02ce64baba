"""A training run to be killed: `python -m tests.reliability.training FOLDER [WORKERS]`.

It has everything that a resumed run has to restore: an optimiser with state, a schedule, batches in
an order of chance that are changed by chance, dropout from two streams, statistics of batch
normalisation, a best epoch before the last one. Its checkpoints are large for what it computes, so
that about half of its time is spent writing them. It always goes on where it was.
"""

import hashlib
import json
import os
import sys
import time

import numpy as np

import minicnn as mc
from minicnn import data, nn, ops, optim

EPOCHS = 24
INPUTS = np.random.default_rng(0).standard_normal((48, 40)).astype(np.float32)
LABELS = (INPUTS[:, 0] + INPUTS[:, 1] > 0).astype(int)


def noisy(x, label, *, rng):
    return x + rng.normal(0, 0.1, x.shape).astype(np.float32), label


def train(folder, *, workers=0, epochs=EPOCHS, seed=0, on_batch=None):
    """Return the model and the history of the run in this folder, or of one without a folder."""
    mc.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(40, 400), nn.BatchNorm1d(400), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(400, 200), nn.Dropout(0.1, rng=seed), nn.Linear(200, 2),
    )  # fmt: skip
    batches = data.DataLoader(
        data.ArrayDataset(INPUTS, LABELS), 8, shuffle=True, transform=noisy, num_workers=workers
    )
    valid = data.DataLoader(data.ArrayDataset(INPUTS, LABELS), 48)

    def loss(outputs, target):
        if on_batch is not None:
            on_batch()
        return ops.cross_entropy(outputs, target)

    history = mc.fit(
        model,
        batches,
        loss,
        optim.Adam(model.parameters(), lr=0.01),
        epochs=epochs,
        valid=valid,
        schedule=optim.cosine_decay(EPOCHS),
        checkpoint=folder,
        resume=folder is not None,
        progress=False,
    )
    batches.close()
    return model, history


def digest(model, history):
    """Return what two runs share only if every bit of weights and scores is the same."""
    found = hashlib.sha256()
    for name, array in model.state_dict().items():
        found.update(name.encode() + array.tobytes())
    scores = [{k: v for k, v in record.items() if k != "seconds"} for record in history]
    found.update(json.dumps(scores).encode())
    return found.hexdigest()


def main():
    folder, workers = sys.argv[1], int((*sys.argv, 0)[2])
    mc.set_num_threads(1)
    print("ready", os.getpid(), flush=True)
    started = time.perf_counter()
    model, history = train(folder, workers=workers)
    print("done", digest(model, history), time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
