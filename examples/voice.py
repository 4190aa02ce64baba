"""Does somebody sing? A network says it for every frame: the slide "Singing voice detection".

Schlüter & Grill, "Exploring data augmentation for improved singing voice detection with neural
networks", ISMIR 2015. 1.6 s of a log-mel spectrogram go in; out comes whether there is a voice in
the middle. It learns from what is stretched in time, shifted in pitch and filtered (here on mel
bands), and is judged by the frames that are wrong, beside boosted trees on MFCC. By default songs
are generated, with other voices in the test.

    python examples/voice.py --table              # each augmentation by itself
    python examples/voice.py --data my/songs      # labels.csv with the columns file, start, end
"""

from functools import partial
from typing import Annotated

import minicnn as mc
from minicnn import audio, experiment, models, ops, optim, plot
from minicnn.audio import augment, datasets, decoding, evaluate, targets, windows
from minicnn.data import DataLoader
from minicnn.models.voice_cnn import VoiceCNN

import numpy as np
from scipy import fft
from sklearn.ensemble import HistGradientBoostingClassifier

RATE, FRAME_RATE = VoiceCNN.sample_rate, VoiceCNN.sample_rate / VoiceCNN.hop_length
HALF, HOP = VoiceCNN.n_frames // 2, 9  # what is heard to either side; from answer to answer
PIECE, EXCERPT, KEPT = 351, 332, 232  # frames to draw from; drawn; and left of it when stretched
THRESHOLDS = np.concatenate([[0.001, 0.01], np.arange(0.02, 0.99, 0.02), [0.99, 0.999]])
BEST = "pitch, time and filters"


