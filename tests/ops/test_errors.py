"""Every message of the operations: which one, what is wrong in numbers, what would be right."""

import re

import numpy as np
import pytest

import minicnn as mc
from minicnn import nn, ops


def zeros(*shape):
    return mc.Tensor(np.zeros(shape, np.float32))


image, sequence = zeros(8, 3, 32, 32), zeros(8, 3, 32)

wrong_values = [
    (
        lambda: ops.conv2d(image, zeros(6, 4, 5, 5)),
        "conv2d: x has 3 channels but weight takes 4; x is (8, 3, 32, 32), weight is (6, 4, 5, 5)",
    ),
    (
        lambda: ops.conv2d(zeros(1, 3, 9, 9), zeros(4, 2, 3, 3), groups=2),
        "conv2d: x has 3 channels but weight takes 4 (2 in each of 2 groups); "
        "x is (1, 3, 9, 9), weight is (4, 2, 3, 3)",
    ),
    (lambda: ops.conv2d(sequence, zeros(6, 3, 5)), "conv2d: x has 3 axes (8, 3, 32); it takes (N, C, H, W)"),
    (lambda: ops.conv1d(image, zeros(6, 3, 5)), "conv1d: x has 4 axes (8, 3, 32, 32); it takes (N, C, L)"),
    (lambda: ops.conv2d(image, zeros(6, 3, 5)), "conv2d: weight has 3 axes, x has 4; x is"),
    (lambda: ops.conv2d(image, zeros(0, 3, 5, 5)), "conv2d: the weight is empty; x is"),
    (
        lambda: ops.conv2d(image, zeros(6, 3, 5, 5), zeros(5)),
        "conv2d: bias is (5,); 6 output channels take (6,)",
    ),
    (
        lambda: ops.conv2d(image, zeros(5, 1, 5, 5), groups=3),
        "conv2d: groups is 3; it must divide 3 input and 5 output channels",
    ),
    (
        lambda: ops.conv2d(image, zeros(6, 3, 40, 5), padding=((2, 1), (0, 0))),
        "conv2d: a window of 40 does not fit into 32 + padding 3 along height; "
        "size (32, 32), kernel_size (40, 5), dilation (1, 1)",
    ),
    (
        lambda: ops.conv1d(sequence, zeros(6, 3, 12), dilation=3),
        "conv1d: a window of 34 does not fit into 32 + padding 0 along width",
    ),
    (
        lambda: ops.conv2d(image, zeros(6, 3, 5, 5), stride=0),
        "conv2d: stride is 0; it takes a whole number >= 1, or a tuple of 2",
    ),
    (
        lambda: ops.conv1d(sequence, zeros(6, 3, 5), stride=1.5),
        "conv1d: stride is 1.5; it takes a whole number >= 1",
    ),
    (
        lambda: ops.conv2d(image, zeros(6, 3, 5, 5), dilation=(1, 2, 3)),
        "conv2d: dilation is (1, 2, 3); it takes a whole number >= 1, or a tuple of 2",
    ),
    (
        lambda: ops.conv2d(image, zeros(6, 3, 5, 5), padding="full"),
        "conv2d: padding is 'full'; it takes 'same', 'valid', a whole number >= 0, one for each of "
        "2 axes, or a pair (before, after) for each",
    ),
    (lambda: ops.conv2d(image, zeros(6, 3, 5, 5), padding=-1), "conv2d: padding is -1; it takes"),
    (
        lambda: ops.conv_transpose2d(image, zeros(4, 2, 3, 3)),
        "conv_transpose2d: x has 3 channels but weight takes 4; x is",
    ),
    (
        lambda: ops.conv_transpose2d(image, zeros(3, 2, 3, 3), stride=2, output_padding=2),
        "conv_transpose2d: output_padding (2, 2) must be smaller than stride (2, 2) or dilation (1, 1)",
    ),
    (
        lambda: ops.conv_transpose2d(image, zeros(3, 2, 3, 3), padding="same"),
        "conv_transpose2d: padding 'same' has no one inverse; give it in numbers",
    ),
    (
        lambda: ops.conv_transpose1d(zeros(1, 3, 2), zeros(3, 2, 3), padding=2),
        "conv_transpose1d: padding ((2, 2),) leaves an image of (0,); x is (1, 3, 2), weight is",
    ),
    (lambda: ops.max_pool2d(sequence, 2), "max_pool2d: x has 3 axes (8, 3, 32); it takes (N, C, H, W)"),
    (
        lambda: ops.max_pool2d(image, 2, padding=2),
        "max_pool2d: padding ((2, 2), (2, 2)) leaves a window of (2, 2) without any sample of "
        "(32, 32); pad by less than the window",
    ),
    (lambda: ops.avg_pool1d(sequence, 40), "avg_pool1d: a window of 40 does not fit into 32 + padding 0"),
    (lambda: ops.std_pool2d(zeros(1, 1, 0, 4), 2), "std_pool2d: x has no samples to pool; its shape is"),
    (lambda: ops.lp_pool2d(image, 0.5, 2), "lp_pool2d: norm_type is 0.5; it must be 1 or more"),
    (
        lambda: ops.adaptive_avg_pool2d(image, 0),
        "adaptive_avg_pool2d: output_size is 0; it takes a whole number >= 1, or a tuple of 2",
    ),
    (
        lambda: ops.global_avg_pool(zeros(2, 3)),
        "global_avg_pool: x has shape (2, 3); it takes (N, C, L) or (N, C, H, W)",
    ),
    (lambda: ops.global_max_pool(zeros(2, 3, 0)), "global_max_pool: x has no samples to pool"),
    (
        lambda: ops.linear(zeros(2, 3), zeros(5, 4)),
        "linear: x is (2, 3) and weight is (5, 4); weight takes (O, I) with I the last axis of x",
    ),
    (
        lambda: ops.linear(zeros(2, 3), zeros(5, 3), zeros(3)),
        "linear: bias is (3,); 5 outputs take (5,)",
    ),
    (
        lambda: ops.batch_norm(image, zeros(3), zeros(4), training=True),
        "batch_norm: running_variance is (4,); x has 3 channels (8, 3, 32, 32)",
    ),
    (
        lambda: ops.batch_norm(zeros(2, 3, 4), training=True, residual=zeros(2, 3, 5)),
        "batch_norm: residual is (2, 3, 5); x is (2, 3, 4)",
    ),
    (
        lambda: ops.batch_norm(zeros(2, 3, 4), training=True, slope=-1),
        "batch_norm: slope is -1; it takes a number >= 0",
    ),
    (
        lambda: ops.batch_norm(zeros(2, 3, 4), training=True, slope="relu"),
        "batch_norm: slope is 'relu'; it takes a number >= 0",
    ),
    (lambda: ops.batch_norm(zeros(3)), "batch_norm: x has shape (3,); it takes (N, C, ...)"),
    (lambda: ops.batch_norm(image), "batch_norm: evaluation needs running_mean and running_variance"),
    (
        lambda: ops.batch_norm(zeros(1, 3), training=True),
        "batch_norm: 1 value per channel has no variance to train on; x is (1, 3)",
    ),
    (
        lambda: ops.local_response_norm(zeros(3), 5),
        "local_response_norm: x has shape (3,); it takes (N, C, ...)",
    ),
    (lambda: ops.local_response_norm(image, 0), "local_response_norm: size is 0; it takes a whole"),
    (lambda: ops.dropout(image, 1.0), "dropout: p is 1.0; it lies in [0, 1)"),
    (lambda: ops.spatial_dropout(zeros(3)), "spatial_dropout: x has shape (3,); it takes (N, C, ...)"),
    (lambda: ops.gaussian_noise(image, -1), "gaussian_noise: std is -1; it must be 0 or more"),
    (
        lambda: ops.cross_entropy(zeros(4, 3), np.array([0, 1, 2, 3])),
        "cross_entropy: labels run from 0 to 3; 3 classes are 0 to 2",
    ),
    (
        lambda: ops.cross_entropy(zeros(2, 3), np.array([0, -1])),
        "cross_entropy: labels run from -1 to 0; 3 classes are 0 to 2",
    ),
    (
        lambda: ops.cross_entropy(zeros(4, 3), np.array([0, 1])),
        "cross_entropy: class indices have shape (2,); logits (4, 3) take (4,)",
    ),
    (
        lambda: ops.cross_entropy(zeros(4, 3), np.zeros(4)),
        "cross_entropy: a target of float64 (4,) is neither class indices (4,) nor probabilities (4, 3)",
    ),
    (lambda: ops.cross_entropy(zeros(3), np.zeros(3, int)), "cross_entropy: logits have shape (3,)"),
    (
        lambda: ops.cross_entropy(zeros(1, 3), np.zeros(1, int), label_smoothing=2),
        "cross_entropy: label_smoothing is 2; it lies in [0, 1]",
    ),
    (
        lambda: ops.cross_entropy(zeros(0, 3), np.zeros(0, int)),
        "cross_entropy: the batch is empty, so its loss has no mean; shape (0,)",
    ),
    (
        lambda: ops.mse_loss(zeros(3), zeros(3), reduction="average"),
        "mse_loss: reduction is 'average'; it takes 'mean', 'sum' or 'none'",
    ),
    (
        lambda: ops.binary_cross_entropy_with_logits(zeros(3), np.array([0, 0.5, 1.5])),
        "binary_cross_entropy_with_logits: targets run from 0.0 to 1.5; they lie in [0, 1]",
    ),
    (
        lambda: ops.binary_cross_entropy_with_logits(zeros(3), np.zeros(2)),
        "binary_cross_entropy_with_logits: logits have shape (3,), the target (2,)",
    ),
    (
        lambda: ops.binary_cross_entropy_with_logits(zeros(2, 3), np.zeros((2, 3)), pos_weight=[1, 2]),
        "binary_cross_entropy_with_logits: pos_weight (2,) does not broadcast to (2, 3)",
    ),
    (
        lambda: ops.binary_cross_entropy_with_logits(zeros(3), np.zeros(3), weight=np.ones((2, 3))),
        "binary_cross_entropy_with_logits: weight (2, 3) does not broadcast to (3,)",
    ),
    (lambda: ops.mse_loss(zeros(2, 3), zeros(3)), "mse_loss: x has shape (2, 3), the target (3,)"),
    (lambda: ops.huber_loss(zeros(2), zeros(2), delta=0), "huber_loss: delta is 0; it must be positive"),
    (lambda: ops.conv2d(image, zeros(5)), "conv2d: weight has 1 axes, x has 4; x is"),
    (lambda: ops.softmax(image, 5), "softmax: x of shape (8, 3, 32, 32) has no axis 5"),
    (lambda: ops.pad(zeros(2, 3), (1, 1)), "pad: padding is (1, 1); x of shape (2, 3) takes one"),
    (
        lambda: ops.cross_entropy(
            zeros(2, 3), mc.Tensor(np.full((2, 3), 1 / 3), requires_grad=True)
        ),
        "loss: a target or weight requires a gradient; detach() it",
    ),
    (lambda: nn.Conv2d(3, 4, 3, padding=-1), "Conv2d: padding is -1; it takes 'same', 'valid'"),
    (lambda: nn.Conv2d(3, 4, 3, padding="full"), "Conv2d: padding is 'full'; it takes"),
    (
        lambda: ops.stack([zeros(2), zeros(2)], axis=9),
        "stack: tensors of shape (2,) have no place for axis 9",
    ),
    (lambda: ops.concatenate([]), "concatenate: there are no tensors to join"),
    (
        lambda: ops.concatenate([zeros(2, 3), zeros(3, 4)], axis=1),
        "concatenate: shapes (2, 3), (3, 4) differ beside axis 1, the joined one",
    ),
    (lambda: ops.concatenate([zeros(2), zeros(2, 1)]), "concatenate: axis 0 does not join (2,), (2, 1)"),
    (lambda: ops.stack([]), "stack: there are no tensors to join"),
    (lambda: ops.stack([zeros(2), zeros(3)]), "stack: shapes (2,), (3,) differ"),
    (
        lambda: ops.pad(zeros(2, 3), ((1, 1),)),
        "pad: padding is ((1, 1),); x of shape (2, 3) takes one (before, after) >= 0 per axis",
    ),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), "Conv2d: groups is 2; it must divide 3 input and 4 output"),
    (lambda: nn.Conv1d(3, 0, 3), "Conv1d: out_channels is 0; it takes a whole number >= 1"),
    (lambda: nn.Conv2d(3, 4, (3, 0)), "Conv2d: kernel_size is (3, 0); it takes a whole number >= 1"),
    (lambda: nn.Linear(3, -1), "Linear: out_features is -1; it takes a whole number >= 1"),
    (lambda: nn.BatchNorm2d(0), "BatchNorm2d: num_features is 0; it takes a whole number >= 1"),
    (
        lambda: nn.BatchNorm2d(3)(sequence),
        "BatchNorm2d: x has shape (8, 3, 32); it takes 4 axes",
    ),
    (lambda: nn.BatchNorm1d(3)(image), "BatchNorm1d: x has shape (8, 3, 32, 32); it takes 2 axes or 3"),
    (lambda: nn.Dropout2d(1.5), "Dropout2d: p is 1.5; it lies in [0, 1)"),
    (lambda: nn.GaussianNoise(-0.1), "GaussianNoise: std is -0.1; it must be 0 or more"),
    (lambda: nn.Flatten(2)(zeros(2, 3)), "Flatten: x of shape (2, 3) has no axes 2 to -1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "message"),
    wrong_values,
    ids=[message.split(";")[0][:60] for _, message in wrong_values],
)
def test_wrong_values_are_refused_with_the_numbers(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


double = mc.Tensor(np.zeros((8, 3, 32, 32)))
whole = mc.Tensor(np.zeros((8, 3), int))

wrong_dtypes = [
    (
        lambda: ops.conv2d(double, zeros(6, 3, 5, 5)),
        "conv2d: x is float64, weight is float32; all must be float32 or all float64",
    ),
    (lambda: ops.relu(whole), "relu: x is int64; all must be float32 or all float64"),
    (lambda: ops.linear(whole, zeros(4, 3)), "linear: x is int64, weight is float32; all must be"),
    (
        lambda: ops.cross_entropy(whole, np.zeros(8, int)),
        "cross_entropy: logits is int64; all must be float32 or all float64",
    ),
    (lambda: nn.BatchNorm2d(3)(double), "batch_norm: x is float64, running_mean is float32"),
]


@pytest.mark.parametrize(
    ("call", "message"), wrong_dtypes, ids=[message.split(";")[0] for _, message in wrong_dtypes]
)
def test_wrong_dtypes_are_refused_by_name(call, message):
    with pytest.raises(TypeError, match=re.escape(message)):
        call()


def test_half_precision_is_not_taken():
    with pytest.raises(TypeError, match="relu: x is float16; all must be float32 or all float64"):
        ops.relu(mc.Tensor(np.zeros(2, np.float16)))
