"""Pictures with a time axis: a spectrogram, and below it what a network says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn import plot
from minicnn.audio import spectral
from minicnn.audio.compression import Decibels

RANGE = 80.0  # below the loudest, which is still seen [dB]


def spectrogram(
    axes: Any,
    samples: np.ndarray,
    sample_rate: float,
    *,
    fmin: float = 50.0,
    fmax: float | None = None,
    n_fft: int = 2048,
    hop_length: int | None = None,
) -> None:
    """Draw the level of each frequency over time, frequencies in octaves.

    Parameters
    ----------
    axes : matplotlib Axes
    samples : array of float, shape (n,)
    sample_rate : float [Hz]
    fmin, fmax : float [Hz]
        From where to where; by default to half of the sampling rate.
    n_fft : int [samples]
        The length of a window.
    hop_length : int [samples]
        By default as many that there are 1,000 frames or fewer.
    """
    fmax = sample_rate / 2 if fmax is None else fmax
    hop_length = hop_length or max(n_fft // 8, len(samples) // 1000)
    levels = Decibels(power=False, reference=None)(
        np.abs(spectral.stft(np.asarray(samples, np.float32), n_fft, hop_length))
    )
    times = np.arange(levels.shape[1]) * hop_length / sample_rate
    frequencies = np.arange(len(levels)) * sample_rate / n_fft
    shown = slice(max(int(fmin * n_fft / sample_rate), 1), int(fmax * n_fft / sample_rate) + 1)
    axes.pcolormesh(
        times, frequencies[shown], levels[shown],
        vmin=levels.max() - RANGE, vmax=levels.max(), cmap="magma", rasterized=True,
    )  # fmt: skip
    octaves = 2.0 ** np.arange(np.ceil(np.log2(fmin / 62.5)), np.log2(fmax / 62.5) + 1e-9)
    axes.set(yscale="log", ylim=(fmin, fmax), ylabel="frequency [Hz]")
    axes.set_yticks(62.5 * octaves, [f"{hertz:g}" for hertz in 62.5 * octaves], minor=False)
    axes.minorticks_off()


def below_spectrogram(
    samples: np.ndarray, sample_rate: float, rows: int = 1, *, title: str = "", **options: Any
) -> tuple[Any, ...]:
    """Return a figure with a spectrogram, its axes, and rows of empty axes below it.

    Parameters
    ----------
    samples : array of float, shape (n,)
    sample_rate : float [Hz]
    rows : int
    title : str
    **options
        Those of `spectrogram`.

    Returns
    -------
    (Figure, Axes, ...)
        All axes have the same time [s].
    """
    figure = plot.figure(9, 3 + 1.6 * rows)
    axes = np.atleast_1d(figure.subplots(1 + rows, 1, sharex=True, height_ratios=[2, *[1] * rows]))
    spectrogram(axes[0], samples, sample_rate, **options)
    axes[0].set_title(title)
    axes[-1].set(xlabel="time [s]", xlim=(0, len(samples) / sample_rate))
    return figure, *axes


def tags_below_spectrogram(
    samples: np.ndarray,
    sample_rate: float,
    found: Any,
    names: Sequence[str],
    spans: Sequence[tuple[float, float, Sequence[str]]] = (),
    *,
    most: int = 24,
    title: str = "",
    **options: Any,
) -> Any:
    """Draw a spectrogram, and below it how probable each tag is over time.

    Parameters
    ----------
    samples : array of float, shape (n,)
    sample_rate : float [Hz]
    found : Prediction
        Of windows that are evenly spaced, values (n_windows, n_tags), see `windows.predict`.
    names : sequence of n_tags str
    spans : sequence of (start [s], end [s], tags), optional
        What is true, and when: drawn as lines.
    most : int
        How many tags are drawn, those that are most probable at any time.
    title : str
    **options
        Those of `spectrogram`.

    Returns
    -------
    Figure
    """
    shown = np.sort(np.argsort(-found.values.max(axis=0), kind="stable")[:most])
    row_of = {names[i]: row for row, i in enumerate(shown)}
    figure, top, bottom = below_spectrogram(samples, sample_rate, title=title, **options)
    figure.set_figheight(3.2 + 0.17 * len(shown))
    top.get_gridspec().set_height_ratios([2, 0.15 * len(shown)])
    mesh = bottom.pcolormesh(
        found.times, range(len(shown)), found.values[:, shown].T,
        vmin=0, vmax=1, cmap="Blues", shading="nearest", rasterized=True,
    )  # fmt: skip
    for start, end, tags in spans:
        rows = [row_of[tag] + 0.42 for tag in tags if tag in row_of]
        bottom.hlines(rows, start, end, color="C3", linewidth=1.5)
        bottom.axvline(end, color="gray", linewidth=0.6)
    bottom.set_yticks(range(len(shown)), [names[i] for i in shown], fontsize=8)
    bottom.invert_yaxis()
    label = "probability" + "; what is true is underlined" * bool(len(spans))
    figure.colorbar(mesh, ax=[top, bottom], label=label, aspect=40, pad=0.01)
    return figure
