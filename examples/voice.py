"""Does somebody sing? A network says it for every frame: the slide "Singing voice detection".

Schlüter & Grill, "Exploring data augmentation for improved singing voice detection with neural
networks", ISMIR 2015. 1.6 s of a log-mel spectrogram go in; out comes whether there is a voice in
the middle. What it learns from is stretched in time, shifted in pitch and filtered as in the paper,
though on mel bands, which is quicker. It is judged by how many frames are wrong, beside boosted
trees on cepstra (MFCC) of the same 1.6 s. By default songs are generated; voices, instruments and
tempos of the test do not occur in training.

    python examples/voice.py
    python examples/voice.py --table                # each augmentation by itself, too
    python examples/voice.py --data my/songs        # labels.csv with the columns file, start, end
"""

from typing import Annotated

import numpy as np
from scipy import fft, ndimage
from sklearn.ensemble import HistGradientBoostingClassifier

import minicnn as mc
from minicnn import audio, experiment, models, nn, ops, optim, plot
from minicnn.audio import augment, datasets, evaluate, targets
from minicnn.data import DataLoader
from minicnn.models.voice_cnn import VoiceCNN

RATE, FRAME_RATE = VoiceCNN.sample_rate, VoiceCNN.sample_rate / VoiceCNN.hop_length
HALF, HOP = VoiceCNN.n_frames // 2, 9  # what is heard to either side; from answer to answer
PIECE, EXCERPT, KEPT = 702, 332, 232  # frames to draw from; drawn; and left of it when stretched
THRESHOLDS = np.concatenate([[0.001, 0.01], np.arange(0.02, 0.99, 0.02), [0.99, 0.999]])
BEST = "pitch, time and filters"


