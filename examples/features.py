"""What networks hear: the lecture's slides "Domain-Specific or Task-Specific knowledge", on inputs.

A sound as waveform, spectrogram, mel spectrogram, constant-Q and harmonic constant-Q. In the
spectrogram partials of a tone are equally far apart, and what is low is crowded at the bottom. The
mel scale gives it room. In the constant-Q transform, whose bins are notes, a tone looks alike at
every pitch. The harmonic one (Bittner et al., "Deep salience representations for f0 estimation in
polyphonic music", ISMIR 2017) shows it six times, each from a multiple of the lowest pitch on, so
that the partials of a tone lie on top of each other.

    python examples/features.py                          # a piece that is made on the spot
    python examples/features.py song.flac --start 30 --length 8
"""

from pathlib import Path
from typing import Annotated

from minicnn import experiment, plot
from minicnn.audio import sound, spectral, synth
from minicnn.audio.compression import Decibels
from minicnn.audio.front_end import FrontEnd
from minicnn.axes import MelBands
from minicnn.models.deep_salience import DeepSalience

import numpy as np

RATE, N_FFT, HOP = DeepSalience.sample_rate, 2048, 256
BANDS = MelBands(n_mels=128, fmin=0.0, fmax=RATE / 2)
C1, OCTAVES, BINS_PER_OCTAVE = 32.703, 8, 36
NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def main(
    file: Annotated[Path | None, "a sound; none: one is made"] = None,
    *,
    start: Annotated[float, "where to begin [s]"] = 0,
    length: Annotated[float, "how long [s]"] = 6,
    seed: Annotated[int, "what the sound that is made follows from"] = 0,
    out: experiment.Out = None,
    quick: experiment.Quick = False,
) -> dict:
    """Read or make, transform, draw; return the figures that are printed at the end."""
    if start < 0 or length <= 0:
        raise ValueError(
            f"start is {start:g} s, length {length:g} s; they take 0 on, and more than 0"
        )
    samples, title = listen(file, start, min(length, 2) if quick else length, seed)
    run = experiment.begin("features", out, seed=seed)
    bins = spectral.constant_q(
        samples,
        RATE,
        HOP,
        fmin=C1,
        n_bins=OCTAVES * BINS_PER_OCTAVE,
        bins_per_octave=BINS_PER_OCTAVE,
    )
    plot.save(draw_spectra(samples, bins, title), run.folder / "spectra.png")
    harmonics = FrontEnd.of(DeepSalience).transform(samples)
    plot.save(draw_harmonics(harmonics, title), run.folder / "harmonics.png")
    octave, semitone = divmod(round(bins.sum(axis=1).argmax() * 12 / BINS_PER_OCTAVE), 12)
    return run.finish(
        None,
        {"sound [s]": len(samples) / RATE},
        picture="spectra.png",
        sound=title,
        loudest_note=f"{NOTES[semitone]}{octave + 1}",
    )


def listen(file, start, length, seed):
    """Return the samples that are asked for, and their title."""
    if file is None:
        clip = synth.example(rng=seed)
        samples, title = sound.resample(clip.samples, clip.sample_rate, RATE), "a synthesised piece"
    else:
        (samples, _), title = sound.load(file, RATE), file.name
    first = round(start * RATE)
    if first >= len(samples):
        raise ValueError(f"{title} ends at {len(samples) / RATE:.1f} s, before --start")
    return samples[first : first + max(round(length * RATE), 1)], title


def draw_spectra(samples, bins, title):
    """Draw a sound as waveform, spectrogram, mel spectrogram and constant-Q transform."""
    decibels = Decibels(power=False, reference=None)
    drawn = plot.figure(9, 11)
    wave, *rows = drawn.subplots(4, 1, sharex=True, height_ratios=(1, 2, 2, 2))
    wave.plot(np.arange(len(samples)) / RATE, samples, linewidth=0.4)
    wave.set(ylabel="amplitude", title=f"{title}: waveform")
    pictures = {
        f"spectrogram (Hann windows of {N_FFT / RATE * 1000:.0f} ms)": np.abs(
            spectral.stft(samples, N_FFT, HOP)
        ),
        f"mel spectrogram ({BANDS.n_mels} bands)": spectral.mel_spectrogram(
            samples, RATE, N_FFT, HOP, BANDS, power=1
        ),
        f"constant-Q transform ({BINS_PER_OCTAVE} bins per octave)": bins,
    }
    for axes, (name, magnitudes) in zip(rows, pictures.items(), strict=True):
        image = show(axes, decibels(magnitudes), vmin=-80, vmax=0)
        axes.set_title(name)
        drawn.colorbar(image, ax=axes, label="level [dB]", pad=0.01)
    linear, mel_spaced = np.arange(0, 11) * 1000, np.array([100, 500, 1000, 2000, 4000, 8000])
    centres = np.interp(mel_spaced, BANDS.corners[1:-1], np.arange(BANDS.n_mels))
    for axes, places, hertz in zip(
        rows, (linear * N_FFT / RATE, centres), (linear, mel_spaced), strict=False
    ):
        axes.set_yticks(places, [f"{each:,}" for each in hertz])
        axes.set_ylabel("frequency [Hz]")
    note_ticks(rows[2], BINS_PER_OCTAVE, OCTAVES)
    rows[2].set(xlabel="time [s]", ylabel="pitch, frequency [Hz]")
    return drawn


def draw_harmonics(channels, title):
    """Draw the harmonic constant-Q transform that deep salience takes, a picture per harmonic."""
    drawn = plot.figure(12, 7)
    places = drawn.subplots(2, 3, sharex=True, sharey=True)
    for axes, h, channel in zip(places.flat, DeepSalience.harmonics, channels, strict=True):
        image = show(axes, channel, vmin=0, vmax=1)
        axes.set_title(f"harmonic {h}: from {h * DeepSalience.fmin:.1f} Hz on")
        octaves = DeepSalience.n_bins // DeepSalience.bins_per_octave
        note_ticks(axes, DeepSalience.bins_per_octave, octaves)
    for axes in places[:, 0]:
        axes.set_ylabel("pitch of the tone, its frequency [Hz]")
    for axes in places[-1]:
        axes.set_xlabel("time [s]")
    drawn.suptitle(f"{title}: harmonic constant-Q transform")
    drawn.colorbar(image, ax=places, label="level, 80 dB from 0 to 1", pad=0.01)
    return drawn


def show(axes, values, **limits):
    """Draw values (F, T), low frequencies at the bottom, each frame around its time."""
    half, length = HOP / RATE / 2, values.shape[1] * HOP / RATE
    extent = (-half, length - half, -0.5, len(values) - 0.5)
    return axes.imshow(values, origin="lower", aspect="auto", cmap="magma", extent=extent, **limits)


def note_ticks(axes, bins_per_octave, octaves):
    """Write the C of each octave, and its frequency, on an axis that begins at C1."""
    names = [f"C{octave + 1}  {C1 * 2**octave:,.0f}" for octave in range(octaves)]
    axes.set_yticks(np.arange(octaves) * bins_per_octave, names)


if __name__ == "__main__":
    experiment.command_line(main)
