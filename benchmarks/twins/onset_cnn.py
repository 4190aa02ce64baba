"""Onset detection: Schlüter & Böck, ICASSP 2014 ("paper") and MML 2013 ("madmom")."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class OnsetCNN(nn.Module):
    """Two convolutions and two linear layers: ReLU and dropout, or tanh and none."""

    def __init__(self, variant="paper"):
        super().__init__()
        paper = {"paper": True, "madmom": False}[variant]
        self.activation = functional.relu if paper else torch.tanh
        self.dropout = nn.Dropout(0.5) if paper else nn.Identity()
        self.conv1 = nn.Conv2d(3, 10, (3, 7))
        self.conv2 = nn.Conv2d(10, 20, (3, 3))
        self.fc1 = nn.Linear(20 * 8 * 7, 256)
        self.fc2 = nn.Linear(256, 1)

    def forward(self, x):
        """Return the logit (N, 1) of the central frame of mel spectrograms (N, 3, 80, 15)."""
        x = functional.max_pool2d(self.activation(self.conv1(x)), (3, 1))
        x = functional.max_pool2d(self.activation(self.conv2(x)), (3, 1))
        x = torch.sigmoid(self.fc1(self.dropout(x.flatten(1))))
        return self.fc2(self.dropout(x))


TWINS = {"onset_cnn": OnsetCNN}