def main(
    *,
    epochs: experiment.Epochs = 20,
    seed: experiment.Seed = 0,
    device: experiment.Device = "cpu",
    threads: experiment.Threads = None,
    data: experiment.Data = None,
    soundfont: experiment.Soundfont = (),
    out: experiment.Out = None,
    resume: experiment.Resume = False,
    quick: experiment.Quick = False,
    table: Annotated[bool, "train with each augmentation, not only with none and the best"] = False,
) -> dict:
    """Train without augmentation and with it, choose thresholds, test, draw; return the figures."""
    run = experiment.begin("voice", out, seed=seed, threads=threads, resume=resume)
    sizes = (16, 6, 6) if quick else (160, 24, 48)
    options = dict(data=data, soundfont=soundfont, sample_rate=RATE, rng=seed)
    parts = datasets.parts("voice", "songs", sizes, **options)
    train, valid, test = (audio.track_features(VoiceCNN, part) for part in parts)
    scale = train.statistics().standardise
    changes = augmentations(scale)
    pieces = train.pieces(sung(train), PIECE, HALF + (EXCERPT - KEPT) // 2)
    unseen = DataLoader(valid.pieces(sung(valid), PIECE, HALF), 8, transform=augment.Apply(scale))
    judged = {}
    for name in changes if table else (BEST,) if quick else ("none", BEST):
        model = models.voice_cnn(rng=seed).to(device)
        history = mc.fit(
            Excerpts(model),
            DataLoader(pieces, 8, shuffle=True, transform=changes[name], rng=seed),
            loss,
            optim.Adam(model.parameters(), lr=1e-3),
            epochs=epochs,
            valid=unseen,
            schedule=optim.warm_up(1, optim.cosine_decay(epochs - 1, minimum=0.02)),
            checkpoint=run.folder / name.replace(" ", "_"),
            resume=resume,
        )

        def network(x, model=model):
            options = dict(scale=scale, activation=ops.sigmoid)
            return audio.windows.predict_frames(model, x, **options)[:, 0]

        judged[name] = judge(network, valid, test)
    threshold, scores = judged[BEST]  # the last one, which is the network's

    trees = HistGradientBoostingClassifier(random_state=seed)
    answers = np.concatenate(sung(train)) > 0.5
    trees.fit(np.concatenate([*map(cepstra, train)])[::4], answers[::4])
    _, baseline = judge(lambda x: trees.predict_proba(cepstra(x))[:, 1], valid, test)

    plot.save(plot.curves(history), run.folder / "curves.png")
    errors = {name: 1 - scores.accuracy for name, (_, scores) in judged.items()}
    rows = {name: {"wrong": 100 * error} for name, error in errors.items()}
    drawn = plot.bars(rows, "wrong frames [%]", "trained with which augmentation?")
    plot.save(drawn, run.folder / "augmentations.png")
    shown = np.argmin([abs(np.mean(target) - 0.5) for target in sung(test)])
    draw(*parts.test[shown].load(RATE), network(test[shown]), threshold, run.folder / "voice.png")
    return run.finish(
        model,
        {"frame_error": errors[BEST], "precision": scores.precision, "recall": scores.recall},
        {"boosted trees on MFCC, frame_error": 1 - baseline.accuracy},
        augmentations={name: round(error, 4) for name, error in errors.items()},
        data=parts.test.name,
        picture="voice.png",
    )


class Excerpts(nn.Module):
    """The network on longer excerpts, with an answer for every ninth frame."""

    def __init__(self, model):
        self.model = model

    def forward(self, x):  # noqa: D102
        return self.model.slide(x, hop=HOP)[:, 0]


def augmentations(scale):
    """Return what excerpts go through, by name; the last one is the paper's best combination."""
    bands = VoiceCNN.axes[0].corners[1:-1]

    def steps(stretch, shift, *before, then=()):
        options = dict(frames=KEPT, frequencies=bands, fill=None, framewise=(1,))
        moved = augment.StretchShift(stretch, shift, **options)
        cut = augment.RandomCrop(EXCERPT, framewise=(1,))
        return augment.Compose(cut, moved, *before, augment.Apply(scale), *then)

    return {
        "none": steps(0, 0),
        "noise": steps(0, 0, then=[augment.GaussianNoise(0.1)]),
        "dropout of the input": steps(0, 0, then=[augment.InputDropout(0.1)]),
        "frequency masks": steps(0, 0, then=[augment.FrequencyMasks(12, 2)]),
        "loudness": steps(0, 0, augment.Loudness(10, "log")),
        "filters": steps(0, 0, augment.RandomFilter(bands, 10)),
        "time": steps(0.3, 0),
        "pitch": steps(0, 0.3),
        "pitch and time": steps(0.3, 0.3),
        BEST: steps(0.3, 0.3, augment.RandomFilter(bands, 10)),
    }


def sung(features):
    """Return for each recording whether there is a voice in its frames."""
    pairs = zip(features, features.labels, strict=True)
    return [targets.activity(segments, x.shape[-1], FRAME_RATE) for x, segments in pairs]


def loss(logits, target):
    """Return the cross-entropy of every ninth frame."""
    return ops.binary_cross_entropy_with_logits(logits, target[:, HALF:-HALF:HOP])


def cepstra(x):
    """Return 20 cepstra of each frame, and their means and deviations over 1.6 s."""
    found = fft.dct(x[0], axis=0, norm="ortho")[:20]
    mean, square = (ndimage.uniform_filter1d(each, VoiceCNN.n_frames) for each in (found, found**2))
    return np.concatenate([found, mean, np.sqrt(np.maximum(square - mean**2, 0))]).T


def judge(predict, valid, test):
    """Return the threshold that is best on validation data, and how the test goes with it."""
    (true, known), (answers, new) = (
        (
            np.concatenate(sung(part)) > 0.5,
            np.concatenate([targets.median_filter(predict(x), FRAME_RATE) for x in part]),
        )
        for part in (valid, test)
    )
    threshold = max(THRESHOLDS, key=lambda level: np.mean((known > level) == true))
    return threshold, evaluate.frames(answers, new > threshold)


def draw(samples, segments, found, threshold, path):
    """Draw probabilities below a spectrogram, and where somebody sings."""
    title = "a test clip: does somebody sing?"
    figure, _, axes = audio.plot.below_spectrogram(samples[: 20 * RATE], RATE, title=title)
    times = np.arange(len(found)) / FRAME_RATE
    for i, (start, stop) in enumerate(segments):
        label = "_" if i else "somebody sings"
        axes.axvspan(start, stop, color="C1", alpha=0.3, linewidth=0, label=label)
    axes.plot(times, found, color="C0", linewidth=0.6, label="the network says")
    axes.plot(times, targets.median_filter(found, FRAME_RATE), color="C0", label="median of 0.8 s")
    axes.axhline(threshold, color="black", linestyle=":", linewidth=1, label="threshold")
    axes.set(ylabel="probability", ylim=(-0.02, 1.02))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.35), ncols=4, frameon=False)
    plot.save(figure, path)


if __name__ == "__main__":
    experiment.command_line(main)
