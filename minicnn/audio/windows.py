"""Networks over sounds of any length, in memory that does not grow with it.

A sound, a file or samples, is read in small blocks, mixed to one channel and resampled on the way.
What a network hears of it at once is a window. Windows give either

- one answer each, as networks for clips do: at the middle of the window; the answers may be pooled
  to one for all of the sound; or
- one answer per frame, as networks for pitch, onsets or a voice do, with `frame`. Windows that
  overlap are averaged. With `context` a window hears more than it answers for: if that reaches as
  far as front end and network do, nothing tells where one window ended and the next began.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from minicnn import kernels
from minicnn.audio import stream
from minicnn.audio.feature_set import FeatureSet
from minicnn.audio.front_end import FrontEnd
from minicnn.autograd import Tensor, no_grad
from minicnn.nn.module import Module
from minicnn.nn.network import Network


@dataclass(frozen=True)
class Prediction:
    """What a network says, and when.

    Attributes
    ----------
    times : ndarray, shape (n,) [s]
        The middles of the windows, or the frames; from the first sample on.
    values : ndarray, shape (n, ...)
    """

    times: np.ndarray
    values: np.ndarray

    def pool(self, how: str = "mean") -> np.ndarray:
        """Return one answer for all of the sound, shape (...).

        Parameters
        ----------
        how : "mean" or "max"
            The mean over time, or the largest of each value.

        Raises
        ------
        ValueError
            If it is neither of the two.
        """
        if how not in ("mean", "max"):
            raise ValueError(f"pool: how is {how!r}; it takes 'mean' or 'max'")
        return getattr(self.values, how)(axis=0)


def predict(model: Module | Callable, sound: Any, sample_rate: float | None = None, **options):
    """Return what a network says about a sound of any length.

    Parameters
    ----------
    model : Module or callable
        Takes a tensor. A module runs in evaluation mode, on the device of its weights, and without
        gradients; its mode is restored. The mode is the module's, not the thread's: where several
        threads share one, call `model.eval()` before they start.
    sound : path-like, or array of float, shape (n,)
    sample_rate : float, optional [Hz]
        Of samples; by default the network's own. A file knows its own, and has to agree.
    **options
        Those of `pieces`.

    Returns
    -------
    Prediction

    Raises
    ------
    FileNotFoundError, ValueError, TypeError, ModuleNotFoundError
        As `pieces` does.

    Examples
    --------
    A pitch for every 10 ms; then tags, of windows side by side.

    >>> found = predict(models.crepe("tiny"), "song.flac", activation=ops.sigmoid)
    >>> found.times.shape, found.values.shape
    ((18001,), (18001, 360))

    >>> predict(models.mel_cnn_1d(), "song.flac", activation=ops.sigmoid).pool("mean").shape
    (50,)
    """
    found = list(pieces(model, sound, sample_rate, **options))
    times = np.concatenate([piece.times for piece in found])
    return Prediction(times, np.concatenate([piece.values for piece in found]))


def predict_features(
    model: Module | Callable,
    features: FeatureSet,
    *,
    scale: Callable | None = None,
    activation: Callable | None = None,
    batch_size: int = 32,
) -> list[Prediction]:
    """Return what a network says about recordings whose features are there already.

    Parameters
    ----------
    model : Module or callable
        As in `predict`.
    features : FeatureSet
        Such as `audio.track_features` returns. Its front end says how they are cut into windows.
    scale, activation : callable, optional
        As in `pieces`.
    batch_size : int
        How many windows the network gets at once.

    Returns
    -------
    list of Prediction
        One for each recording, with an answer for each window.

    Examples
    --------
    The tags of every recording.

    >>> found = predict_features(model, features, activation=ops.sigmoid)
    >>> np.stack([each.pool("mean") for each in found]).shape
    (200, 50)
    """
    network = _Network(model, None, scale, activation, batch_size)
    return [
        Prediction(features.times(i), network(features.front_end.windows(each)))
        for i, each in enumerate(features)
    ]


def pieces(
    model: Module | Callable,
    sound: Any,
    sample_rate: float | None = None,
    *,
    window: int | None = None,
    hop: int | None = None,
    frame: int | None = None,
    context: int = 0,
    front_end: Callable | None = None,
    scale: Callable | None = None,
    call: Callable | None = None,
    time_axis: int = 0,
    activation: Callable | None = None,
    decode: Callable | None = None,
    batch_size: int = 32,
    rate: float | None = None,
    progress: bool = False,
) -> Iterator[Prediction]:
    """Yield what `predict` returns, piece by piece, as soon as it is known.

    All lengths are samples at the network's rate. Windows begin every `hop` samples from the first
    one on.

    Without `frame`, each window is whole. Where the sound ends within a window, that one is moved
    back so that it ends with the sound; if there is only one, silence is appended.

    With `frame`, there is an answer at every multiple of `frame` from the first sample to the
    last: 1 + n // frame of them, as many as centred frames. A window answers from its beginning to
    the next one's, or to its end where they overlap; there answers are averaged, with weights that
    fall evenly from the middle of a window to its ends. The last window is the first one that
    reaches the end of the sound, and is as long as what is left. What a front end assumes before
    the first sample and after the last one of a window is heard only where the sound itself begins
    and ends, if `context` is as long as front end and network can hear.

    Parameters
    ----------
    model : Module or callable
    sound : path-like, or array of float, shape (n,)
    sample_rate : float, optional [Hz]
        Of samples; by default the network's own. A file knows its own, and has to agree.
    window : int, optional [samples]
        By default it and `frame`, `context`, `front_end`, `call` and `time_axis` are as `cut_for`
        says. Of a network of the lecture the others are so, too, if none of them is given.
    hop : int, optional [samples]
        By default the window: no overlap.
    frame : int, optional [samples]
        From answer to answer; window, hop and context are multiples of it. By default each window
        has one answer.
    context : int [samples]
        Heard on both sides of a window and not answered for.
    front_end : callable, optional
        From samples (m,) to the network's input, batch axis included; such as
        `functools.partial(audio.features, model, sample_rate=model.sample_rate)`. Without `frame`
        that is one input per window; with it, inputs whose outputs are 1 + m // frame frames. By
        default samples go in as they are, (1, 1, m).
    scale : callable, optional
        From the network's inputs to those that it was trained on, of the same shape. Of a training
        set's `figures = FolderFeatures.statistics()` that is
        `lambda x: (x - figures.mean) / figures.deviation`, as the papers on onsets and voices have
        it. By default inputs stay as they are.
    call : callable, optional
        What to call in place of the model itself: `model.slide`.
    time_axis : int
        The axis of the outputs on which the frames are: 0, one row each, or -1, the last one of a
        single output, as `slide` and deep salience have it.
    activation : callable, optional
        From outputs to probabilities, before anything is averaged: `ops.sigmoid`.
    decode : callable, optional
        From finished values (k, ...) to what is kept of them, (k, ...): for long sounds, whose
        values alone fill the memory.
    batch_size : int
        How many inputs the network gets at once.
    rate : float, optional [Hz]
        The network's; by default `model.sample_rate`.
    progress : bool
        Whether to show a progress bar.

    Yields
    ------
    Prediction

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no sound file, or one that is cut off, or holds no samples or some that are not
        finite; if a length or a shape does not fit.
    TypeError
        If samples are no floats.
    ModuleNotFoundError
        If soundfile, or soxr where it is needed, is not installed.
    """
    unsaid = not (frame or context or front_end or call or time_axis)
    if unsaid and (window is None or (isinstance(model, Network) and model.axes)):
        kept: dict[str, Any] = dict(
            hop=hop, scale=scale, activation=activation, decode=decode, rate=rate
        )
        kept |= dict(batch_size=batch_size, progress=progress)
        yield from pieces(model, sound, sample_rate, **cut_for(model, window=window), **kept)
        return
    if window is None:
        raise ValueError("windows: without a window, the network's class says how to cut")
    hop = window if hop is None else hop
    rate = getattr(model, "sample_rate", None) if rate is None else rate
    _check_lengths(window, hop, frame, context, batch_size, rate)
    network = _Network(model, call, scale, activation, batch_size)
    front_end = _as_it_is if front_end is None else front_end
    if isinstance(front_end, _Blocks) and front_end.relative:
        heard = stream.blocks(sound, sample_rate, rate, progress=progress)
        front_end = front_end.relative_to(heard, window, frame, context)
    samples = stream.blocks(sound, sample_rate, rate, progress=progress)
    if frame is None:
        found = _clips(network, samples, window, hop, front_end)
    else:
        parts = _frames(network, samples, window, hop, frame, context, front_end, time_axis)
        found = _averaged(parts, hop < window, frame)
    for middles, values in found:
        yield Prediction(middles / rate, values if decode is None else np.asarray(decode(values)))


def predict_frames(
    model: Any,
    transformed: np.ndarray,
    *,
    scale: Callable | None = None,
    activation: Callable | None = None,
    window: int = 1000,
) -> np.ndarray:
    """Return what a network says of each frame of what its front end made of a sound before.

    That is what `predict` returns of the sound itself, for networks that slide frame by frame:
    those for onsets, for voices and for several pitches.

    Parameters
    ----------
    model : Network
    transformed : array, shape (C, F, T)
        From `FrontEnd.transform`, such as an element of a `FeatureSet`.
    scale, activation : callable, optional
        As `pieces` takes them.
    window : int [frames]
        How many are computed at once.

    Returns
    -------
    ndarray, shape (T, ...)

    Raises
    ------
    TypeError
        If the network takes no sound, or does not slide frame by frame.
    """
    front_end = FrontEnd.of(model)
    if front_end.step not in (1, None) or getattr(model, "slide_hop", None) != 1:
        raise TypeError(f"predict_frames: {type(model).__name__} does not slide frame by frame")
    network = _Network(model, model.slide, scale, activation, 1)
    seen = front_end.surrounded(transformed)[None]
    if front_end.step is None:
        context, more = _around(front_end, model), 0
    else:
        context, more = 0, front_end.length - 1
    parts = []
    for start in range(0, transformed.shape[-1], window):
        first = max(start - context, 0)
        rows = _rows(network(seen[..., first : start + window + context + more]), -1)
        parts.append(rows[start - first :][:window])
    return np.concatenate(parts)


def cut_for(model: Any, seconds: float = 10.0, *, window: int | None = None) -> dict[str, Any]:
    """Return how `pieces` cuts sounds for a network of the lecture, from what its class says.

    Networks for clips get windows as long as the paper's input. Those that answer for every frame
    get blocks, with as much around them as they hear, and slide through these if they can.

    Some front ends measure against the loudest value of all of the sound, such as that of deep
    salience; then `pieces` reads a sound twice, at first for this value.

    Parameters
    ----------
    model : Network
    seconds : float
        How long blocks are.
    window : int, optional [samples]
        How long windows or blocks are, in place of this.

    Returns
    -------
    dict
        Options of `pieces`: window, and where they are needed frame, context, front_end, call and
        time_axis.

    Raises
    ------
    TypeError
        If the network takes no sound.
    """
    front_end = FrontEnd.of(model)
    slides = getattr(model, "slide_hop", None) == (front_end.step or 1)
    if not front_end.before and not (front_end.step is None and slides):
        length = front_end.length if front_end.step else model.input_shape[-1]
        window = front_end.samples_of(length) if window is None else window
        return dict(window=window, front_end=front_end)
    frame = (front_end.step or 1) * front_end.hop_length
    heard = _around(front_end, model) * front_end.hop_length + front_end.reach
    if window is None:
        window = max(round(seconds * front_end.sample_rate / frame), 1) * frame
    cut = dict(window=window, frame=frame, context=-(-heard // frame) * frame, front_end=front_end)
    if not slides:
        return cut
    return {**cut, "front_end": _Blocks(front_end), "call": model.slide, "time_axis": -1}


def _around(front_end, model):
    """Return how many frames to either side of one a network hears at most."""
    # What takes all at once hears no further than half of what it was trained on.
    return front_end.before if front_end.step else model.input_shape[-1] // 2


@dataclass(frozen=True)
class _Blocks:
    """What a network that slides gets of a block: one input, with what windows see around it."""

    front_end: Any

    def __call__(self, samples):
        return self.front_end.surrounded(self.front_end.transform(samples))[None]

    @property
    def relative(self):
        """Whether a block becomes something else as part of a longer one."""
        return getattr(getattr(self.front_end, "compression", None), "relative", False)

    def relative_to(self, samples, window, frame, context):
        """Return the same for blocks of these samples, whose loudest value it is told."""
        plain = dataclasses.replace(self.front_end, compression=_same)

        def magnitudes(block):
            return plain.transform(block)[None]

        parts = _frames(_same, samples, window, window, frame, context, magnitudes, -1)
        loudest = max(float(rows.max()) for _, rows in parts)
        compression = dataclasses.replace(self.front_end.compression, loudest=loudest)
        return _Blocks(dataclasses.replace(self.front_end, compression=compression))


def _same(x):
    return x


def _check_lengths(window, hop, frame, context, batch_size, rate):
    """Raise unless lengths are whole numbers and fit one another."""
    lengths = {"window": window, "hop": hop, "frame": frame, "batch_size": batch_size}
    for name, value in lengths.items():
        if value is None and name == "frame":
            continue
        if not isinstance(value, (int, np.integer)) or value < 1:
            raise ValueError(f"windows: {name} is {value!r}; it is a whole number >= 1")
    if not isinstance(context, (int, np.integer)) or context < 0:
        raise ValueError(f"windows: context is {context!r}; it is a whole number >= 0")
    if rate is None or not 0 < rate < math.inf:
        raise ValueError(f"windows: rate is {rate}; it takes the network's sample rate [Hz]")
    if frame is None:
        if context:
            raise ValueError(f"windows: context is {context}, which takes a frame as well")
        return
    if window % frame or hop % frame or context % frame or hop > window:
        raise ValueError(
            f"windows: window {window}, hop {hop} and context {context} must be multiples of "
            f"frame {frame}, and hop at most window"
        )


def _as_it_is(samples):
    return samples[None, None]


class _Network:
    """A model, and how it is called."""

    def __init__(self, model, call, scale, activation, batch_size):
        self.model, self.batch_size = model, batch_size
        self.call = model if call is None else call
        self.scale = scale
        self.activation = activation

    def __call__(self, inputs):
        """Return the outputs of inputs, in batches of limited size."""
        step = self.batch_size
        parts = [inputs[i : i + step] for i in range(0, len(inputs), step)]
        return np.concatenate([self._run(part) for part in parts])

    def _run(self, inputs):
        # Not around a generator's loop: between its pieces the model belongs to the caller.
        with _evaluating(self.model), no_grad():
            inputs = np.asarray(inputs if self.scale is None else self.scale(inputs))
            outputs = self.call(Tensor(kernels.to(inputs, _device(self.model))))
            outputs = outputs if self.activation is None else self.activation(outputs)
        return outputs.numpy() if isinstance(outputs, Tensor) else np.asarray(outputs)


@contextlib.contextmanager
def _evaluating(model):
    """Put a module and all below it into evaluation mode, and back."""
    modules = list(model.modules()) if isinstance(model, Module) else []
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


def _device(model):
    weight = next(model.parameters(), None) if isinstance(model, Module) else None
    return "cpu" if weight is None or isinstance(weight.data, np.ndarray) else "cuda"


def _clips(network, samples, window, hop, front_end):
    """Yield the middles of whole windows and their answers, a batch at a time."""
    middles, inputs = [], []
    for start, heard in _whole(samples, window, hop):
        x = front_end(heard)
        if len(x) != 1:
            raise ValueError(
                f"windows: the front end makes {len(x)} inputs of a window of {window} samples; "
                "without frame it is one"
            )
        middles.append(start + window / 2)
        inputs.append(x)
        if len(inputs) == network.batch_size:
            yield np.array(middles), network(np.concatenate(inputs))
            middles, inputs = [], []
    if inputs:
        yield np.array(middles), network(np.concatenate(inputs))


def _whole(samples, window, hop):
    """Yield where windows begin, and their samples."""
    held = stream.Held(samples)
    start = 0
    while held.reaches(start + window):
        yield start, held.part(start, start + window)
        start += hop
        held.forget(start - window)  # what the last one may need
    n = held.stop
    unheard = start < n and start - hop + window < n
    if unheard or not start:
        first = max(n - window, 0)
        rest = held.part(first, n)
        yield first, np.pad(rest, (0, window - len(rest)))


def _frames(network, samples, window, hop, frame, context, front_end, time_axis):
    """Yield the first row of each window and its rows."""
    held = stream.Held(samples)
    start, last = 0, False
    while not last:
        held.reaches(start + window + max(context, 1))
        last = held.stop <= start + window
        first = max(start - context, 0)
        heard = held.part(first, start + window + context)
        rows = _rows(network(front_end(heard)), time_axis)
        if len(rows) != 1 + len(heard) // frame:
            raise ValueError(
                f"windows: {len(heard)} samples became {len(rows)} frames; every {frame} samples "
                f"make {1 + len(heard) // frame}"
            )
        skipped = (start - first) // frame
        yield start // frame, rows[skipped:] if last else rows[skipped:][: window // frame]
        start += hop
        held.forget(start - context)


def _rows(outputs, time_axis):
    """Return outputs with time first."""
    if time_axis == 0:
        return outputs
    if len(outputs) != 1:
        raise ValueError(
            f"windows: there are {len(outputs)} outputs; with time_axis {time_axis} it is one"
        )
    return np.moveaxis(outputs, time_axis, 1)[0]


def _averaged(parts, overlap, frame):
    """Yield the places [samples] and means of rows that no later window answers for."""
    sums = weights = np.zeros(0)
    begin = -1  # there are none yet
    for first, rows in parts:
        length = len(rows)
        middle = np.minimum(np.arange(1, length + 1), np.arange(length, 0, -1))
        weight = (middle if overlap else np.ones(length)).astype(rows.dtype)
        weight = weight.reshape(length, *[1] * (rows.ndim - 1))
        rows = rows * weight
        if begin >= 0:
            done = first - begin
            yield np.arange(begin, first) * frame, sums[:done] / weights[:done]
            shared = len(sums) - done
            rows[:shared] += sums[done:]
            weight[:shared] += weights[done:]
        sums, weights, begin = rows, weight, first
    yield np.arange(begin, begin + len(sums)) * frame, sums / weights
