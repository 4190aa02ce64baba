"""CREPE, a pitch tracker: Kim, Salamon, Li & Bello, ICASSP 2018, figure 1."""

from __future__ import annotations

from torch import nn
from torch.nn import functional

MULTIPLIERS = {"tiny": 4, "small": 8, "medium": 16, "large": 24, "full": 32}


class CREPE(nn.Module):
    """Six convolutions along time, and one logit for each of 360 pitches."""

    def __init__(self, capacity="full"):
        super().__init__()
        inputs = 1
        for i, filters in enumerate((32, 4, 4, 4, 8, 16), 1):
            width = MULTIPLIERS[capacity] * filters
            length, stride = (512, 4) if i == 1 else (64, 1)
            setattr(self, f"conv{i}", nn.Conv2d(inputs, width, (length, 1), (stride, 1)))
            bn = nn.BatchNorm2d(width, eps=0.0010000000474974513, momentum=0.01)
            setattr(self, f"conv{i}_BN", bn)
            inputs = width
        self.classifier = nn.Linear(4 * inputs, 360)

    def forward(self, x):
        """Return the logits (N, 360) of frames (N, 1, 1024)."""
        x = x[..., None]
        for i in range(1, 7):
            conv, bn = getattr(self, f"conv{i}"), getattr(self, f"conv{i}_BN")
            before, after = (254, 254) if i == 1 else (31, 32)
            x = functional.relu(conv(functional.pad(x, (0, 0, before, after))))
            x = functional.max_pool2d(bn(x), (2, 1))
            x = functional.dropout(x, 0.25, self.training)
        return self.classifier(x.permute(0, 2, 1, 3).flatten(1))


TWINS = {"crepe": CREPE}
