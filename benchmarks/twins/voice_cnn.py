"""Singing voice detection: Schlüter & Grill, ISMIR 2015."""

from __future__ import annotations

from torch import nn
from torch.nn import functional


class VoiceCNN(nn.Module):
    """Four convolutions and three linear layers."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 64, 3)
        self.conv2 = nn.Conv2d(64, 32, 3)
        self.conv3 = nn.Conv2d(32, 128, 3)
        self.conv4 = nn.Conv2d(128, 64, 3)
        self.fc1 = nn.Linear(64 * 7 * 11, 256)
        self.fc2 = nn.Linear(256, 64)
        self.fc3 = nn.Linear(64, 1)

    def forward(self, x):
        """Return the logit (N, 1) of the central frame of mel spectrograms (N, 1, 80, 115)."""
        x = functional.leaky_relu(self.conv1(x), 0.01)
        x = functional.max_pool2d(functional.leaky_relu(self.conv2(x), 0.01), 3)
        x = functional.leaky_relu(self.conv3(x), 0.01)
        x = functional.max_pool2d(functional.leaky_relu(self.conv4(x), 0.01), 3)
        x = functional.dropout(x.flatten(1), 0.5, self.training)
        x = functional.leaky_relu(self.fc1(x), 0.01)
        x = functional.dropout(x, 0.5, self.training)
        x = functional.leaky_relu(self.fc2(x), 0.01)
        return self.fc3(functional.dropout(x, 0.5, self.training))


TWINS = {"voice_cnn": VoiceCNN}
