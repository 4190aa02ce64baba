"""Who will like a new song? On the lecture's slide "Content-based Music Recommendation".

Van den Oord, Dieleman & Schrauwen, "Deep content-based music recommendation", NIPS 2013. From who
plays what come factors of listeners and songs, whose products say who likes what. A new song has no
plays, so a network learns to hear its factors. By default songs are generated, and listeners, each
with a taste for some tags, simulated; instruments and tempos of new songs do not occur in training.
AUC is how often listeners are offered a new song that they will play before one that they will not.
Beside it: the paper's linear model of a bag of MFCC, and how popular similar songs are.

    python examples/recommendation.py
    python examples/recommendation.py --data my/songs      # labels.csv with the columns file, tags
    python examples/recommendation.py --data my/songs --plays plays.csv    # listener, file, count
"""

import dataclasses
from pathlib import Path
from typing import Annotated

import minicnn as mc
from minicnn import audio, experiment, models, ops, optim, plot
from minicnn.audio import augment, datasets, evaluate, factorisation, listeners, targets, windows
from minicnn.data import DataLoader
from minicnn.models.recommender import Recommender

import librosa
import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import Ridge
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

FACTORS = 20
# The paper's excerpts of 3 s; the network is the later article's, which takes any length.
EXCERPTS = dataclasses.replace(audio.FrontEnd.of(Recommender), length=131, step=42)


def main(
    *,
    epochs: experiment.Epochs = 6,
    seed: experiment.Seed = 0,
    device: experiment.Device = "cpu",
    threads: experiment.Threads = None,
    data: experiment.Data = None,
    plays: Annotated[Path | None, "a table of who plays what in --data; none: simulated"] = None,
    soundfont: experiment.Soundfont = (),
    out: experiment.Out = None,
    resume: experiment.Resume = False,
    quick: experiment.Quick = False,
) -> dict:
    """Factorise, learn to hear factors, offer new songs, draw; return the figures of the end."""
    if plays and not data:
        raise ValueError("--plays is about the songs in --data, which is not given")
    run = experiment.begin("recommendation", out, seed=seed, threads=threads, resume=resume)
    epochs, sizes = (min(epochs, 4), (48, 12, 24)) if quick else (epochs, (1200, 150, 300))
    options = dict(data=data, soundfont=soundfont, seconds=3.1 if quick else 4.0, rng=seed)
    parts = datasets.parts("tags", "tagged", sizes, sample_rate=Recommender.sample_rate, **options)
    heard = [audio.track_features(EXCERPTS, part) for part in parts]
    played = who_plays(heard, parts.train.names, plays, seed)
    known = factorisation.factorise(played[0], FACTORS, rng=seed)
    factors = [known.songs, *(factorisation.fold_in(new, known.listeners) for new in played[1:])]
    directions = [normalize(each) for each in factors]  # how popular songs are is not heard

    def auc(part, songs, to=known.listeners):
        return evaluate.recommendation(played[part], to, songs).auc

    model = models.recommender(factors=FACTORS, rng=seed)
    model.dropout.p = 0.2  # a half learns too slowly for so few steps
    model.fc3.bias.data[:] = directions[0].mean(axis=0)  # what songs share tells nothing
    model.to(device)
    scale = heard[0].statistics().standardise
    crop = augment.Compose(augment.RandomCrop(EXCERPTS.length), augment.Apply(scale))
    songs = [*zip(heard[0], directions[0], strict=True)] * 3  # excerpts of each in an epoch
    valid = heard[1].windows(directions[1])
    history = mc.fit(
        model,
        DataLoader(songs, 16, shuffle=True, transform=crop, rng=seed),
        ops.mse_loss,
        optim.Adam(model.parameters(), lr=3e-4),
        epochs=epochs,
        valid=DataLoader(valid, 32, transform=augment.Apply(scale), rng=seed),
        metrics={"auc": lambda said, _: auc(1, valid.means(said))},
        schedule=optim.cosine_decay(epochs, minimum=0.02),
        checkpoint=run.folder,
        resume=resume,
    )
    said = windows.predict_features(model, heard[2], scale=scale)
    predicted = normalize([each.pool() for each in said])
    bags = bags_of_mfcc(heard, 64 if quick else 512, seed)
    # Of each kind, what is best on validation songs offers the new ones.
    kinds = [Ridge(alpha).fit(bags[0], directions[0]) for alpha in 10.0 ** np.arange(-3, 4)]
    linear = max([auc(i, kind.predict(bags[i])) for i in (1, 2)] for kind in kinds)[1]
    popular, alike = np.log1p(played[0].sum(axis=0))[:, None], np.ones((len(known.listeners), 1))
    kinds = [KNeighborsRegressor(min(k, len(popular))).fit(bags[0], popular) for k in (5, 20, 80)]
    similar = max([auc(i, kind.predict(bags[i]), alike) for i in (1, 2)] for kind in kinds)[1]

    plot.save(plot.curves(history, valid_auc="AUC of validation songs"), run.folder / "curves.png")
    draw(directions, predicted, heard[0].labels, heard[2].labels, run.folder)
    metrics, bound = {"auc": auc(2, predicted)}, auc(2, factors[2])  # once they are played
    others = {"linear of MFCC, auc": linear, "popularity, auc": similar, "upper bound, auc": bound}
    return run.finish(model, metrics, others, data=parts.test.name, picture="map.png")


