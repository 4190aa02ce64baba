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

import minicnn as mc
from minicnn import audio, experiment, models, ops, optim, plot
from minicnn.audio import datasets, targets
from minicnn.audio.augment import Apply, Compose, RandomCrop
from minicnn.data import DataLoader

import numpy as np

RATE = models.sample_cnn.sample_rate
LENGTH, LAYERS = 729, range(1, 7)  # of 3^6 samples the sixth layer makes one frame
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
        size, seconds = (15, 3.0) if quick else (300, 6.0)
        made = dict(data=data, soundfont=soundfont, seconds=seconds, sample_rate=RATE, rng=seed)
        tracks = datasets.parts("tags", "tagged", (size, 0, 0), **made).train
        network = models.sample_cnn(classes=len(tracks.names), rng=seed).to(device)
        learn(network, tracks, run.folder, epochs=2 if quick else epochs, seed=seed, resume=resume)
    else:
        state = mc.load(weights)
        modules = sum(name.endswith("conv.weight") for name in state) - 2  # without first and last
        classes = len(state.get("fc.bias", "?"))
        network = models.sample_cnn(n=max(modules, 1), classes=classes, rng=seed).to(device)
        network.load_state_dict(state)
    fresh = models.sample_cnn(rng=seed)

    options = dict(seed=seed, steps=10 if quick else 60, most=16 if quick else 128)
    found = {
        name: [spectra(sounds(each, layer, **options)) for layer in LAYERS]
        for name, each in (("trained", network.to("cpu")), ("before training", fresh))
    }
    peaks = {name: [HERTZ[x.argmax(axis=1)] for x in layers] for name, layers in found.items()}
    draw(found, run.folder / "spectra.png")
    medians = {name: [round(np.median(x)) for x in layers] for name, layers in peaks.items()}
    low = [np.mean(np.concatenate(layers[1:]) < 1000) for layers in peaks.values()]
    figures = {"peaks below 1 kHz": low[0]}, {"before training, peaks below 1 kHz": low[1]}
    return run.finish(network, *figures, median_peaks=medians, picture="spectra.png")


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


def sounds(network, layer, seed, steps, most):
    """Return the sounds that excite the filters of a layer most, shape (filters, 729)."""
    for parameter in network.parameters():
        parameter.requires_grad = False  # only the sounds change
    rng, each = np.random.default_rng(seed), np.arange(most)
    x = rng.uniform(-1, 1, (most, 1, LENGTH)).astype(np.float32)
    for _ in range(steps):
        # From step to step the sound comes at another time, as frequencies and not moments count.
        shift = rng.integers(LENGTH)
        x = mc.Tensor(np.roll(x / x.std(axis=-1, keepdims=True), shift, -1), requires_grad=True)
        excited(network, layer, x)[each, each].mean(axis=-1).sum().backward()
        # As the authors have it: steps of one size, however steep the way up is.
        step = 0.15 * x.grad / (x.grad.std(axis=-1, keepdims=True) + 1e-9)
        x = np.roll(x.data + step, -shift, -1)
    return x[:, 0]


def excited(network, layer, x):
    """Return how sounds excite the filters of a layer (sounds, filters, frames).

    As in the authors' program, a sound is normalised by its own statistics on its way. What is
    constant is not counted: else the same in every frame, 7,350 times a second, would excite most.
    """
    for part in network.layers[: layer - 1]:
        y = part.conv(x)
        count, channels, frames = y.shape
        y = y.reshape(1, count * channels, frames)
        scale, shift = (np.tile(each.numpy(), count) for each in (part.bn.weight, part.bn.bias))
        y = ops.batch_norm(y, weight=scale, bias=shift, training=True, eps=part.bn.eps)
        x = ops.relu(y).reshape(count, channels, frames)
        x = part.pool(x) if hasattr(part, "pool") else x
    y = network.layers[layer - 1].conv(x)
    return ops.relu(y - y.mean(axis=-1, keepdims=True))


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
            style = dict(origin="lower", aspect="auto", vmin=-20, vmax=0, cmap="magma")
            image = axes.imshow(levels.T, extent=extent, **style)
            axes.set(title=f"layer {layer}", xlabel="filters, by their peak")
    figure.colorbar(image, ax=rows, label="level [dB]", aspect=40)
    figure.suptitle("spectra of the sounds that excite the filters of SampleCNN most")
    plot.save(figure, path)


if __name__ == "__main__":
    experiment.command_line(main)
