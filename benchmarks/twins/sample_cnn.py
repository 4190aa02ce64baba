"""SampleCNN, a tagger of waveforms: Lee, Park, Kim & Nam, SMC 2017, tables 1 and 2."""

from __future__ import annotations

from torch import nn
from torch.nn import functional


class SampleCNN(nn.Module):
    """The m^n network: frames of `window` samples, then n times convolution and pooling by m."""

    def __init__(self, m=3, n=9, window=None, hop=None, classes=50):
        super().__init__()
        self.m = m
        self.layers = nn.ModuleList([_Layer(1, 128, window or m, hop or m)])
        inputs = 128
        for width in (*[128, 128][: n - 1], *[256] * (n - 3), 512):
            self.layers.append(_Layer(inputs, width, m))
            inputs = width
        self.layers.append(_Layer(inputs, 512, 1))
        self.fc = nn.Linear(512, classes)

    def forward(self, x):
        """Return the logits (N, classes) of waveforms (N, 1, hop * m^n)."""
        first, *modules, last = self.layers
        x = first(x)
        for module in modules:
            x = functional.max_pool1d(module(x), self.m)
        x = functional.dropout(last(x), 0.5, self.training)
        return self.fc(x.flatten(1))


class _Layer(nn.Module):
    """Convolution with TensorFlow's 'same' padding, batch normalisation and ReLU."""

    def __init__(self, inputs, outputs, length, stride=1):
        super().__init__()
        before, self.more_after = divmod(max(length - stride, 0), 2)
        self.conv = nn.Conv1d(inputs, outputs, length, stride, padding=before)
        self.bn = nn.BatchNorm1d(outputs, eps=1e-3, momentum=0.01)

    def forward(self, x):
        if self.more_after:
            x = functional.pad(x, (0, 1))
        return functional.relu(self.bn(self.conv(x)))


TWINS = {"sample_cnn": SampleCNN}
