"""Convolution along time over a mel spectrogram: Dieleman & Schrauwen, ICASSP 2014."""

from __future__ import annotations

from torch import nn
from torch.nn import functional


class MelCNN1d(nn.Module):
    """Two convolutions, of which the first sees all 96 bands at once."""

    def __init__(self, classes=50):
        super().__init__()
        self.bn = nn.BatchNorm2d(1, eps=1e-3, momentum=0.01)
        self.conv1 = nn.Conv2d(1, 32, (96, 8))
        self.conv2 = nn.Conv1d(32, 32, 8)
        self.fc1 = nn.Linear(32 * 9, 100)
        self.fc2 = nn.Linear(100, classes)

    def forward(self, x):
        """Return the logits (N, classes) of mel spectrograms (N, 1, 96, 187)."""
        x = functional.relu(self.conv1(self.bn(x))).squeeze(2)
        x = functional.max_pool1d(x, 4)
        x = functional.max_pool1d(functional.relu(self.conv2(x)), 4)
        x = functional.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


TWINS = {"mel_cnn_1d": MelCNN1d}
