"""Drums: a skin that is struck and slackens, springs and metal that rattle."""

from __future__ import annotations

import numpy as np
from scipy.signal import butter, sosfilt

from minicnn.audio.instruments import Timbre

# For each drum: the pitch that its skin goes to and comes from [Hz], how long skin and rattle take
# to die away [s], how strong the rattle is, and its band [Hz]. The lengths are time constants.
DRUMS = {
    "kick": (48, 130, 0.11, 0.004, 0.3, (800, 4000)),
    "snare": (180, 260, 0.05, 0.07, 1.0, (1200, 7500)),
    "tom": (95, 150, 0.13, 0.01, 0.3, (600, 4000)),
    "hat": (0, 0, 0.01, 0.022, 1.0, (6000, 10_000)),
    "open hat": (0, 0, 0.01, 0.14, 1.0, (5500, 10_000)),
    "clap": (0, 0, 0.01, 0.06, 1.0, (900, 3500)),
    "shaker": (0, 0, 0.01, 0.03, 0.7, (4000, 8500)),
}
_ATTACK = 0.001  # [s]


def hit(drum: str, kit: Timbre, sample_rate: int, *, rng) -> np.ndarray:
    """Return one hit of full loudness, from its first sample on.

    Parameters
    ----------
    drum : str
        One of `DRUMS`.
    kit : Timbre
    sample_rate : int [Hz]
    rng : Generator

    Returns
    -------
    ndarray of float64, shape (n,)
    """
    low, high, ringing, rattling, rattle, band = DRUMS[drum]
    ringing, rattling = ringing * kit["decay"], rattling * kit["decay"]
    times = np.arange(int(6 * max(ringing, rattling) * sample_rate)) / sample_rate
    y = np.zeros(len(times))
    if low:
        frequency = kit["size"] * (low + (high - low) * np.exp(-times / 0.02))
        phase = 2 * np.pi * np.cumsum(frequency) / sample_rate
        y += 1.4 * np.sin(phase) * np.exp(-times / ringing)
    edges = np.minimum(
        np.array(band) * np.sqrt(kit["size"]), (0.35 * sample_rate, 0.45 * sample_rate)
    )
    sos = butter(2, edges, "band", fs=sample_rate, output="sos")
    noise = sosfilt(sos, rng.standard_normal(len(times)))
    noise *= np.exp(-times / rattling) / np.sqrt(np.mean(noise[: sample_rate // 50] ** 2))
    y += 0.6 * rattle * kit["breath"] * noise
    # Up within a millisecond, down to nothing at the end.
    y *= np.clip(times / _ATTACK, 0, 1)
    return y * np.clip((times[-1] - times) / (0.1 * times[-1]), 0, 1)
