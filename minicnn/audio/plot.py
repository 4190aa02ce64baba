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
    over_time(
        axes, times, frequencies[shown], levels[shown],
        vmin=levels.max() - RANGE, vmax=levels.max(),
    )  # fmt: skip
    axes.set_ylim(fmin, fmax)


def over_time(
    axes: Any, times: np.ndarray, frequencies: np.ndarray, values: np.ndarray, **style: Any
) -> None:
    """Draw a value for each frequency over time, frequencies in octaves.

    Parameters
    ----------
    axes : matplotlib Axes
    times : array, shape (n,) [s]
    frequencies : array, shape (f,) [Hz]
        Above 0, and rising.
    values : array, shape (f, n)
    **style
        Of `pcolormesh`, such as `vmin`.
    """
    axes.pcolormesh(times, frequencies, values, **{"cmap": "magma", "rasterized": True, **style})
    lowest, highest = np.log2(frequencies[[0, -1]] / 62.5)
    octaves = 62.5 * 2.0 ** np.arange(np.ceil(lowest), highest + 1e-9)
    axes.set(yscale="log", ylim=(frequencies[0], frequencies[-1]), ylabel="frequency [Hz]")
    axes.set_yticks(octaves, [f"{hertz:g}" for hertz in octaves], minor=False)
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


def pitch(
    samples: np.ndarray,
    sample_rate: float,
    times: np.ndarray,
    frequency: np.ndarray,
    confidence: np.ndarray,
    *,
    threshold: float = 0.5,
    truth: tuple[np.ndarray, np.ndarray] | None = None,
    title: str = "",
) -> Any:
    """Return a figure of a melody over the spectrogram, and below how sure its finder was.

    Parameters
    ----------
    samples : array of float, shape (n,)
    sample_rate : float [Hz]
    times : array, shape (m,) [s]
        Those beyond the samples are not seen.
    frequency : array, shape (m,) [Hz]
    confidence : array, shape (m,)
        From 0 to 1.
    threshold : float
        Pitches are drawn that are no less sure than this.
    truth : (times [s], frequency [Hz]), optional
        The true pitch, 0 where there is none.
    title : str
    """
    figure, top, bottom = below_spectrogram(
        samples, sample_rate, fmin=40, fmax=min(4000, sample_rate / 2), title=title
    )
    if truth is not None:
        voiced = np.where(truth[1] > 0, truth[1], np.nan)
        top.plot(truth[0], voiced, color="deepskyblue", linewidth=4, label="true")
    top.plot(times, np.where(confidence >= threshold, frequency, np.nan), "lime", label="found")
    bottom.plot(times, confidence, linewidth=0.8)
    bottom.axhline(threshold, color="gray", linestyle=":")
    bottom.set(ylabel="confidence", ylim=(0, 1.05))
    top.legend(loc="upper right", facecolor="gray")
    return figure


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