def main(
    *,
    epochs: experiment.Epochs = 17,
    seed: experiment.Seed = 0,
    device: experiment.Device = "cpu",
    threads: experiment.Threads = None,
    data: experiment.Data = None,
    soundfont: experiment.Soundfont = (),
    out: experiment.Out = None,
    resume: experiment.Resume = False,
    quick: experiment.Quick = False,
    table: Annotated[bool, "train without augmentation and with each, not only the best"] = False,
) -> dict:
    """Train, choose the threshold, test, draw; return the figures of the end."""
    run = experiment.begin("voice", out, seed=seed, threads=threads, resume=resume)
    options = dict(data=data, soundfont=soundfont, seconds=5.0, sample_rate=RATE, rng=seed)
    parts = datasets.parts("voice", "songs", (24, 5, 5) if quick else (640, 48, 96), **options)
    train, valid, test = (audio.track_features(VoiceCNN, part) for part in parts)
    scale = train.statistics().standardise
    pieces = train.pieces(sung(train), PIECE, HALF + (EXCERPT - KEPT) // 2)
    unseen = DataLoader(valid.pieces(sung(valid), PIECE, HALF), 8, transform=augment.Apply(scale))
    epochs, size = (min(epochs, 10), 4) if quick else (epochs, 8)
    schedule = optim.warm_up(0.5, optim.cosine_decay(epochs - 0.5, minimum=0.02))
    options = dict(epochs=epochs, valid=unseen, schedule=schedule, resume=resume)
    changes, judged = augmentations(scale), {}
    for name in changes if table else (BEST,):
        model = models.voice_cnn(rng=seed).to(device)
        model.dropout.p = 0.3  # the paper's half is for 40,000 steps
        batches = DataLoader(pieces, size, transform=changes[name], shuffle=True, rng=seed)
        paths = dict(call=partial(model.slide, hop=HOP), checkpoint=run.folder / name)
        adam = optim.Adam(model.parameters(), lr=1e-3)
        history = mc.fit(model, batches, loss, adam, **paths, **options)
        network = partial(windows.predict_frames, model, scale=scale, activation=ops.sigmoid)
        judged[name] = judge(network, valid, test)
    chosen, scores = judged[BEST]  # the last one, which is the network's
    trees = HistGradientBoostingClassifier(random_state=seed)
    trees.fit(np.concatenate([*map(cepstra, train)]), np.concatenate(sung(train)) > 0.5)
    _, baseline = judge(lambda x: trees.predict_proba(cepstra(x))[:, 1], valid, test)

    plot.save(plot.curves(history), run.folder / "curves.png")
    errors = {name: round(1 - scores.accuracy, 4) for name, (_, scores) in judged.items()}
    trees_error = {"boosted trees on MFCC, frame_error": 1 - baseline.accuracy}
    rows = {name: {"test": 100 * error} for name, error in (errors | trees_error).items()}
    drawn = plot.bars(rows, "wrong frames of the test [%]", "which augmentation in training?")
    plot.save(drawn, run.folder / "augmentations.png")
    i = np.argmin([abs(np.mean(target) - 0.5) for target in sung(test)])
    draw(*parts.test[i].load(RATE), network(test[i])[:, 0], *chosen, run.folder / "voice.png")
    metrics = dict(frame_error=errors[BEST], precision=scores.precision, recall=scores.recall)
    more = dict(augmentations=errors, data=parts.test.name, picture="voice.png")
    return run.finish(model, metrics, trees_error, **more)


def augmentations(scale):
    """Return what excerpts go through, by name; the last one is the paper's best combination."""
    bands, scaled = VoiceCNN.axes[0].corners[1:-1], augment.Apply(scale)
    cut = augment.RandomCrop(EXCERPT, framewise=(1,))
    moved = partial(augment.StretchShift, frames=KEPT, frequencies=bands, fill=None, framewise=(1,))
    steps = {
        "none": (moved(0, 0), scaled),
        "dropout of the input": (moved(0, 0), scaled, augment.InputDropout(0.1)),
        "loudness": (moved(0, 0), augment.Loudness(10, "log"), scaled),
        "filters": (moved(0, 0), augment.RandomFilter(bands, 10), scaled),
        "time": (moved(0.3, 0), scaled),
        "pitch": (moved(0, 0.2), scaled),  # the paper's is 30 %, for 30 times the steps
        "pitch and time": (moved(0.3, 0.2), scaled),
        BEST: (moved(0.3, 0.2), augment.RandomFilter(bands, 10), scaled),
    }
    return {name: augment.Compose(cut, *some) for name, some in steps.items()}


def sung(features):
    """Return for each recording whether there is a voice in its frames."""
    pairs = zip(features, features.labels, strict=True)
    return [targets.activity(segments, x.shape[-1], FRAME_RATE) for x, segments in pairs]


def loss(logits, target):
    """Return the cross-entropy of every ninth frame."""
    return ops.binary_cross_entropy_with_logits(logits[:, 0], target[:, HALF:-HALF:HOP])


def cepstra(x):
    """Return 20 cepstra of each frame, and how they change."""
    found = fft.dct(x[0], axis=0, norm="ortho")[:20]
    return np.concatenate([found, np.gradient(found, axis=1)]).T


def judge(predict, valid, test):
    """Return the median and threshold that suit validation data best, and how the test goes."""
    answers = [[np.ravel(predict(x)) for x in part] for part in (valid, test)]
    known, truth = (np.concatenate(sung(part)) > 0.5 for part in (valid, test))

    def smoothed(part, median):
        return np.concatenate([decoding.median_filter(x, FRAME_RATE, median) for x in part])

    heard = {median: smoothed(answers[0], median) for median in (0.2, 0.4, 0.8)}  # paper: 0.8 s
    choices = ((median, threshold) for median in heard for threshold in THRESHOLDS)
    median, threshold = min(choices, key=lambda it: np.mean((heard[it[0]] > it[1]) != known))
    return (median, threshold), evaluate.frames(truth, smoothed(answers[1], median) > threshold)


def draw(samples, segments, found, median, threshold, path):
    """Draw probabilities below a spectrogram, and where somebody sings."""
    figure, _, axes = audio.plot.below_spectrogram(samples[: 20 * RATE], RATE, title="a test clip")
    times = np.arange(len(found)) / FRAME_RATE
    inside = np.any((times >= segments[:, :1]) & (times < segments[:, 1:]), axis=0)
    axes.fill_between(times, inside, color="C1", alpha=0.3, linewidth=0, label="somebody sings")
    axes.plot(times, found, color="C0", linewidth=0.6, label="the network says")
    axes.plot(times, decoding.median_filter(found, FRAME_RATE, median), color="C0", label="median")
    axes.axhline(threshold, color="black", linestyle=":", linewidth=1, label="threshold")
    axes.set(ylabel="probability", ylim=(0, 1.02))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=4, frameon=False)
    plot.save(figure, path)


if __name__ == "__main__":
    experiment.command_line(main)
