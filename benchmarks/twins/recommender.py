"""Music recommendation: van den Oord, Dieleman & Schrauwen, NIPS 2013; Dieleman, blog, 2014."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class Recommender(nn.Module):
    """Four convolutions along time, statistics over time, three linear layers."""

    def __init__(self, factors=40):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 256, (128, 4))
        self.conv2 = nn.Conv1d(256, 256, 4)
        self.conv3 = nn.Conv1d(256, 512, 4)
        self.conv4 = nn.Conv1d(512, 512, 4)
        self.fc1 = nn.Linear(3 * 512, 2048)
        self.fc2 = nn.Linear(2048, 2048)
        self.fc3 = nn.Linear(2048, factors)

    def forward(self, x):
        """Return the factors (N, factors) of mel spectrograms (N, 1, 128, 599)."""
        x = functional.relu(self.conv1(x)).squeeze(2)
        x = functional.max_pool1d(x, 4)
        x = functional.max_pool1d(functional.relu(self.conv2(x)), 2)
        x = functional.max_pool1d(functional.relu(self.conv3(x)), 2)
        x = functional.relu(self.conv4(x))
        # vector_norm: the derivative of a square root at a silent feature would be infinite.
        statistics = x.mean(2), torch.amax(x, 2), torch.linalg.vector_norm(x, dim=2)
        x = functional.relu(self.fc1(torch.cat(statistics, 1)))
        x = functional.dropout(x, 0.5, self.training)
        x = functional.dropout(functional.relu(self.fc2(x)), 0.5, self.training)
        return self.fc3(x)


TWINS = {"recommender": Recommender}
