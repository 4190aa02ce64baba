"""What does it sound like? Networks tag music by genre, mood and instruments.

The lecture's slides "Music Auto-Tagging" have four networks for it: `mel_cnn_1d` (Dieleman &
Schrauwen 2014) and `mel_cnn_2d` (Pons & Serra 2019) hear mel spectrograms of 3 s, `fcn4` (Choi
2016) those of 29 s, `sample_cnn` (Lee 2017) waveforms of 2.7 s. To be trained within minutes,
`mel_cnn_2d` has 32 filters a layer, `fcn4` a quarter of its filters and windows of 3.4 s,
`sample_cnn` windows of 0.9 s, as in the paper too. Test clips, by default generated, with other
timbres and tempos, are judged by the mean over their windows, beside a logistic regression.

    python examples/tagging.py --model sample_cnn
    python examples/tagging.py --file song.wav      # draws its tags over time
    python examples/tagging.py --data my/music      # labels.csv with the columns file, tags
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import minicnn as mc
from minicnn import audio, experiment, models, nn, ops, optim, plot
from minicnn.audio import FrontEnd, datasets, evaluate, targets, windows
from minicnn.audio.augment import Apply, Compose, RandomCrop
from minicnn.audio.compression import Decibels
from minicnn.axes import MelBands
from minicnn.data import DataLoader
from minicnn.models.fcn import FCN

import librosa
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

QUARTER = dict(layers=((32, (2, 4)), (96, (4, 5)), (192, (3, 8)), (512, (4, 1))))
# Options of each network, for how many epochs it is trained, and its learning rate.
MODELS = {
    "mel_cnn_1d": (models.mel_cnn_1d, {}, 60, 1e-3),
    "mel_cnn_2d": (models.mel_cnn_2d, dict(filters=32), 25, 3e-3),
    "fcn4": (FCN, QUARTER, 20, 1e-3),
    "sample_cnn": (models.sample_cnn, dict(n=8), 18, 1e-3),
}
BASELINE = "logistic regression on MFCC"


def main(
    *,
    model: Annotated[Literal[*MODELS], "which network"] = "mel_cnn_1d",
    file: Annotated[Path | None, "a song whose tags are drawn over time"] = None,
    epochs: Annotated[int | None, "how many windows of each clip are seen; by default many"] = None,
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
    run = experiment.begin("tagging", out, seed=seed, threads=threads, resume=resume)
    build, options, usual, learning_rate = MODELS[model]
    epochs, rate = epochs or (usual // 2 if quick else usual), build.sample_rate
    song = audio.sound.load(file, rate)[0] if file else None
    sizes, seconds, workers = ((32, 8, 16), 5.0, 0) if quick else ((600, 80, 160), 10.0, None)
    made = dict(data=data, soundfont=soundfont, seconds=seconds, sample_rate=rate, rng=seed)
    parts = datasets.parts("tags", "tagged", sizes, **made)
    names = parts.train.names

    network = build(**options, classes=len(names), rng=seed).to(device)
    for module in network.modules():  # for a training a hundred times as short as the papers'
        if isinstance(module, nn.Dropout):
            module.p *= 0.1
        elif isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = 0.1
    front_end = replace(FrontEnd.of(network), step=FrontEnd.of(network).length)  # side by side
    kinds = front_end, for_mfcc(rate)
    both = [audio.track_features(kinds, part, workers=workers) for part in parts]
    heard, spectra = zip(*both, strict=True)
    truth = [targets.tags(each.labels, names) for each in heard]
    baseline = evaluate.tags(truth[2], regression(spectra, truth), names)

    scale = heard[0].statistics().standardise
    clips = list(zip(heard[0], truth[0], strict=True))
    changed = Compose(RandomCrop(front_end.length), Apply(scale))
    history = mc.fit(
        network,
        DataLoader(clips, 16, shuffle=True, transform=changed, rng=seed),
        ops.binary_cross_entropy_with_logits,
        optim.Adam(network.parameters(), lr=learning_rate),
        epochs=epochs,
        valid=DataLoader(heard[1].windows(truth[1]), 64, transform=Apply(scale), rng=seed),
        schedule=optim.cosine_decay(epochs, minimum=0.01),
        checkpoint=run.folder,
        resume=resume,
    )

    hear = dict(scale=scale, activation=ops.sigmoid)
    said = windows.predict_features(network, heard[2], **hear)
    found = evaluate.tags(truth[2], np.stack([each.pool() for each in said]), names)

    plot.save(plot.curves(history), run.folder / "curves.png")
    pairs = zip(names, found.roc_auc_of_tags, baseline.roc_auc_of_tags, strict=True)
    rows = {tag: {model: a, BASELINE: b} for tag, a, b in pairs if tag not in found.skipped}
    drawn = plot.bars(rows, "area under the ROC curve", f"test: {parts.test.name}", start=0.5)
    plot.save(drawn, run.folder / "tags.png")
    song, spans = (song, ()) if file else joined(parts.test[:4], rate)
    title = f"tags of {file or 'test clips, one after another'}"
    length = front_end.samples_of(front_end.length)
    over_time = windows.predict(network, song, window=length, hop=length // 6, **hear)
    drawn = audio.plot.tags_below_spectrogram(song, rate, over_time, names, spans, title=title)
    plot.save(drawn, run.folder / "timeline.png")
    ours = {"roc_auc": found.roc_auc, "pr_auc": found.pr_auc}
    theirs = {f"{BASELINE}, roc_auc": baseline.roc_auc, f"{BASELINE}, pr_auc": baseline.pr_auc}
    more = {"tagger": model, "picture": "timeline.png"}
    return run.finish(network, ours, theirs, data=parts.test.name, **more)


def for_mfcc(rate):
    """Return the front end that librosa computes MFCC from."""
    of = dict(sample_rate=rate, n_ffts=(2048,), hop_length=512, bands=MelBands(128, 0, rate / 2))
    return replace(FrontEnd.of(models.mel_cnn_1d), **of, compression=Decibels(), length=1)


def regression(spectra, truth):
    """Return what the baseline, fitted to the training clips, says of the test's."""
    mfcc = [[librosa.feature.mfcc(S=x[0], n_mfcc=20) for x in each] for each in spectra]
    train, valid, test = ([np.append(x.mean(1), x.std(1)) for x in each] for each in mfcc)

    def fitted(strength, x):
        tagger = OneVsRestClassifier(LogisticRegression(C=strength, solver="newton-cholesky"))
        tagger = make_pipeline(StandardScaler(), tagger).fit(train, truth[0])
        return tagger.predict_proba(x)

    losses = {c: log_loss(truth[1].ravel(), fitted(c, valid).ravel()) for c in (0.01, 0.1, 1)}
    return fitted(min(losses, key=losses.get), test)


def joined(tracks, rate):
    """Return tracks one after another, and from when to when [s] which tags are true."""
    parts, tags = zip(*(track.load(rate) for track in tracks), strict=True)
    parts = [part[: 10 * rate] for part in parts]
    ends = np.cumsum([len(part) for part in parts]) / rate
    return np.concatenate(parts), list(zip([0, *ends], ends, tags, strict=False))


if __name__ == "__main__":
    experiment.command_line(main)
