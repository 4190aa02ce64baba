"""What does a network listen for that gets nothing but samples? The filters of SampleCNN.

Lee, Park, Kim & Nam, "Sample-level deep convolutional neural networks for music auto-tagging using
raw waveforms", SMC 2017; on the lecture's slides "Music Auto-Tagging". As in the authors' program,
gradient ascent turns 729 samples of soft noise into the sound that excites a filter most. The
spectra of these sounds, sorted by their peaks, show what a layer listens for, beside those of the
same network before it was trained.

    python examples/sample_filters.py
    python examples/tagging.py --model sample_cnn --out runs/tags
    python examples/sample_filters.py --weights runs/tags/best.safetensors
"""

from pathlib import Path
from typing import Annotated

import numpy as np

import minicnn as mc
from minicnn import audio, experiment, models, ops, optim, plot
from minicnn.audio import datasets, targets
from minicnn.audio.augment import Apply, Compose, RandomCrop
from minicnn.data import DataLoader

RATE = models.sample_cnn.sample_rate
LENGTH, LAYERS = 729, range(1, 7)  # of 3^6 samples the sixth layer makes one frame
LOW = 1000  # [Hz]: below it are most fundamentals of music
HERTZ = np.fft.rfftfreq(LENGTH, 1 / RATE)


def main(
    *,
    weights: Annotated[Path | None, "of a sample_cnn that was trained before"] = None,
    epochs: experiment.Epochs = 4,
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
        size, seconds = (32, 5.0) if quick else (300, 6.0)
        made = dict(data=data, soundfont=soundfont, seconds=seconds, sample_rate=RATE, rng=seed)
        tracks = datasets.parts("tags", "tagged", (size, 0, 0), **made).train
        network = models.sample_cnn(classes=len(tracks.names), rng=seed).to(device)
        learn(network, tracks, run.folder, epochs=1 if quick else epochs, seed=seed, resume=resume)
    else:
        state = mc.load(weights)
        network = models.sample_cnn(classes=len(state.get("fc.bias", "?")), rng=seed).to(device)
        network.load_state_dict(state)
    fresh = models.sample_cnn(classes=network.fc.out_features, rng=seed).to(device)

    options = dict(seed=seed, steps=6 if quick else 18, most=32 if quick else None)
    found = {
        name: [spectra(sounds(each, layer, **options)) for layer in LAYERS]
        for name, each in (("trained", network), ("before training", fresh))
    }
    peaks = {name: [HERTZ[x.argmax(axis=1)] for x in layers] for name, layers in found.items()}
    draw(found, run.folder / "spectra.png")
    low = [np.mean(np.concatenate(each[3:]) < LOW) for each in peaks.values()]
    return run.finish(
        network,
        {"peaks_below_1000_hz": low[0]},
        {"before training, peaks_below_1000_hz": low[1]},
        median_peaks={name: [round(np.median(x)) for x in each] for name, each in peaks.items()},
        picture="spectra.png",
    )


def learn(network, tracks, folder, *, epochs, seed, resume):
    """Train a network on tags: in each epoch on one window of each clip."""
    features = audio.track_features(network, tracks)
    scale = features.statistics().standardise
    clips = list(zip(features, targets.tags(features.labels, tracks.names), strict=True))
    changed = Compose(RandomCrop(network.input_shape[-1]), Apply(scale))
    mc.fit(
        network,
        DataLoader(clips, 8, shuffle=True, transform=changed, rng=seed),
        ops.binary_cross_entropy_with_logits,
        optim.Adam(network.parameters(), lr=1e-3),
        epochs=epochs,
        schedule=optim.cosine_decay(epochs, minimum=0.02),
        checkpoint=folder,
        resume=resume,
    )


def sounds(network, layer, seed, steps, most=None):
    """Return the sounds that excite the filters of a layer most, shape (filters, 729)."""
    for parameter in network.parameters():
        parameter.requires_grad = False  # only the sounds change
    each = np.arange(network.layers[layer - 1].conv.out_channels)[:most]
    x = np.random.default_rng(seed).uniform(-0.1, 0.1, (len(each), 1, LENGTH)).astype(np.float32)
    for _ in range(steps):
        x = mc.Tensor(x, requires_grad=True)
        excited(network, layer, x)[each, each].mean(axis=-1).sum().backward()
        # As the authors have it: steps of one size, however steep the way up is.
        size = np.sqrt(np.mean(x.grad**2, axis=-1, keepdims=True))
        x = x.data + 0.1 * x.grad / np.maximum(size, 1e-9)
    return x[:, 0]


def excited(network, layer, x):
    """Return how sounds excite the filters of a layer (sounds, filters, frames).

    As in the authors' program, each sound is normalised by its own statistics, not by those of
    music. Otherwise what repeats itself in every frame, 7,350 times a second, would excite most.
    """
    for i, part in enumerate(network.layers[:layer], 1):
        y = part.conv(x)
        count, channels, frames = y.shape
        y = y.reshape(1, count * channels, frames)
        scale, shift = (np.tile(each.numpy(), count) for each in (part.bn.weight, part.bn.bias))
        y = ops.batch_norm(y, weight=scale, bias=shift, training=True, eps=part.bn.eps)
        x = ops.relu(y).reshape(count, channels, frames)
        if 1 < i < layer:
            x = part.pool(x)
    return x


def spectra(sounds):
    """Return the level of each frequency against the loudest one [dB], sorted by where that is."""
    found = np.abs(np.fft.rfft(sounds - sounds.mean(axis=1, keepdims=True)))
    found /= found.max(axis=1, keepdims=True)
    return 20 * np.log10(np.maximum(found[np.argsort(found.argmax(axis=1), kind="stable")], 1e-4))


def draw(found, path):
    """Draw the spectra of all layers, above of the trained network, below before its training."""
    figure = plot.figure(12, 6)
    rows = figure.subplots(2, len(LAYERS), sharey=True)
    for (name, layers), row in zip(found.items(), rows, strict=True):
        row[0].set_ylabel(f"{name}\nfrequency [kHz]")
        for axes, layer, levels in zip(row, LAYERS, layers, strict=True):
            extent = (0, len(levels), 0, RATE / 2000)
            style = dict(origin="lower", aspect="auto", vmin=-30, vmax=0, cmap="magma")
            image = axes.imshow(levels.T, extent=extent, **style)
            axes.set(title=f"layer {layer}", xlabel="filters, by their peak")
    figure.colorbar(image, ax=rows, label="level [dB]", aspect=40)
    figure.suptitle("spectra of the sounds that excite the filters of SampleCNN most")
    plot.save(figure, path)


if __name__ == "__main__":
    experiment.command_line(main)
