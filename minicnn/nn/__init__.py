"""Layers: what has parameters or a mode. Names, argument order and defaults are PyTorch's."""

from typing import TYPE_CHECKING

from minicnn.nn import init
from minicnn.nn.activation import (
    ELU,
    LeakyReLU,
    LogSoftmax,
    ReLU,
    ScaledTanh,
    Sigmoid,
    Softmax,
    Softplus,
    Tanh,
)
from minicnn.nn.container import ModuleList, Sequential
from minicnn.nn.conv import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from minicnn.nn.dropout import Dropout, Dropout1d, Dropout2d, GaussianNoise
from minicnn.nn.fuse import Fused, fuse
from minicnn.nn.linear import Linear
from minicnn.nn.module import Buffer, Module, Parameter
from minicnn.nn.network import Network
from minicnn.nn.norm import BatchNorm1d, BatchNorm2d, LocalResponseNorm
from minicnn.nn.pool import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveLPPool1d,
    AdaptiveLPPool2d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveStdPool1d,
    AdaptiveStdPool2d,
    AvgPool1d,
    AvgPool2d,
    GlobalAvgPool,
    GlobalLPPool,
    GlobalMaxPool,
    GlobalStdPool,
    LPPool1d,
    LPPool2d,
    MaxPool1d,
    MaxPool2d,
    StdPool1d,
    StdPool2d,
)
from minicnn.nn.shape import Flatten, Identity

__all__ = [
    "ELU",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveLPPool1d",
    "AdaptiveLPPool2d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveStdPool1d",
    "AdaptiveStdPool2d",
    "AvgPool1d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Buffer",
    "Conv1d",
    "Conv2d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Flatten",
    "Fused",
    "GaussianNoise",
    "GlobalAvgPool",
    "GlobalLPPool",
    "GlobalMaxPool",
    "GlobalStdPool",
    "Identity",
    "LPPool1d",
    "LPPool2d",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSoftmax",
    "MaxPool1d",
    "MaxPool2d",
    "Module",
    "ModuleList",
    "Network",
    "Parameter",
    "ReLU",
    "ScaledTanh",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "StdPool1d",
    "StdPool2d",
    "Tanh",
    "fuse",
    "init",
]

if not TYPE_CHECKING:  # a type checker knows by itself what does not exist
    # What PyTorch has here, and where it is in this house.
    _ELSEWHERE = {
        "functional": "operations are in minicnn.ops",
        "CrossEntropyLoss": "losses are functions: ops.cross_entropy(logits, labels)",
        "BCELoss": "losses are functions: ops.binary_cross_entropy_with_logits(logits, targets)",
        "BCEWithLogitsLoss": (
            "losses are functions: ops.binary_cross_entropy_with_logits(logits, targets)"
        ),
        "MSELoss": "losses are functions: ops.mse_loss(x, target)",
    }

    def __getattr__(name):
        where = f"; {_ELSEWHERE[name]}" if name in _ELSEWHERE else ""
        raise AttributeError(f"minicnn.nn: there is no {name!r}{where}", name=name)
