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

import minicnn as mc
from minicnn import audio, experiment, models, ops, optim, plot
from minicnn.audio import datasets, decoding, evaluate
from minicnn.data import ArrayDataset, DataLoader
from minicnn.models.spiral_cnn import ARCHITECTURES, SpiralCNN

import numpy as np
from scipy.fft import dct
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

# What the filters of a stream are called, what they see, and how many are drawn in a row.
STREAMS = {
    "plane": ("2-D", "5 semitones x 116 ms", 16),
    "line": ("1-D", "3 octaves x 116 ms", 32),
    "spiral": ("spiral", "3 semitones x 116 ms, in each of three octaves", 8),
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
    sizes, batch, rate = ((56, 8, 24), 8, 2e-3) if quick else ((1024, 160, 320), 32, 1e-3)
    epochs = min(epochs, 8) if quick else epochs
    options = dict(data=data, soundfont=soundfont, sample_rate=SpiralCNN.sample_rate, rng=seed)
    parts = datasets.parts("classes", "instruments", sizes, **options)
    names, source = parts.train.names, parts.train.name
    tracks = [track for part in parts for track in part]
    heard = audio.track_features(SpiralCNN, tracks, workers=0 if quick else None)
    chunks = heard.windows([names.index(label) for label in heard.labels])
    x, y = map(np.stack, zip(*chunks, strict=True))
    part = np.repeat([0, 1, 2], [len(each) for each in parts])[chunks.files]
    train, valid, test = (part == i for i in range(3))
    guessed = logistic_regression(x, y, train, valid)[test]
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
        return model, ops.softmax(mc.Tensor(mc.predict(model, x[test]))).numpy(), history

    model, said, history = trained(arch)
    found = evaluate.classes(y[test], said.argmax(axis=1), names)
    metrics = {"class_average": found.class_average, "accuracy": found.accuracy}
    if len(said) > len(parts.test):
        own = [chunks.files[test] == file for file in np.unique(chunks.files[test])]
        whole = [decoding.average_segments(said[each], "geometric").argmax() for each in own]
        scores = evaluate.classes([y[test][each][0] for each in own], whole, names)
        metrics["class_average of recordings"] = scores.class_average
    known = evaluate.classes(y[test], guessed, names).class_average
    baselines = {"logistic regression of cepstra, class_average": known}

    plot.save(plot.curves(history, valid_accuracy="validation accuracy"), run.folder / "curves.png")
    title = f"{source}: {found.class_average:.1%} of the test right"
    plot.save(plot.confusion(found.confusion, names, title), run.folder / "confusion.png")
    plot.save(drawn_filters(model), run.folder / "filters.png")
    if not table:
        return run.finish(model, metrics, baselines, data=source, picture="confusion.png")
    rows = {"logistic regression": {"error": round(1 - known, 4)}}
    for number, (streams, filters) in ARCHITECTURES.items():
        likely = (said if number == arch else trained(number)[1]).argmax(axis=1)
        average = evaluate.classes(y[test], likely, names).class_average
        name = f"{number}: {' + '.join(STREAMS[each][0] for each in streams)}, {filters} filters"
        rows[name] = {"error": round(1 - average, 4)}
    plot.save(plot.bars(rows, "class-average error", source), run.folder / "networks.png")
    return run.finish(model, metrics, baselines, data=source, networks=rows, picture="networks.png")


def logistic_regression(x, y, train, valid):
    """Return what it says by mean and deviation of constant-Q cepstra; MFCC did less well."""
    cepstra = dct(x[:, 0], axis=1, norm="ortho")[:, 1:20]
    x = np.concatenate([cepstra.mean(axis=2), cepstra.std(axis=2)], axis=1)
    fitted = []
    for strength in (0.1, 1, 10):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
        fitted.append(model.fit(x[train], y[train]))
    return max(fitted, key=lambda model: model.score(x[valid], y[valid])).predict(x)


def drawn_filters(model):
    """Draw the first layer of each stream, high notes at the top, each filter on its own scale."""
    figure = plot.figure(9, 2 * len(model.streams))
    places = figure.subplots(len(model.streams), squeeze=False)[:, 0]
    for axes, stream in zip(places, model.streams, strict=True):
        name, seen, columns = STREAMS[stream]
        first = getattr(model, stream).conv1
        octaves = first if stream == "spiral" else [first]
        images = [apart(each.weight.numpy()[:, 0, ::-1]) for each in octaves]
        images = np.concatenate(images, axis=2)
        images = apart(images / np.nanmax(np.abs(images), axis=(1, 2), keepdims=True))
        rows = np.vstack([np.hstack(row) for row in np.split(images, len(images) // columns)])
        axes.imshow(rows, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
        axes.set_title(f"{name}: {seen}")
        axes.axis("off")
    return figure


def apart(images):
    """Return images with a margin beside and below."""
    return np.pad(images, ((0, 0), (0, 1), (0, 1)), constant_values=np.nan)


if __name__ == "__main__":
    experiment.command_line(main)
