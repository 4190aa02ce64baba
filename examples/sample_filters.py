"""What does a network listen for that gets nothing but samples? The filters of SampleCNN.

Lee, Park, Kim & Nam, "Sample-level deep convolutional neural networks for music auto-tagging using
raw waveforms", SMC 2017, where filters are made visible; on the lecture's slides "Music
Auto-Tagging". As the authors' program does it, gradient ascent turns 729 samples of soft noise into
the sound that excites a filter most. The spectra of these sounds, sorted by their peaks, show what
a layer listens for. Beside them are those of the network before it was trained.

    python examples/sample_filters.py
    python examples/tagging.py --model sample_cnn --out tags
    python examples/sample_filters.py --weights tags/best.safetensors
"""

from pathlib import Path
from typing import Annotated

import numpy as np

import minicnn as mc
from minicnn import audio, experiment, models, nn, ops, optim, plot
from minicnn.audio import datasets, targets
from minicnn.audio.augment import Apply, Compose, RandomCrop
from minicnn.data import DataLoader

RATE = models.sample_cnn.sample_rate
LENGTH, LAYERS = 729, 6  # the sixth layer makes one frame of 3^6 samples


def main(
    *,
    weights: Annotated[Path | None, "of a sample_cnn that was trained already"] = None,
    epochs: experiment.Epochs = 3,
    seed: experiment.Seed = 0,
    device: experiment.Device = "cpu",
    threads: experiment.Threads = None,
    data: experiment.Data = None,
    soundfont: experiment.Soundfont = (),
    out: experiment.Out = None,
    resume: experiment.Resume = False,
    quick: experiment.Quick = False,
) -> dict:
    """Train or read a network, find its sounds, draw; return the figures printed at the end."""
    run = experiment.begin("sample_filters", out, seed=seed, threads=threads, resume=resume)
    if weights is None:
        size, seconds = (24, 5.0) if quick else (400, 10.0)
        made = dict(data=data, soundfont=soundfont, seconds=seconds, sample_rate=RATE, rng=seed)
        tracks = datasets.parts("tags", "tagged", (size, 0, 0), **made).train
        network = models.sample_cnn(classes=len(tracks.names), rng=seed).to(device)
        learn(network, tracks, run.folder, epochs=1 if quick else epochs, seed=seed, resume=resume)
    else:
        state = mc.load(weights)
        network = models.sample_cnn(classes=len(state["fc.bias"]), rng=seed).to(device)
        network.load_state_dict(state)
    fresh = models.sample_cnn(rng=seed).to(device)
    rows = {
        name: [spectra(sounds(each.eval(), layer, seed)) for layer in range(1, LAYERS + 1)]
        for name, each in (("trained", network), ("before training", fresh))
    }


def learn(network, part, run, *, epochs, seed, resume):
    """Train a network on tags, one window of each clip in each epoch."""
    features = audio.track_features(network, part)
    scale = features.statistics().standardise
    truth = targets.tags(features.labels, part.names)
    mc.fit(
        network,
        DataLoader(
            list(zip(features, truth, strict=True)),
            16,
            shuffle=True,
            transform=Compose(RandomCrop(network.input_shape[-1]), Apply(scale)),
            rng=seed,
        ),
        ops.binary_cross_entropy_with_logits,
        optim.Adam(network.parameters(), lr=1e-3),
        epochs=epochs,
        schedule=optim.cosine_decay(epochs, minimum=0.02),
        checkpoint=run.folder,
        resume=resume,
    )


def sounds(network, layer, seed, steps=20):
    """Return for each filter of a layer the sound that excites it most, and how it is excited."""
    below, last = network.layers[: layer - 1], network.layers[layer - 1]
    each = np.arange(last.conv.out_channels)
    x = np.random.default_rng(seed).uniform(-0.1, 0.1, (len(each), 1, LENGTH)).astype(np.float32)
    for _ in range(steps):
        x = mc.Tensor(x, requires_grad=True)
        excited = ops.relu(last.bn(last.conv(below(x))))[each, each].mean()
        excited.backward()
        # As the authors: steps of one size, however strong the gradient.
        size = np.sqrt(np.mean(x.grad**2, axis=-1, keepdims=True))
        x = x.data + 0.1 * x.grad / (size + 1e-9)
    return x[:, 0]