def who_plays(heard, names, table, seed):
    """Return how often each listener plays each song of each part."""
    ends = np.cumsum([len(each) for each in heard])
    if table:
        found = listeners.read(table, [name for features in heard for name in features.names])
    else:
        tags = targets.tags([label for each in heard for label in each.labels], names)
        # Taste has to decide more than popularity, which nobody knows of new songs.
        people = dict(plays=len(tags) / 10, taste=2.5, popularity=0.5, rng=seed)
        found = listeners.simulate(tags, 1000, **people).plays
    return [found[:, end - len(each) : end] for each, end in zip(heard, ends, strict=True)]


def bags_of_mfcc(heard, n_words, seed):
    """Return, as in the paper, how often typical sounds are heard in each song of each part."""
    decibels = [[librosa.power_to_db(np.expm1(x[0])) for x in part] for part in heard]
    mfcc = [[librosa.feature.mfcc(S=x, n_mfcc=13) for x in part] for part in decibels]
    change = librosa.feature.delta
    frames = [[np.vstack([x, change(x), change(x, order=2)]).T for x in part] for part in mfcc]
    kmeans = MiniBatchKMeans(n_words, batch_size=4096, n_init=1, random_state=seed)
    words = make_pipeline(StandardScaler(), kmeans).fit(np.concatenate(frames[0]))
    counts = [[np.bincount(words.predict(x), minlength=n_words) for x in part] for part in frames]
    return [normalize(np.array(part, float), "l1") for part in counts]


def draw(directions, predicted, known, new, folder):
    """Draw where new songs lie by true and by predicted factors, and the nearest known songs."""
    plane = TSNE(metric="cosine", perplexity=min(30, len(new) / 2), random_state=0)
    true, found = np.split(plane.fit_transform(np.concatenate([directions[2], predicted])), 2)
    places = {"new songs by who will play them": true, "new songs by their sound": found}
    first = [tags[0] if tags else "no tag" for tags in new]
    plot.save(plot.points(places, first, "t-SNE of factors"), folder / "map.png")

    shown = sorted({tag: i for i, tag in enumerate(first)}.values())[:8]
    nearest = np.argsort(-predicted[shown] @ directions[0].T, axis=1)[:, :3]
    rows = [[new[i], *(known[j] for j in some)] for i, some in zip(shown, nearest, strict=True)]
    alike = [[0, *(len({*a} & {*b}) / max(len({*a, *b}), 1) for b in more)] for a, *more in rows]
    columns = ["new song", "known song with the nearest factors", "second", "third"]
    texts = [[", ".join(tags) for tags in row] for row in rows]
    drawn = plot.table(texts, columns, alike, title="greener: more of the tags are the same")
    plot.save(drawn, folder / "nearest.png")


if __name__ == "__main__":
    experiment.command_line(main)
