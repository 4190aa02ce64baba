"""Where do notes begin? A network finds onsets, on the lecture's slide "Onset detection".

Schlüter & Böck, "Improved musical onset detection with convolutional neural networks", ICASSP 2014.
Three log-mel spectrograms of 150 ms around a frame go in; out comes whether a note begins in it. It
is judged by F at 25 ms, as in the paper, beside the spectral flux that librosa offers. By default
music is generated; instruments and tempos of the test do not occur in training.

    python examples/onset.py
    python examples/onset.py --data my/drums        # labels.csv with the columns file, time
    python examples/onset.py --soundfont TimGM6mb FluidR3_GM
"""

import itertools

import minicnn as mc
from minicnn import audio, experiment, models, ops, optim, plot
from minicnn.audio import datasets, decoding, evaluate, targets
from minicnn.audio.scores import Matches
from minicnn.data import DataLoader
from minicnn.models.onset_cnn import OnsetCNN

import librosa
import numpy as np

RATE, HOP = OnsetCNN.sample_rate, OnsetCNN.hop_length
WINDOW = 0.025  # how far from a true onset one may be [s]
THRESHOLDS = np.geomspace(0.01, 2, 24)
DELAYS = (0, 0.01, -0.01, 0.02, -0.02, 0.03, -0.03)  # of what is found [s]; of equals the first


def main(
    *,
    epochs: experiment.Epochs = 6,
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
    sizes, seconds = ((10, 3, 3), 5.0) if quick else ((120, 20, 40), 10.0)
    options = dict(data=data, soundfont=soundfont, seconds=seconds, sample_rate=RATE, rng=seed)
    train, valid, test = datasets.parts("onsets", "polyphony", sizes, **options)

    model = models.onset_cnn(rng=seed).to(device)
    heard, unseen = (audio.track_features(model, part) for part in (train, valid))
    scale = heard.statistics().standardise
    options = dict(batch_size=64 if quick else 256, rng=seed)
    epochs = min(epochs, 2) if quick else epochs
    history = mc.fit(
        model,
        DataLoader(windows(heard, scale), shuffle=True, **options),
        loss,
        optim.Adam(model.parameters(), lr=2e-3),
        epochs=epochs,
        valid=DataLoader(windows(unseen, scale), **options),
        schedule=optim.cosine_decay(epochs, minimum=0.02),
        checkpoint=run.folder,
        resume=resume,
    )

    def hear(track):
        """Return what the network and the spectral flux say of a recording, and the truth."""
        samples, truth = track.load(RATE)
        found = audio.windows.predict(model, samples, RATE, scale=scale, activation=ops.sigmoid)
        flux = librosa.onset.onset_strength(y=samples, sr=RATE, hop_length=HOP)
        return found.values[:, 0], flux, truth

    known, new = ([hear(track) for track in part] for part in (valid, test))
    chosen, found = judge(0, picked, known, new)
    _, baseline = judge(1, picked_flux, known, new)

    plot.save(plot.curves(history), run.folder / "curves.png")
    filters = model.conv1.weight.numpy().swapaxes(0, 1).reshape(30, 3, 7)
    titles = [f"{size} ms window" for size in (46, 23, 93) for _ in range(10)]
    drawn = plot.grid(filters, titles, columns=10, title="first layer: 3 bands x 7 frames (70 ms)")
    plot.save(drawn, run.folder / "filters.png")
    shown = np.argsort([len(truth) for *_, truth in new])[len(test) * 3 // 4]  # full, not fullest
    draw(test[shown].load(RATE)[0], *new[shown], chosen, run.folder / "onsets.png")
    return run.finish(
        model,
        {"f_measure": found.f_measure, "precision": found.precision, "recall": found.recall},
        {"spectral flux, f_measure": baseline.f_measure},
        data=test.name,
        picture="onsets.png",
    )


def windows(features, scale):
    """Return windows around all frames, whether each is an onset, and its weight."""
    answers = [
        np.stack(targets.onsets(times, len(features.times(i)), RATE / HOP), axis=1)
        for i, times in enumerate(features.labels)
    ]
    return features.windows(answers, per_window=True, scale=scale)


def loss(logits, target):
    """Return the cross-entropy; frames beside an onset count for a quarter."""
    return ops.binary_cross_entropy_with_logits(logits[:, 0], target[:, 0], weight=target[:, 1])


def picked(activations, threshold):
    """Return the onsets [s] of activations."""
    return decoding.pick_onsets(activations, RATE / HOP, threshold)


def picked_flux(curve, threshold):
    """Return the onsets [s] of a flux, with librosa's own peak picking."""
    options = dict(sr=RATE, hop_length=HOP, units="time", delta=float(threshold))
    return librosa.onset.onset_detect(onset_envelope=curve, **options)


def judge(which, pick, known, new):
    """Return the delay and threshold that suit what is known best, and the score of what is new."""

    def score(heard, delay, threshold):
        found = [(pick(each[which], threshold) - delay, each[-1]) for each in heard]
        return sum((evaluate.onsets(truth, times, WINDOW) for times, truth in found), Matches())

    choices = itertools.product(DELAYS, THRESHOLDS)
    chosen = max(choices, key=lambda choice: score(known, *choice).f_measure)
    return chosen, score(new, *chosen)


def draw(samples, activations, flux, truth, chosen, path):
    """Draw activations below a spectrogram, with true and found onsets."""
    delay, threshold = chosen
    figure, top, bottom = audio.plot.below_spectrogram(
        samples[: 6 * RATE], RATE, title="onsets of a test clip"
    )
    found = picked(activations, threshold) - delay
    top.vlines(truth, *top.get_ylim(), color="white", linewidth=0.7, alpha=0.8)
    bottom.vlines(truth, 0, 1, color="gray", linewidth=0.7, label="true onset")
    bottom.plot(np.arange(len(activations)) * HOP / RATE, activations, label="the network says")
    bottom.plot(found, np.full(len(found), 1.06), "v", color="C3", markersize=5, label="found")
    bottom.set(ylabel="probability", ylim=(0, 1.15))
    bottom.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=3, frameon=False)
    plot.save(figure, path)


if __name__ == "__main__":
    experiment.command_line(main)
