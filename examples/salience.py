"""Which pitches sound at once? Deep salience, on the slides "Multiple-F0 Estimation".

Bittner, McFee, Salamon, Li & Bello, "Deep salience representations for F0 estimation in polyphonic
music", ISMIR 2017. Six constant-Q transforms go in, each beginning at another harmonic; out comes
for every frame and every pitch whether some instrument plays it. Peaks above a threshold are the
pitches. They are judged by MIREX's accuracy, at 50 cents, beside the peaks of the constant-Q itself
and of the mean of its harmonics. By default music is generated; instruments and tempos of the test
do not occur in training.

    python examples/salience.py
    python examples/salience.py --data mirdata:bach10:path/to/it
    python examples/salience.py --soundfont TimGM6mb FluidR3_GM
"""

from dataclasses import replace

import minicnn as mc
from minicnn import audio, experiment, models, nn, ops, optim, plot
from minicnn.audio import datasets, decoding, evaluate, targets
from minicnn.data import DataLoader
from minicnn.models.deep_salience import DeepSalience

import numpy as np

RATE, BINS = DeepSalience.sample_rate, targets.PitchBins.of(DeepSalience)


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
    run = experiment.begin("salience", out, seed=seed, threads=threads, resume=resume)
    sizes, epoch_size = ((7, 2, 2), 40) if quick else ((72, 8, 24), 160)
    epochs = min(epochs, 1) if quick else epochs
    options = dict(data=data, soundfont=soundfont, seconds=4.0, sample_rate=RATE, rng=seed)
    parts = datasets.parts("multi_f0", "polyphony", sizes, **options)

    model = models.deep_salience(rng=seed).to(device)
    model.squishy.bias.data[:] = np.log(0.02)  # few pitches sound: that need not be learnt first
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # the paper's 1 % of each batch is for much longer trainings
    # A recording is transformed as a whole, against its loudest value, and learnt from in patches:
    # half as long as the paper's, since more music in a batch teaches more.
    length = DeepSalience.n_frames // 2
    patches = replace(audio.FrontEnd.of(model), length=length, step=length)
    heard = [audio.track_features(patches, part) for part in parts]

    def batches(features, **options):
        saliences = (targets.salience(pitches, BINS) for pitches in truth(features))
        cut = [patches.windows(salience[None])[:, 0] for salience in saliences]
        batch = 2 if quick else 4
        return DataLoader(features.windows(cut, per_window=True), batch, rng=seed, **options)

    history = mc.fit(
        model,
        batches(heard[0], shuffle=True, epoch_size=epoch_size),
        ops.binary_cross_entropy_with_logits,
        optim.Adam(model.parameters(), lr=2e-3),
        epochs=epochs,
        valid=batches(heard[1]),
        schedule=optim.cosine_decay(epochs, minimum=0.02),
        checkpoint=run.folder,
        resume=resume,
    )

    def network(features):
        rows = (audio.windows.predict_frames(model, x, activation=ops.sigmoid) for x in features)
        return [frames.T for frames in rows]

    known, new = heard[1:]
    found = network(new)
    threshold, scores = judge(network(known), found, known, new)
    plain = [[x[1] for x in features] for features in (known, new)]
    means = [[x[1:].mean(axis=0) for x in features] for features in (known, new)]

    plot.save(plot.curves(history), run.folder / "curves.png")
    draw(new, found, threshold, run.folder / "salience.png")
    return run.finish(
        model,
        {name: getattr(scores, name) for name in ("accuracy", "precision", "recall")},
        {
            "peaks of the constant-Q, accuracy": judge(*plain, known, new)[1].accuracy,
            "peaks of the mean of harmonics, accuracy": judge(*means, known, new)[1].accuracy,
        },
        data=parts.test.name,
        picture="salience.png",
    )


def truth(features):
    """Return for each recording the pitches [Hz] of each frame."""
    times = features.front_end.frame_times
    return [
        datasets.pitches_at(label, times(x.shape[-1]))
        for x, label in zip(features, features.labels, strict=True)
    ]


def score(saliences, truths, threshold, step=1):
    """Return how the peaks of saliences match true pitches, in every so many frames."""
    found = evaluate.Matches()
    for salience, true in zip(saliences, truths, strict=True):
        times = np.arange(0, len(true), step)
        pitches = decoding.salience_peaks(salience[:, ::step], BINS, threshold)
        found += evaluate.multi_f0(times, true[::step], times, pitches)
    return found


def judge(known_saliences, new_saliences, known, new):
    """Return the threshold that is best on validation data, and how the test goes with it."""
    true = truth(known)
    levels = 1 / (1 + np.exp(-np.arange(-3, 4, 0.25)))  # close together near 0 and near 1
    best = max(levels, key=lambda level: score(known_saliences, true, level, step=10).accuracy)
    return best, score(new_saliences, truth(new), best)


def draw(features, saliences, threshold, path):
    """Draw the pitches of a recording over its constant-Q, and its salience beside the true one."""
    x, salience, true = features[0], saliences[0], truth(features)[0]
    found = decoding.salience_peaks(salience, BINS, threshold)
    times, hertz = features.front_end.frame_times(len(true)), targets.to_hertz(BINS.cents)
    figure = plot.figure(9, 9)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, sharey=True)
    audio.plot.over_time(top, times, hertz, x[1])
    audio.plot.over_time(middle, times, hertz, salience, vmin=0, vmax=1)
    audio.plot.over_time(bottom, times, hertz, targets.salience(true, BINS))
    marks = (true, "deepskyblue", 5, "true"), (found, "lime", 2, "found")
    for pitches, color, size, name in marks:
        at = np.repeat(times, [len(some) for some in pitches])
        top.plot(at, np.concatenate(pitches), ".", color=color, markersize=size, label=name)
    top.legend(loc="upper right", markerscale=3, facecolor="gray")
    top.set(title="constant-Q of a test clip, with true and found pitches")
    middle.set(title="salience that the network found")
    bottom.set(title="salience of the true pitches", xlabel="time [s]")
    plot.save(figure, path)


if __name__ == "__main__":
    experiment.command_line(main)
