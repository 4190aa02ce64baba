"""Deep salience for multiple pitches: Bittner, McFee, Salamon, Li & Bello, ISMIR 2017."""

from __future__ import annotations

from torch import nn
from torch.nn import functional


class DeepSalience(nn.Module):
    """Six convolutions that keep the size of their input."""

    def __init__(self):
        super().__init__()
        self.bn0 = _norm(6)
        self.bendy1 = nn.Conv2d(6, 128, 5, padding=2)
        self.bn1 = _norm(128)
        self.bendy2 = nn.Conv2d(128, 64, 5, padding=2)
        self.bn2 = _norm(64)
        self.smoothy1 = nn.Conv2d(64, 64, 3, padding=1)
        self.bn3 = _norm(64)
        self.smoothy2 = nn.Conv2d(64, 64, 3, padding=1)
        self.bn4 = _norm(64)
        self.distribute = nn.Conv2d(64, 8, (70, 3), padding=(34, 1))
        self.bn5 = _norm(8)
        self.squishy = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        """Return the logits (N, 360, T) of harmonic constant-Q spectrograms (N, 6, 360, T)."""
        x = self.bn1(functional.relu(self.bendy1(self.bn0(x))))
        x = self.bn2(functional.relu(self.bendy2(x)))
        x = self.bn3(functional.relu(self.smoothy1(x)))
        x = self.bn4(functional.relu(self.smoothy2(x)))
        x = functional.pad(x, (0, 0, 0, 1))  # 'same' for 70 rows: 34 above and 35 below
        x = self.bn5(functional.relu(self.distribute(x)))
        return self.squishy(x).squeeze(1)


def _norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


TWINS = {"deep_salience": DeepSalience}
