"""What networks hear: a sound as waveform, spectrogram, mel, constant-Q and harmonic constant-Q.

Without a file it draws a piece that is synthesised on the spot: a melody, chords, drums and a
voice.

    python examples/features.py
    python examples/features.py song.flac --start 30 --length 8

In the spectrogram partials of a tone are equally far apart, and what is low is crowded at the
bottom. The mel scale gives it room. In the constant-Q transform, whose bins are notes, a tone looks
alike at every pitch. The harmonic one shows this transform six times, each from a multiple of the
lowest pitch on, so that the partials of a tone lie on top of each other.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np

from minicnn.audio import sound, spectral
from minicnn.audio.compression import Decibels
from minicnn.audio.front_end import FrontEnd
from minicnn.axes import MelBands
from minicnn.models.deep_salience import DeepSalience

mpl.use("Agg")
import matplotlib.pyplot as plt  # after the choice of a backend that needs no screen

SAMPLE_RATE = DeepSalience.sample_rate
N_FFT, HOP_LENGTH = 2048, 256
BANDS = MelBands(n_mels=128, fmin=0.0, fmax=SAMPLE_RATE / 2)
C1, OCTAVES, BINS_PER_OCTAVE = 32.703, 8, 36
NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


def main(arguments: list[str] | None = None) -> dict:
    """Read or synthesise, transform, draw; return the figures that are printed at the end."""
    options = parse(arguments)
    started = time.perf_counter()
    samples, title = listen(options)
    folder = options.output or Path("runs", "features", time.strftime("%Y-%m-%d_%H-%M-%S"))
    folder.mkdir(parents=True, exist_ok=True)

    bins = spectral.constant_q(
        samples,
        SAMPLE_RATE,
        HOP_LENGTH,
        fmin=C1,
        n_bins=OCTAVES * BINS_PER_OCTAVE,
        bins_per_octave=BINS_PER_OCTAVE,
    )
    draw_spectra(samples, bins, title, folder / "spectra.png")
    draw_harmonics(FrontEnd.of(DeepSalience).transform(samples), title, folder / "harmonics.png")
    figures = {
        "example": "features",
        "sound": title,
        "sound_seconds": round(len(samples) / SAMPLE_RATE, 3),
        "loudest_note": note(bins.sum(axis=1).argmax() * 12 / BINS_PER_OCTAVE),
        "seconds": round(time.perf_counter() - started, 1),
    }
    print(f"pictures: {folder}")
    print(json.dumps(figures))
    return figures


def parse(arguments):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", help="a sound file; without, one is made")
    parser.add_argument("--start", type=float, default=0, metavar="S", help="where to begin [s]")
    parser.add_argument("--length", type=float, default=6, metavar="S", help="how long [s]")
    parser.add_argument("--seed", type=int, default=0, help="of the sound that is made")
    parser.add_argument("--output", type=Path, help="folder for pictures")
    options = parser.parse_args(arguments)
    if options.start < 0 or options.length <= 0:
        parser.error("--start takes seconds from 0, --length more than 0")
    return options


def listen(options):
    """Return the samples that are asked for, and their title."""
    if options.file is None:
        from minicnn.audio import synth

        clip = synth.example(rng=options.seed)
        samples = sound.resample(clip.samples, clip.sample_rate, SAMPLE_RATE)
        title = "a synthesised piece"
    else:
        try:
            samples, _ = sound.load(options.file, SAMPLE_RATE)
        except (OSError, ValueError) as error:
            raise SystemExit(str(error)) from None
        title = options.file.name
    first = round(options.start * SAMPLE_RATE)
    if first >= len(samples):
        raise SystemExit(f"{title} ends at {len(samples) / SAMPLE_RATE:.1f} s, before --start")
    return samples[first : first + max(round(options.length * SAMPLE_RATE), 1)], title


def draw_spectra(samples, bins, title, path):
    """Draw a sound as waveform, spectrogram, mel spectrogram and constant-Q transform."""
    decibels = Decibels(power=False, reference=None)
    spectrogram = np.abs(spectral.stft(samples, N_FFT, HOP_LENGTH))
    mel = spectral.mel_spectrogram(samples, SAMPLE_RATE, N_FFT, HOP_LENGTH, BANDS, power=1)
    figure, rows = plt.subplots(
        4, 1, figsize=(9, 11), sharex=True, height_ratios=(1, 2, 2, 2), layout="constrained"
    )
    rows[0].plot(np.arange(len(samples)) / SAMPLE_RATE, samples, linewidth=0.4)
    rows[0].set(ylabel="amplitude", title=f"{title}: waveform")

    centres = np.array(BANDS.corners[1:-1])
    pictures = (
        (spectrogram, f"spectrogram (Hann windows of {N_FFT / SAMPLE_RATE * 1000:.0f} ms)"),
        (mel, f"mel spectrogram ({BANDS.n_mels} bands)"),
        (bins, f"constant-Q transform ({BINS_PER_OCTAVE} bins per octave)"),
    )
    for axes, (magnitudes, name) in zip(rows[1:], pictures, strict=True):
        image = show(axes, decibels(magnitudes), vmin=-80, vmax=0)
        axes.set_title(name)
        figure.colorbar(image, ax=axes, label="level [dB]", pad=0.01)
    linear, mel_spaced = np.arange(0, 11) * 1000, np.array([100, 500, 1000, 2000, 4000, 8000])
    hertz_ticks(rows[1], linear * N_FFT / SAMPLE_RATE, linear)
    hertz_ticks(rows[2], np.interp(mel_spaced, centres, np.arange(BANDS.n_mels)), mel_spaced)
    note_ticks(rows[3], BINS_PER_OCTAVE, OCTAVES)
    rows[3].set(xlabel="time [s]", ylabel="pitch, frequency [Hz]")
    finish(figure, path)


def draw_harmonics(channels, title, path):
    """Draw the harmonic constant-Q transform that deep salience takes, a picture per harmonic."""
    octaves = DeepSalience.n_bins // DeepSalience.bins_per_octave
    figure, grid = plt.subplots(
        2, 3, figsize=(12, 7), sharex=True, sharey=True, layout="constrained"
    )
    for axes, h, channel in zip(grid.flat, DeepSalience.harmonics, channels, strict=True):
        image = show(axes, channel, vmin=0, vmax=1)
        axes.set_title(f"harmonic {h}: from {h * DeepSalience.fmin:.1f} Hz on")
        note_ticks(axes, DeepSalience.bins_per_octave, octaves)
    for axes in grid[:, 0]:
        axes.set_ylabel("pitch of the tone, its frequency [Hz]")
    for axes in grid[-1]:
        axes.set_xlabel("time [s]")
    figure.suptitle(f"{title}: harmonic constant-Q transform")
    figure.colorbar(image, ax=grid, label="level, 80 dB from 0 to 1", pad=0.01)
    finish(figure, path)


def show(axes, values, **limits):
    """Draw values (F, T), low frequencies at the bottom, each frame around its time."""
    half, length = HOP_LENGTH / SAMPLE_RATE / 2, values.shape[1] * HOP_LENGTH / SAMPLE_RATE
    extent = (-half, length - half, -0.5, len(values) - 0.5)
    return axes.imshow(values, origin="lower", aspect="auto", cmap="magma", extent=extent, **limits)


def hertz_ticks(axes, positions, frequencies):
    """Write frequencies [Hz] at these positions."""
    axes.set_yticks(positions, [f"{hertz:,}" for hertz in frequencies])
    axes.set_ylabel("frequency [Hz]")


def note_ticks(axes, bins_per_octave, octaves):
    """Write the C of each octave, and its frequency, on an axis that begins at C1."""
    at = np.arange(octaves)
    names = [f"C{octave + 1}  {C1 * 2**octave:,.0f}" for octave in at]
    axes.set_yticks(at * bins_per_octave, names)


def note(semitones):
    """Return the name of the note that is so many semitones above C1."""
    octave, place = divmod(round(semitones), 12)
    return f"{NOTES[place]}{octave + 1}"


def finish(figure, path):
    """Save a figure and let it go."""
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
