"""AlexNet: Krizhevsky, Sutskever & Hinton, NIPS 2012; Krizhevsky, arXiv:1404.5997, 2014."""

from __future__ import annotations

from torch import nn
from torch.nn import functional


class AlexNet(nn.Module):
    """The network of 2012, with the two halves of its GPUs as groups."""

    def __init__(self, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = nn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = nn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = nn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = nn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6 = nn.Linear(256 * 6 * 6, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.fc8 = nn.Linear(4096, classes)

    def forward(self, x):
        """Return the logits (N, classes) of images (N, 3, 227, 227)."""
        x = functional.max_pool2d(_normalised(functional.relu(self.conv1(x))), 3, 2)
        x = functional.max_pool2d(_normalised(functional.relu(self.conv2(x))), 3, 2)
        x = functional.relu(self.conv3(x))
        x = functional.relu(self.conv4(x))
        x = functional.max_pool2d(functional.relu(self.conv5(x)), 3, 2).flatten(1)
        x = functional.dropout(functional.relu(self.fc6(x)), 0.5, self.training)
        x = functional.dropout(functional.relu(self.fc7(x)), 0.5, self.training)
        return self.fc8(x)


class OneTowerAlexNet(nn.Module):
    """The network of 2014: one tower and no normalisation."""

    def __init__(self, classes):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(0.5),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, classes),
        )

    def forward(self, x):
        """Return the logits (N, classes) of images (N, 3, 224, 224)."""
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _normalised(x):
    # PyTorch divides alpha by the size; the paper does not.
    return functional.local_response_norm(x, size=5, alpha=5e-4, beta=0.75, k=2)


def build(variant="paper", classes=1000):
    """Build the twin of `minicnn.models.alexnet`."""
    return {"paper": AlexNet, "torchvision": OneTowerAlexNet}[variant](classes)


TWINS = {"alexnet": build}
