"""Where do notes begin? A network finds onsets, on the lecture's slide "Onset detection".

Schlüter & Böck, "Improved musical onset detection with convolutional neural networks", ICASSP 2014.
Three log-mel spectrograms of 150 ms around a frame go in; out comes whether a note begins in it. It
is judged by F at 25 ms, as in the paper, beside the spectral flux that librosa offers. By default
music is generated; instruments and tempos of the test do not occur in training.

    python examples/onset.py
    python examples/onset.py --data my/drums        # labels.csv with the columns file, time
    python examples/onset.py --soundfont TimGM6mb FluidR3_GM
"""

import librosa
import numpy as np

import minicnn as mc
from minicnn import audio, experiment, models, ops, optim, plot
from minicnn.audio import datasets, evaluate, targets
from minicnn.audio.augment import Apply
from minicnn.data import DataLoader
from minicnn.models.onset_cnn import OnsetCNN

RATE, FRAME_RATE = OnsetCNN.sample_rate, OnsetCNN.sample_rate / OnsetCNN.hop_length
WINDOW = 0.025  # how far from a true onset one may be [s]


def main(
    *,
    epochs: experiment.Epochs = 5,
    seed: experiment.Seed = 0,
    device: experiment.Device = "cpu",
    threads: experiment.Threads = None,
    data: experiment.Data = None,
    soundfont: experiment.Soundfont = (),
    out: experiment.Out = None,
    resume: experiment.Resume = False,
    quick: experiment.Quick = False,
) -> dict:
    """Train, choose the threshold, test, draw; return the figures that are printed at the end."""
    run = experiment.begin("onset", out, seed=seed, threads=threads, resume=resume)
    sizes, seconds = ((8, 2, 3), 5.0) if quick else ((120, 20, 40), 10.0)
    options = dict(data=data, soundfont=soundfont, seconds=seconds, sample_rate=RATE, rng=seed)
    train, valid, test = datasets.parts("onsets", "polyphony", sizes, **options)

    model = models.onset_cnn(rng=seed).to(device)
    heard = [audio.track_features(model, part) for part in (train, valid)]
    scale = heard[0].statistics().standardise
    windows = [each.windows(frame_targets(each), per_window=True) for each in heard]
    batches = dict(transform=Apply(scale), rng=seed)
    loaders = [DataLoader(each, 256, shuffle=each is windows[0], **batches) for each in windows]
    history = mc.fit(
        model,
        loaders[0],
        loss,
        optim.Adam(model.parameters(), lr=2e-3),
        epochs=min(epochs, 2) if quick else epochs,
        valid=loaders[1],
        schedule=optim.cosine_decay(epochs, minimum=0.02),
        checkpoint=run.folder,
        resume=resume,
    )

    def activations(samples):
        found = audio.windows.predict(model, samples, RATE, scale=scale, activation=ops.sigmoid)
        return found.values[:, 0]

    threshold, found = judge(activations, picked, valid, test)
    _, baseline = judge(flux, picked_flux, valid, test)

    plot.save(plot.curves(history), run.folder / "curves.png")
    filters = model.conv1.weight.numpy().reshape(-1, 3, 7)
    titles = [f"{size} ms" for _ in range(10) for size in (46, 23, 93)]
    drawn = plot.grid(filters, titles, columns=6, title="first layer: 3 bands x 70 ms")
    plot.save(drawn, run.folder / "filters.png")
    samples, truth = test[0].load(RATE)
    draw(samples, truth, activations(samples), threshold, run.folder / "onsets.png")
    return run.finish(
        model,
        {"f_measure": found.f_measure, "precision": found.precision, "recall": found.recall},
        {"spectral flux, f_measure": baseline.f_measure},
        data=test.name,
        picture="onsets.png",
    )


def frame_targets(features):
    """Return for each recording, frame by frame, whether it is an onset, and its weight."""
    return [
        np.stack(targets.onsets(times, len(features.times(i)), FRAME_RATE), axis=1)
        for i, times in enumerate(features.labels)
    ]


def loss(logits, target):
    """Return the cross-entropy; frames beside an onset count for a quarter."""
    return ops.binary_cross_entropy_with_logits(logits[:, 0], target[:, 0], weight=target[:, 1])


def picked(activations, threshold):
    """Return the onsets [s] of activations."""
    return targets.pick_onsets(activations, FRAME_RATE, threshold)


def flux(samples):
    """Return librosa's spectral flux."""
    return librosa.onset.onset_strength(y=samples, sr=RATE, hop_length=OnsetCNN.hop_length)


def picked_flux(curve, threshold):
    """Return the onsets [s] of a flux, with librosa's own peak picking."""
    options = dict(sr=RATE, hop_length=OnsetCNN.hop_length, units="time", delta=float(threshold))
    return librosa.onset.onset_detect(onset_envelope=curve, **options)


def judge(curve, pick, valid, test):
    """Return the threshold that is best on validation data, and how the test goes with it."""

    def score(curves, threshold):
        each = [evaluate.onsets(truth, pick(found, threshold), WINDOW) for found, truth in curves]
        return sum(each[1:], each[0])

    known, new = (
        [(curve(samples), truth) for samples, truth in (track.load(RATE) for track in part)]
        for part in (valid, test)
    )
    best = max(np.arange(0.1, 2, 0.1), key=lambda level: score(known, level).f_measure)
    return best, score(new, best)


def draw(samples, truth, activations, threshold, path):
    """Draw activations below a spectrogram, with true and found onsets."""
    figure, top, bottom = audio.plot.below_spectrogram(samples, RATE, title="onsets of a test clip")
    found = picked(activations, threshold)
    top.vlines(truth, *top.get_ylim(), color="white", linewidth=0.8, alpha=0.8, label="true")
    top.legend(loc="upper right")
    bottom.plot(np.arange(len(activations)) / FRAME_RATE, activations, linewidth=0.8)
    bottom.vlines(truth, 0, 1, color="gray", linewidth=0.6, label="true")
    bottom.plot(found, np.full(len(found), 1.05), "v", color="C3", markersize=4, label="found")
    bottom.set(ylabel="probability", ylim=(0, 1.15))
    bottom.legend(loc="upper right")
    plot.save(figure, path)


if __name__ == "__main__":
    experiment.command_line(main)
