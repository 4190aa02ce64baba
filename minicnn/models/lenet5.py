"""LeNet-5, which reads handwritten characters.

LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 1998, section II.B and figure 2. The input is a 32x32 image, the
character in its middle 20x20, background -0.1 and ink 1.175.

Deviations of the paper's variant: the paper prints its 7x12 bitmaps as a picture only, so those
below are drawn anew; and it trains with a stochastic diagonal Levenberg-Marquardt method, where
any optimiser of `minicnn.optim` may be used here.
"""

from __future__ import annotations

import functools

import numpy as np

from minicnn import kernels, nn, ops
from minicnn.autograd import Tensor
from minicnn.nn import init
from minicnn.ops import arguments
from minicnn.rng import generator

# Table I: the maps of S2 that each map of C3 is connected to.
CONNECTIONS = (
    (0, 1, 2),
    (1, 2, 3),
    (2, 3, 4),
    (3, 4, 5),
    (0, 4, 5),
    (0, 1, 5),
    (0, 1, 2, 3),
    (1, 2, 3, 4),
    (2, 3, 4, 5),
    (0, 3, 4, 5),
    (0, 1, 4, 5),
    (0, 1, 2, 5),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)

# What F6 should show for each digit, 7 wide and 12 high: ink is 1, background -1.
BITMAPS = """
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
..###..  ...#...  .#####.  .#####.  .....#.  #######  ..####.  #######  .#####.  .#####.
.#...#.  ..##...  #.....#  #.....#  ....##.  #......  .#.....  ......#  #.....#  #.....#
#.....#  .#.#...  ......#  ......#  ...#.#.  #......  #......  .....#.  #.....#  #.....#
#.....#  ...#...  ......#  ......#  ..#..#.  #......  #......  .....#.  #.....#  #.....#
#.....#  ...#...  .....#.  ..####.  .#...#.  ######.  #.####.  ....#..  .#####.  .######
#.....#  ...#...  ...##..  ......#  #....#.  ......#  ##....#  ....#..  #.....#  ......#
#.....#  ...#...  ..#....  ......#  #######  ......#  #.....#  ...#...  #.....#  ......#
#.....#  ...#...  .#.....  ......#  .....#.  ......#  #.....#  ...#...  #.....#  ......#
.#...#.  ...#...  #......  #.....#  .....#.  #.....#  #.....#  ..#....  #.....#  .....#.
..###..  .#####.  #######  .#####.  .....#.  .#####.  .#####.  ..#....  .#####.  .####..
.......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""


class LeNet5(nn.Network):
    """The network of 1998, with 60,000 trainable parameters.

    Parameters
    ----------
    rng : int, Generator or None
        Draws every weight from U(-2.4 / F, 2.4 / F), F the fan-in of its unit (appendix A).
    """

    input_shape = (1, 32, 32)
    background, ink = -0.1, 1.175

    def __init__(self, *, rng=None):
        rng = generator(rng)
        self.C1 = nn.Conv2d(1, 6, 5, **_within(2.4 / 25), rng=rng)
        self.S2 = Subsampling(6, rng=rng)
        self.C3 = PartialConv2d(CONNECTIONS, 5, rng=rng)
        self.S4 = Subsampling(16, rng=rng)
        self.C5 = nn.Conv2d(16, 120, 5, **_within(2.4 / (16 * 25)), rng=rng)
        self.F6 = nn.Linear(120, 84, **_within(2.4 / 120), rng=rng)
        self.OUT = EuclideanRBF(digit_bitmaps())
        self.activation = nn.ScaledTanh()

    def forward(self, x):  # (N, 1, 32, 32)
        x = self.activation(self.C1(x))  # (N, 6, 28, 28)
        x = self.activation(self.S2(x))  # (N, 6, 14, 14)
        x = self.activation(self.C3(x))  # (N, 16, 10, 10)
        x = self.activation(self.S4(x))  # (N, 16, 5, 5)
        x = self.activation(self.C5(x))  # (N, 120, 1, 1)
        x = self.activation(self.F6(x.reshape(len(x), 120)))  # (N, 84)
        return -self.OUT(x)  # (N, 10): the nearer the bitmap, the larger the logit


class Subsampling(nn.Module):
    """Add up each 2x2 window, scale it and shift it: one weight and one bias per map.

    Parameters
    ----------
    maps : int
    rng : int, Generator or None
    """

    def __init__(self, maps: int, *, rng=None):
        self.weight = nn.Parameter(init.uniform((maps,), 2.4 / 4, rng=rng))
        self.bias = nn.Parameter(init.uniform((maps,), 2.4 / 4, rng=rng))

    def forward(self, x):  # (N, C, H, W) to (N, C, H / 2, W / 2)
        total = 4 * ops.avg_pool2d(x, 2)
        return total * self.weight.reshape(-1, 1, 1) + self.bias.reshape(-1, 1, 1)


class PartialConv2d(nn.Module):
    """A convolution in which each output map sees only some of the input maps.

    Parameters
    ----------
    connections : one tuple per output map
        The input maps that it is connected to; the weight has one kernel for each of them.
    kernel_size : int [samples]
    rng : int, Generator or None
    """

    def __init__(self, connections, kernel_size: int, *, rng=None):
        fan_in = np.array([len(inputs) * kernel_size**2 for inputs in connections])
        per_kernel = np.repeat(fan_in, [len(inputs) for inputs in connections]).reshape(-1, 1, 1)
        shape = (len(per_kernel), kernel_size, kernel_size)
        self.weight = nn.Parameter(init.uniform(shape, 2.4 / per_kernel, rng=rng))
        self.bias = nn.Parameter(init.uniform(fan_in.shape, 2.4 / fan_in, rng=rng))
        # For each pair of maps the kernel that connects it, or the kernel of zeros after the last.
        kernel_of = np.full((len(connections), 1 + max(map(max, connections))), len(per_kernel))
        pairs = [(o, i) for o, inputs in enumerate(connections) for i in inputs]
        kernel_of[tuple(np.transpose(pairs))] = np.arange(len(pairs))
        self.kernel_of = kernel_of

    def forward(self, x):
        weight = ops.pad(self.weight, ((0, 1), (0, 0), (0, 0)))
        return ops.conv2d(x, weight[self._kernel_of_for(x.data)], self.bias)

    def _kernel_of_for(self, array):
        """Return `kernel_of` on the device of an array, where it is copied to once."""
        if type(self.kernel_of) is not type(array):
            self.kernel_of = np.asarray(kernels.to(self.kernel_of, "cpu"), like=array)
        return self.kernel_of


class EuclideanRBF(nn.Module):
    """Return the squared distance between x (N, I) and each row of fixed centres (O, I): (N, O)."""

    def __init__(self, centres: np.ndarray):
        self.weight = nn.Buffer(centres.astype(np.float32))

    def forward(self, x):
        difference = x.reshape(len(x), 1, self.weight.shape[1]) - self.weight
        return (difference * difference).sum(axis=-1)


class ModernLeNet5(nn.Network):
    """LeNet-5 as it is usually built today, with 61,706 parameters.

    Every map of C3 sees every map of S2, the subsampling takes the maximum, the nonlinearity is
    the ReLU and the output a plain linear layer.

    Parameters
    ----------
    classes : int
    rng : int, Generator or None
    """

    input_shape = LeNet5.input_shape
    background, ink = LeNet5.background, LeNet5.ink

    def __init__(self, *, classes: int = 10, rng=None):
        rng = generator(rng)
        self.C1 = nn.Conv2d(1, 6, 5, rng=rng)
        self.C3 = nn.Conv2d(6, 16, 5, rng=rng)
        self.C5 = nn.Conv2d(16, 120, 5, rng=rng)
        self.F6 = nn.Linear(120, 84, rng=rng)
        self.OUT = nn.Linear(84, classes, rng=rng)
        self.S2, self.S4 = nn.MaxPool2d(2), nn.MaxPool2d(2)
        self.activation = nn.ReLU()

    def forward(self, x):  # (N, 1, 32, 32)
        x = self.S2(self.activation(self.C1(x)))  # (N, 6, 14, 14)
        x = self.S4(self.activation(self.C3(x)))  # (N, 16, 5, 5)
        x = self.activation(self.C5(x))  # (N, 120, 1, 1)
        x = self.activation(self.F6(x.reshape(len(x), 120)))  # (N, 84)
        return self.OUT(x)  # (N, 10)


def map_loss(logits, labels, *, j: float = 1.0) -> Tensor:
    """Return the maximum a posteriori criterion of the paper, its equation 9.

    E = y_D + log(exp(-j) + sum_i exp(-y_i)), averaged over the batch: the distance y_D of the right
    class falls, and the others rise until they are about as far away as a rubbish class at j.

    Parameters
    ----------
    logits : Tensor, shape (N, 10)
        The negative distances -y that `LeNet5` returns.
    labels : int array, shape (N,)
    j : float
        The distance of the rubbish class; the paper only says that it is positive.

    Returns
    -------
    Tensor, shape ()

    Raises
    ------
    ValueError
        If a label is out of range.
    """
    classes = logits.shape[1]
    # Otherwise the index of the rubbish class would pass for a label.
    lowest, highest = arguments.extremes(labels)
    if highest >= classes:
        raise ValueError(
            f"map_loss: labels run from {lowest} to {highest}; "
            f"{classes} classes are 0 to {classes - 1}"
        )
    rubbish = np.full_like(logits.data, -j, shape=(len(logits), 1))
    return ops.cross_entropy(ops.concatenate([logits, rubbish], axis=1), labels)


def digit_bitmaps() -> np.ndarray:
    """Return the targets of F6: one row of 84 pixels per digit, 1 for ink and -1 for background."""
    lines = [line.split() for line in BITMAPS.split("\n") if line]
    digits = ["".join(rows) for rows in zip(*lines, strict=True)]
    return np.array([[1 if pixel == "#" else -1 for pixel in digit] for digit in digits])


def build(variant: str = "paper", *, rng=None) -> nn.Network:
    """Build LeNet-5.

    Parameters
    ----------
    variant : "paper" or "modern"
    rng : int, Generator or None
        Draws the weights.

    Raises
    ------
    ValueError
        If the variant is neither of the two.
    """
    variants = {"paper": LeNet5, "modern": ModernLeNet5}
    return arguments.choice("lenet5", "variant", variant, variants)(rng=rng)


def _within(bound):
    """Return how a layer draws weight and bias: uniformly, up to this bound."""
    uniform = functools.partial(init.uniform, bound=bound)
    return dict(weight_init=uniform, bias_init=uniform)


MODELS = {"lenet5": build}
