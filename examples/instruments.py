"""Which of eight instruments plays? On the lecture's slide "Musical Instrument Recognition".

Lostanlen & Cella, "Deep convolutional networks on the pitch spiral for musical instrument
recognition", ISMIR 2016. A constant-Q transform of 3 s goes in, the instrument comes out. Filters
are patches (2-D), cover three octaves and slide along time (1-D), or see the same notes in three
octaves at once (spiral); eight networks combine them. By default music is generated; instruments of
the test do not occur in training.

    python examples/instruments.py
    python examples/instruments.py --table             # all eight networks, some minutes more
    python examples/instruments.py --data my/solos     # labels.csv with the columns file, label
    python examples/instruments.py --data mirdata:medley_solos_db:FOLDER
"""

from typing import Annotated, Literal

import librosa
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import minicnn as mc
from minicnn import audio, experiment, kernels, models, ops, optim, plot
from minicnn.audio import datasets, evaluate, targets
from minicnn.data import ArrayDataset, DataLoader
from minicnn.models.spiral_cnn import ARCHITECTURES, SpiralCNN

STREAMS = {"plane": "2-D", "line": "1-D", "spiral": "spiral"}
SHAPES = {
    "plane": "5 semitones x 116 ms",
    "line": "3 octaves x 116 ms",
    "spiral": "3 semitones x 116 ms, at three places an octave apart",
}


def main(
    *,
    epochs: experiment.Epochs = 15,
    arch: Annotated[Literal[1, 2, 3, 4, 5, 6, 7, 8], "which of the paper's networks"] = 7,
    table: Annotated[bool, "train all eight, and compare them"] = False,
    seed: experiment.Seed = 0,
    device: experiment.Device = "cpu",
    threads: experiment.Threads = None,
    data: experiment.Data = None,
    soundfont: experiment.Soundfont = (),
    out: experiment.Out = None,
    resume: experiment.Resume = False,
    quick: experiment.Quick = False,
) -> dict:
    """Train, test, draw; return the figures that are printed at the end."""
    run = experiment.begin("instruments", out, seed=seed, threads=threads, resume=resume)
    sizes, batch, rate = ((64, 16, 40), 8, 2e-3) if quick else ((1024, 160, 320), 32, 1e-3)
    epochs = min(epochs, 10) if quick else epochs
    options = dict(data=data, soundfont=soundfont, sample_rate=SpiralCNN.sample_rate, rng=seed)
    parts = datasets.parts("classes", "instruments", sizes, **options)
    names, source = parts.train.names, parts.train.name

    heard = audio.track_features(SpiralCNN, [track for part in parts for track in part])
    chunks = heard.windows([names.index(label) for label in heard.labels])
    x, y = map(np.stack, zip(*chunks, strict=True))
    part = np.repeat([0, 1, 2], [len(tracks) for tracks in parts])[chunks.files]
    train, valid, test = (part == i for i in range(3))
    known = logistic_regression(x, y, train, valid)[test]
    # As in the paper: in training from 0 to 1, and then around the mean.
    x = (x - x[train].min()) / (x[train].max() - x[train].min())
    x -= x[train].mean()

    def trained(number):
        """Return one of the networks, what it says of the test, and how its training went."""
        mc.manual_seed(seed)  # so that a network is the same alone and among others
        model = models.spiral_cnn(number, classes=len(names), rng=seed).to(device)
        history = mc.fit(
            model,
            DataLoader(ArrayDataset(x[train], y[train]), batch, shuffle=True, rng=seed),
            ops.cross_entropy,
            optim.Adam(model.parameters(), lr=rate),
            epochs=epochs,
            valid=DataLoader(ArrayDataset(x[valid], y[valid]), batch),
            metrics={"accuracy": lambda logits, labels: (logits.argmax(axis=1) == labels).mean()},
            schedule=optim.cosine_decay(epochs, minimum=0.02),
            checkpoint=run.folder / f"arch{number}",
            resume=resume,
        )
        with mc.no_grad():
            batches = np.array_split(x[test], -(-test.sum() // 32))
            logits = [model(mc.Tensor(kernels.to(each, device))) for each in batches]
        return model, np.concatenate([ops.softmax(each).numpy() for each in logits]), history

    model, said, history = trained(arch)
    found = evaluate.classes(y[test], said.argmax(axis=1), names)
    metrics = {"class_average": found.class_average, "accuracy": found.accuracy}
    if len(said) > len(parts.test):
        files = chunks.files[test]
        own = [files == each for each in np.unique(files)]
        whole = [targets.average_segments(said[each], "geometric").argmax() for each in own]
        scores = evaluate.classes([y[test][each][0] for each in own], whole, names)
        metrics["class_average of recordings"] = scores.class_average
    other = evaluate.classes(y[test], known, names).class_average
    baselines = {"logistic regression of cepstra, class_average": other}

    plot.save(plot.curves(history, valid_accuracy="validation accuracy"), run.folder / "curves.png")
    title = f"{source}: {found.class_average:.1%} of the test right"
    plot.save(plot.confusion(found.confusion, names, title), run.folder / "confusion.png")
    draw_filters(model, run.folder)
    if not table:
        return run.finish(model, metrics, baselines, data=source, picture="confusion.png")
    rows = {"logistic regression": {"accuracy": round(other, 4)}}
    for number, (streams, filters) in ARCHITECTURES.items():
        likely = (said if number == arch else trained(number)[1]).argmax(axis=1)
        average = evaluate.classes(y[test], likely, names).class_average
        name = f"{number}: {' + '.join(map(STREAMS.get, streams))}, {filters} filters"
        rows[name] = {"accuracy": round(average, 4)}
    plot.save(plot.bars(rows, "class-average accuracy", source), run.folder / "networks.png")
    more = dict(data=source, networks=rows, picture="networks.png")
    return run.finish(model, metrics, baselines, **more)


def logistic_regression(x, y, train, valid):
    """Return what it says of chunks by mean and deviation of their cepstra.

    They are those of the constant-Q transform, which did better than those of a mel spectrogram.
    """
    cepstra = librosa.feature.mfcc(S=x[:, 0], n_mfcc=20)[:, 1:]
    x = np.concatenate([cepstra.mean(axis=2), cepstra.std(axis=2)], axis=1)
    fitted = []
    for strength in (0.1, 1, 10):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        fitted.append(model.fit(x[train], y[train]))
    return max(fitted, key=lambda each: each.score(x[valid], y[valid])).predict(x)


def draw_filters(model, folder):
    """Draw the filters of each stream's first layer, what is high at the top."""
    for name in model.streams:
        first = getattr(model, name).conv1
        octaves = first if name == "spiral" else [first]
        gap = ((0, 0), (0, 0), (0, 1))
        images = [np.pad(each.weight.numpy()[:, 0, ::-1], gap) for each in octaves]
        images = np.concatenate(images, axis=2)[..., :-1]
        columns, size = (4, 2) if name == "spiral" else (16, 0.5)
        title = f"first {STREAMS[name]} layer: {SHAPES[name]}"
        drawn = plot.grid(images, columns=columns, size=size, title=title)
        plot.save(drawn, folder / f"filters_{name}.png")


if __name__ == "__main__":
    experiment.command_line(main)
