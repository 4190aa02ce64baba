"""Normalisation layers."""

from __future__ import annotations

import numpy as np

from minicnn import ops
from minicnn.nn import init
from minicnn.nn.module import Buffer, Module, Parameter, suspect_training
from minicnn.ops import arguments


class _BatchNorm(Module):
    """Parameters and running statistics; subclasses say how many axes they take."""

    ranks: tuple[int, ...]

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ):
        arguments.per_axis(type(self).__name__, "num_features", num_features, 1)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = Parameter(init.constant((num_features,), 1)) if affine else None
        self.bias = Parameter(init.constant((num_features,), 0)) if affine else None
        tracked = track_running_stats
        self.running_mean = Buffer(init.constant((num_features,), 0)) if tracked else None
        self.running_var = Buffer(init.constant((num_features,), 1)) if tracked else None
        self.num_batches_tracked = Buffer(np.zeros((), np.int64)) if tracked else None

    def forward(self, x, residual=None, slope: float = 1.0):
        if x.ndim not in self.ranks:
            takes = " or ".join(f"{rank} axes" for rank in self.ranks)
            raise ValueError(f"{type(self).__name__}: x has shape {x.shape}; it takes {takes}")
        if self.training and self.running_mean is not None:
            suspect_training(self)
        y = ops.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training or self.running_mean is None,
            momentum=self._momentum(),
            eps=self.eps,
            residual=residual,
            slope=slope,
        )
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.data += 1
        return y

    def _momentum(self):
        """Return the share of the next batch: fixed, or equal for all batches so far where None."""
        if self.momentum is not None:
            return self.momentum
        return 0.0 if self.num_batches_tracked is None else 1 / (int(self.num_batches_tracked) + 1)

    def extra_repr(self):
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(_BatchNorm):
    """Normalise each feature of (N, C) or channel of (N, C, L) over the batch.

    Called with `residual` and `slope`, it also adds and activates, as `ops.batch_norm` says; with
    slope 0 it is followed by a ReLU.

    Parameters
    ----------
    num_features : int
        C.
    eps : float
        Added to the variance before its root. Keras-born networks use 1e-3.
    momentum : float or None
        The share of a new batch in the running statistics; None averages all batches equally.
    affine : bool
        Whether a scale and a shift per channel are trained.
    track_running_stats : bool
        Whether running statistics are kept for evaluation; otherwise each batch is its own.

    References
    ----------
    Ioffe & Szegedy, "Batch normalization", 2015.
    """

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Normalise each channel of (N, C, H, W) over the batch; otherwise as `BatchNorm1d`."""

    ranks = (4,)


class LocalResponseNorm(Module):
    """Divide by a power of the energy in neighbouring channels, as `ops.local_response_norm`.

    Parameters
    ----------
    size : int [channels]
    alpha, beta, k : float
    average : bool
        Whether alpha weighs the average of the squares (PyTorch, Caffe) or their sum (the paper).

    References
    ----------
    Krizhevsky, Sutskever & Hinton, 2012, section 3.3.
    """

    def __init__(
        self,
        size: int,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 1.0,
        *,
        average: bool = True,
    ):
        self.size, self.alpha, self.beta, self.k, self.average = size, alpha, beta, k, average

    def forward(self, x):
        return ops.local_response_norm(
            x, self.size, self.alpha, self.beta, self.k, average=self.average
        )

    def extra_repr(self):
        kind = "" if self.average else ", average=False"
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}{kind}"
