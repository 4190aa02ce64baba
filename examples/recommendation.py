"""Who will like a song that nobody has heard? The lecture's "Content-based Music Recommendation".

Van den Oord, Dieleman & Schrauwen, "Deep content-based music recommendation", NIPS 2013. From who
plays what come factors of listeners and songs, whose products say who likes what. A new song has no
plays, so a network learns to hear its factors. By default songs are generated, and listeners, each
with a taste for some tags of songs, are simulated; instruments and tempos of the new songs do not
occur in training. AUC is how often listeners are offered a new song that they will play before one
that they will not. Beside it: the paper's linear model of a bag of MFCC, and how popular similar
songs are.

    python examples/recommendation.py
    python examples/recommendation.py --data my/songs      # labels.csv with the columns file, tags
    python examples/recommendation.py --data my/songs --plays plays.csv    # listener, file, count
"""

import dataclasses
import itertools
from pathlib import Path
from typing import Annotated

import librosa
import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import Ridge
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

import minicnn as mc
from minicnn import audio, experiment, models, ops, optim, plot
from minicnn.audio import augment, datasets, evaluate, factorisation, listeners, targets
from minicnn.data import DataLoader
from minicnn.models.recommender import Recommender

FACTORS = 20
# The paper's excerpts of 3 s; the network is the later article's, which takes any length.
EXCERPTS = dataclasses.replace(audio.FrontEnd.of(Recommender), length=131, step=42)


def main(
    *,
    epochs: experiment.Epochs = 20,
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
    sizes, n_listeners = ((96, 16, 32), 300) if quick else ((1200, 150, 300), 1000)
    options = dict(data=data, soundfont=soundfont, sample_rate=Recommender.sample_rate, rng=seed)
    parts = datasets.parts("tags", "tagged", sizes, seconds=4.0, **options)
    heard = [audio.track_features(EXCERPTS, part) for part in parts]
    played = who_plays(heard, parts.train.names, plays, n_listeners, seed)
    known = factorisation.factorise(played[0], FACTORS, rng=seed)
    factors = [known.songs, *(factorisation.fold_in(new, known.listeners) for new in played[1:])]
    # Length 1, as in the article: how popular a song will be cannot be heard.
    directions = [normalize(each) for each in factors]

    def auc(part, songs, to=known.listeners):
        return evaluate.recommendation(played[part], to, songs).auc

    model = models.recommender(factors=FACTORS, rng=seed).to(device)
    scale = augment.Apply(heard[0].statistics().standardise)
    crop = augment.Compose(augment.RandomCrop(EXCERPTS.length), scale)
    songs = list(zip(heard[0], directions[0], strict=True))
    valid, test = (heard[i].windows(directions[i]) for i in (1, 2))
    history = mc.fit(
        model,
        DataLoader(songs, 32, shuffle=True, transform=crop, rng=seed),
        ops.mse_loss,
        optim.Adam(model.parameters(), lr=3e-4),
        epochs=min(epochs, 4) if quick else epochs,
        valid=DataLoader(valid, 32, transform=scale, rng=seed),
        metrics={"auc": lambda said, _: auc(1, valid.means(said))},
        monitor="valid_auc",
        mode="max",
        schedule=optim.cosine_decay(epochs, minimum=0.02),
        checkpoint=run.folder,
        resume=resume,
    )
    with mc.no_grad():
        batches = DataLoader(test, 32, transform=scale, rng=seed)
        said = [model(mc.Tensor(x).to(device)).numpy() for x, _ in batches]
    predicted = normalize(test.means(np.concatenate(said)))

    bags = bags_of_mfcc(heard, 32 if quick else 256, seed)
    linear = [Ridge(alpha).fit(bags[0], directions[0]) for alpha in 10.0 ** np.arange(-3, 4)]
    popular, alike = np.log1p(played[0].sum(axis=0))[:, None], np.ones((len(known.listeners), 1))
    similar = [KNeighborsRegressor(count).fit(bags[0], popular) for count in (5, 20, 80)]

    def best(fitted, *to):
        """Return the AUC on new songs of what is best on validation songs."""
        both = [[auc(part, each.predict(bags[part]), *to) for part in (1, 2)] for each in fitted]
        return max(both)[1]

    plot.save(plot.curves(history, valid_auc="AUC of validation songs"), run.folder / "curves.png")
    draw(directions, predicted, heard, run.folder)
    baselines = {
        "linear, bag of MFCC, auc": best(linear),
        "popularity of similar songs, auc": best(similar, alike),
        "upper bound, once they are played, auc": auc(2, factors[2]),
    }
    metrics = {"auc": auc(2, predicted)}
    return run.finish(model, metrics, baselines, data=parts.test.name, picture="map.png")


def who_plays(heard, names, table, n_listeners, seed):
    """Return how often each listener plays each song of each part."""
    ends = np.cumsum([0, *map(len, heard)])
    if table:
        found = listeners.read(table, [name for features in heard for name in features.names])
    else:
        labels = [tags for features in heard for tags in features.labels]
        tags = targets.multi_hot(
            [[names.index(tag) for tag in some] for some in labels], len(names)
        )
        # Taste has to decide more than popularity, which nobody knows of new songs.
        found = listeners.simulate(tags, n_listeners, taste=2.5, popularity=0.5, rng=seed).plays
    return [found[:, first:last] for first, last in itertools.pairwise(ends)]


def bags_of_mfcc(heard, n_words, seed):
    """Return, as in the paper, how often typical sounds are heard in each song of each part."""

    def mfcc(logarithms):
        power = np.expm1(logarithms) / Recommender.compression.factor
        found = librosa.feature.mfcc(S=librosa.power_to_db(power), n_mfcc=13)
        return np.vstack([found, *(librosa.feature.delta(found, order=n) for n in (1, 2))]).T

    frames = [[mfcc(x[0]) for x in features] for features in heard]
    kmeans = MiniBatchKMeans(n_words, batch_size=4096, n_init=1, random_state=seed)
    words = make_pipeline(StandardScaler(), kmeans).fit(np.concatenate(frames[0]))
    counts = [[np.bincount(words.predict(x), minlength=n_words) for x in part] for part in frames]
    return [normalize(np.array(part, float), "l1") for part in counts]


def draw(directions, predicted, heard, folder):
    """Draw where new songs lie by true and by predicted factors, and the nearest known songs."""
    both = np.concatenate([directions[2], predicted])
    plane = TSNE(metric="cosine", perplexity=min(30, len(both) / 4), random_state=0)
    true, found = np.split(plane.fit_transform(both), 2)
    places = {"new songs by who will play them": true, "new songs by their sound": found}
    known, new = heard[0].labels, heard[2].labels
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
