"""Likely mistakes are explained: each with the message that it gives, by heart or by accident.

The table is what `docs/mistakes.md` shows; `python -m tests.reliability.test_mistakes` writes it.
A row says what was done wrong, in words and in code, and what minicnn answers; `…` stands for what
is left out. An answer that is a UserWarning lets the work go on, since it may have been meant.
"""

import builtins
import contextlib
import pickle
import re
import types
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import minicnn as mc
from minicnn import audio, data, images, kernels, models, nn, ops, optim

PROMISE = "mistakes are explained"
MINUTES = 1

DOCUMENT = Path(__file__).parents[2] / "docs" / "mistakes.md"


class Mistake(NamedTuple):
    what: str
    code: str
    answer: str


TABLE = {
    "Shapes": [
        Mistake(
            "images with channels last",
            "model(noise(8, 32, 32, 1))",
            "ValueError: ModernLeNet5: x is (8, 32, 32, 1); it takes (N, 1, 32, 32)",
        ),
        Mistake(
            "images with channels last, in a layer",
            "nn.Conv2d(3, 8, 3)(noise(8, 32, 32, 3))",
            "ValueError: conv2d: x has 32 channels but weight takes 3; x is (8, 32, 32, 3)",
        ),
        Mistake(
            "sequences with channels last",
            "nn.Conv1d(1, 4, 9)(noise(2, 1000, 1))",
            "ValueError: conv1d: x has 1000 channels but weight takes 1; x is (2, 1000, 1)",
        ),
        Mistake(
            "no batch axis",
            "mc.predict(model, noise(1, 32, 32))",
            "ValueError: ModernLeNet5: x is (1, 32, 32); it takes (N, 1, 32, 32)",
        ),
        Mistake(
            "no channel axis",
            "model(noise(8, 32, 32))",
            "ValueError: ModernLeNet5: x is (8, 32, 32); it takes (N, 1, 32, 32)",
        ),
        Mistake(
            "no batch axis, in a layer",
            "nn.Conv2d(1, 4, 3)(noise(1, 28, 28))",
            "ValueError: conv2d: x has 3 axes (1, 28, 28); it takes (N, C, H, W)",
        ),
        Mistake(
            "nn.Flatten forgotten before nn.Linear",
            "nn.Sequential(nn.Conv2d(1, 4, 3), nn.Linear(2704, 10))(noise(2, 1, 28, 28))",
            "ValueError: linear: x is (2, 4, 26, 26) and weight is (10, 2704); weight takes (O, I) "
            "with I the last axis of x",
        ),
        Mistake(
            "a kernel larger than the padded input",
            "nn.Conv2d(1, 2, 7, padding=((0, 1), (0, 1)))(noise(1, 1, 5, 5))",
            "ValueError: conv2d: a window of 7 does not fit into 5 + padding 1 along height",
        ),
        Mistake(
            "matrices that do not multiply",
            "mc.Tensor(noise(3, 4)) @ mc.Tensor(noise(3, 4))",
            "ValueError: matmul: (3, 4) @ (3, 4): the last axis of the first has 4, and the last "
            "but one of the second 3; they must be equal",
        ),
        Mistake(
            "a spectrogram with time first",
            "models.mel_cnn_1d()(noise(1, 1, 187, 96))",
            "ValueError: MelCNN1d: x is (1, 1, 187, 96); it takes (N, 1, 96, 187)",
        ),
        Mistake(
            "samples for a network of spectrograms",
            "models.mel_cnn_1d()(noise(1, 1, 48_000))",
            "ValueError: MelCNN1d: x is (1, 1, 48000); it takes (N, 1, 96, 187)",
        ),
        Mistake(
            "the batch axis in the shape of one sample",
            "mc.summary(model, (2, 1, 32, 32))",
            "ValueError: ModernLeNet5: x is (1, 2, 1, 32, 32); it takes (N, 1, 32, 32)",
        ),
    ],
    "Dtypes and devices": [
        Mistake(
            "float64 arrays for a float32 model",
            "model(np.zeros((2, 1, 32, 32)))",
            "TypeError: ModernLeNet5: x is (2, 1, 32, 32) of float64; its weights are float32",
        ),
        Mistake(
            "images of whole numbers",
            "model(np.zeros((2, 1, 32, 32), np.uint8))",
            "TypeError: ModernLeNet5: x is (2, 1, 32, 32) of uint8; … it takes … of float32",
        ),
        Mistake(
            "a gradient for whole numbers",
            "mc.Tensor([1, 2, 3], requires_grad=True)",
            "TypeError: Tensor: int64 values have no gradient; use float32 or float64",
        ),
        Mistake(
            "the GPU, where there is none",
            'model.to("cuda")',
            "NoGPUError: device 'cuda' needs …",
        ),
        Mistake(
            "PyTorch's names of devices",
            'model.to("cuda:0")',
            "ValueError: to: 'cuda:0' is none of 'cpu', 'cuda', float32 and float64",
        ),
        Mistake(
            "a model on the GPU and a batch that is not",
            "kernels.of(noise(2, 3), array_of_cupy)",
            "TypeError: kernels: arrays of different devices (numpy, cupy); move the model or the "
            "batch",
        ),
    ],
    "Losses and labels": [
        Mistake(
            "softmax before a loss that has its own",
            "ops.cross_entropy(ops.softmax(logits), [0, 1, 2, 0])",
            "UserWarning: cross_entropy: the logits come from softmax, and the loss has its own "
            "softmax; leave softmax out where the loss is computed",
        ),
        Mistake(
            "sigmoid before a loss that has its own",
            "ops.binary_cross_entropy_with_logits(ops.sigmoid(logits).reshape(12), np.ones(12))",
            "UserWarning: binary_cross_entropy_with_logits: the logits come from sigmoid, and the "
            "loss has its own sigmoid",
        ),
        Mistake(
            "one-hot labels of whole numbers",
            "ops.cross_entropy(logits, np.eye(3, dtype=int)[[0, 1, 2, 0]])",
            "ValueError: cross_entropy: class indices have shape (4, 3); logits (4, 3) take (4,); "
            "of one-hot rows, target.argmax(1) is the indices",
        ),
        Mistake(
            "labels of floats",
            "ops.cross_entropy(logits, np.array([0.0, 1.0, 2.0, 0.0]))",
            "ValueError: cross_entropy: a target of float64 (4,) is neither class indices (4,) nor "
            "probabilities (4, 3); indices are of an integer dtype",
        ),
        Mistake(
            "labels that count from 1",
            "ops.cross_entropy(logits, [1, 2, 3, 1])",
            "ValueError: cross_entropy: labels run from 1 to 3; 3 classes are 0 to 2",
        ),
        Mistake(
            "PyTorch's label for what is left out, -100",
            "ops.cross_entropy(logits, [1, 2, -100, 1])",
            "ValueError: cross_entropy: labels run from -100 to 2; 3 classes are 0 to 2",
        ),
        Mistake(
            "labels in a column",
            "ops.cross_entropy(logits, [[0], [1], [2], [0]])",
            "ValueError: cross_entropy: class indices have shape (4, 1); logits (4, 3) take (4,)",
        ),
        Mistake(
            "class indices where each class has a target of its own",
            "ops.binary_cross_entropy_with_logits(logits, [0, 1, 2, 0])",
            "ValueError: binary_cross_entropy_with_logits: logits have shape (4, 3), the "
            "target (4,)",
        ),
        Mistake(
            "targets from 0 to 255",
            "ops.binary_cross_entropy_with_logits(logits, np.full((4, 3), 255))",
            "ValueError: …: targets run from 255.0 to 255.0; they lie in [0, 1]",
        ),
        Mistake(
            "shapes that NumPy would broadcast to a wrong loss",
            "ops.mse_loss(noise(4, 1), noise(4))",
            "ValueError: mse_loss: x has shape (4, 1), the target (4,)",
        ),
    ],
    "Gradients": [
        Mistake(
            "backward twice",
            "loss = logits.sum(); loss.backward(); loss.backward()",
            "RuntimeError: backward: the tape was already swept at 'sum'; run the forward pass "
            "again",
        ),
        Mistake(
            "backward on more than one number",
            "(logits * logits).backward()",
            "ValueError: backward: a tensor of shape (4, 3) needs a gradient of that shape, or "
            "make "
            "one number of it by mean() or sum()",
        ),
        Mistake(
            "backward on what was computed inside no_grad",
            "mc.no_grad()(model)(noise(2, 1, 32, 32)).sum().backward()",
            "RuntimeError: backward: nothing that this tensor was computed from requires a "
            "gradient; "
            "inside no_grad, and through detach() or numpy(), nothing is recorded",
        ),
        Mistake(
            "a value assigned in place",
            "logits[0] = 0",
            "TypeError: Tensor: the tape cannot follow values that are assigned; compute a new "
            "tensor",
        ),
        Mistake(
            "tensors compared as if they were numbers",
            "if logits == logits: pass",
            "ValueError: Tensor: one of shape (4, 3) is neither true nor false; == and < compare "
            "each element",
        ),
        Mistake(
            "a number asked of many",
            "float(logits)",
            "ValueError: Tensor: one of shape (4, 3) is not one number; mean() or sum() makes one",
        ),
        Mistake(
            "PyTorch's methods",
            "logits.view(-1)",
            "AttributeError: Tensor: there is no 'view'; reshape does that",
        ),
        Mistake(
            "PyTorch's modules for losses",
            "nn.CrossEntropyLoss()",
            "AttributeError: minicnn.nn: there is no 'CrossEntropyLoss'; losses are functions: "
            "ops.cross_entropy(logits, labels)",
        ),
    ],
    "Optimisers": [
        Mistake(
            "zero_grad forgotten",
            "for _ in range(2): model(noise(2, 1, 32, 32)).sum().backward(); sgd.step()",
            "UserWarning: SGD: step found the gradients of the last step again, with newer ones "
            "added if there were any; call zero_grad() before each backward()",
        ),
        Mistake(
            "step without backward",
            "sgd.step()",
            "UserWarning: SGD: none of 10 parameters has a gradient, so step changes nothing; call "
            "backward() on a loss of the model that has these parameters",
        ),
        Mistake(
            "parameters of another model",
            "mc.fit(line, batches, ops.mse_loss, sgd, epochs=1, progress=False)",
            "UserWarning: fit: none of the 10 parameters of the optimizer is one of this "
            "model; make "
            "it from model.parameters()",
        ),
        Mistake(
            "an iterator of parameters that is used up",
            "found = model.parameters(); count = len(list(found)); optim.Adam(found)",
            "ValueError: Adam: there are no parameters to optimise; what model.parameters() "
            "returns "
            "can be used once",
        ),
        Mistake(
            "the model for its parameters",
            "optim.SGD(model, lr=0.1)",
            "TypeError: SGD: params is a ModernLeNet5; it takes what a model's parameters() "
            "returns",
        ),
        Mistake(
            "() forgotten after parameters",
            "optim.SGD(model.parameters, lr=0.1)",
            "TypeError: SGD: params is a method; it takes what a model's parameters() returns",
        ),
        Mistake(
            "named_parameters for parameters",
            "optim.SGD(model.named_parameters(), lr=0.1)",
            "TypeError: SGD: every parameter must be a Tensor, …; there is tuple, and "
            "model.parameters() yields what is needed",
        ),
        Mistake(
            "a learning rate that was read as text",
            'optim.SGD(model.parameters(), lr="0.1")',
            "ValueError: SGD: lr is '0.1'; it must be 0 or more",
        ),
    ],
    "Layers and models": [
        Mistake(
            "evaluation mode forgotten",
            "with mc.no_grad(): nn.Sequential(nn.Linear(3, 2), nn.Dropout())(noise(4, 3))",
            "UserWarning: Dropout: it is in training mode inside no_grad, where nothing is "
            "trained; "
            "call model.eval() before predictions, or use mc.predict",
        ),
        Mistake(
            "evaluation mode forgotten, for one sample",
            "nn.BatchNorm1d(3)(noise(1, 3))",
            "ValueError: batch_norm: 1 value per channel has no variance to train on; x is (1, 3); "
            "train on larger batches, or predict after model.eval()",
        ),
        Mistake(
            "() forgotten after a layer",
            "nn.Sequential(nn.Linear(3, 2), nn.ReLU)",
            "TypeError: Sequential: entry 1 is the class ReLU without (), not a Module",
        ),
        Mistake(
            "layers in a list",
            "nn.Sequential([nn.Linear(3, 2), nn.ReLU()])",
            "TypeError: Sequential: entry 0 is list, not a Module; it takes modules one by one",
        ),
        Mistake(
            "groups that do not divide the channels",
            "nn.Conv2d(3, 4, 3, groups=2)",
            "ValueError: Conv2d: groups is 2; it must divide 3 input and 4 output channels",
        ),
        Mistake(
            "negative padding",
            "nn.Conv2d(3, 4, 3, padding=-1)",
            "ValueError: Conv2d: padding is -1; it takes 'same', 'valid', a whole number >= 0",
        ),
        Mistake(
            "a width that makes no whole numbers of channels",
            "models.vgg16(width=0.3)",
            "ValueError: vgg16: width is 0.3; it takes a multiple of 1/64 above 0",
        ),
        Mistake(
            "the name of a model that does not exist",
            'models.create("ResNet-18")',
            "ValueError: create: there is no model 'ResNet-18' (did you mean resnet18",
        ),
        Mistake(
            "a variant that does not exist",
            'models.lenet5(variant="moden")',
            "ValueError: lenet5: variant is 'moden'; it takes 'paper' or 'modern'",
        ),
    ],
    "Files of weights": [
        Mistake(
            "weights of a network with other outputs",
            "line.load_state_dict(nn.Linear(3, 4).state_dict())",
            "ValueError: load_state_dict: Linear: weight is (2, 3) here and (4, 3) in the "
            "state; bias "
            "is (2,) here and (4,) in the state",
        ),
        Mistake(
            "weights of another network",
            "line.load_state_dict(nn.BatchNorm1d(3).state_dict())",
            "ValueError: load_state_dict: Linear: unexpected running_mean; …; weight is (2, 3) "
            "here "
            "and (3,) in the state",
        ),
        Mistake(
            "weights of a wrapped model",
            'line.load_state_dict({f"module.{k}": v for k, v in line.state_dict().items()})',
            "ValueError: load_state_dict: Linear: missing weight; …; every name begins with "
            '"module."; leave that out',
        ),
        Mistake(
            "a checkpoint that holds weights among other things",
            'line.load_state_dict({"model": line.state_dict(), "epoch": 3})',
            "ValueError: load_state_dict: Linear: missing weight; …; 'model' is itself a mapping; "
            "load state['model']",
        ),
        Mistake(
            "a path for the weights in it",
            'line.load_state_dict("best.safetensors")',
            "TypeError: load_state_dict: Linear: the state is a str; it takes names and arrays, as "
            "model.state_dict() or mc.load(path) returns them",
        ),
        Mistake(
            "a model saved itself",
            'mc.save("model.safetensors", line)',
            "TypeError: save: the state is a Linear; it takes a path, then names and arrays: "
            "save(path, model.state_dict())",
        ),
        Mistake(
            "PyTorch's checkpoint for ours",
            'mc.load("weights.pt")',
            "ValueError: load: 'weights.pt' (… bytes) is no whole safetensors file …: it is a "
            "checkpoint of PyTorch, which mc.load_torch reads",
        ),
        Mistake(
            "our file for PyTorch's checkpoint",
            'mc.save("a.safetensors", line.state_dict()); mc.load_torch("a.safetensors")',
            "ValueError: load_torch: 'a.safetensors' (… bytes) is no zip archive as torch.save "
            "writes it: …; mc.load reads safetensors",
        ),
        Mistake(
            "a pickle",
            'mc.load("weights.pkl")',
            "ValueError: load: 'weights.pkl' …: it is a pickle, which may run what it likes, so it "
            "is not opened",
        ),
        Mistake(
            "NumPy's archive",
            'mc.load("weights.npz")',
            "ValueError: load: 'weights.npz' …: it is an archive of NumPy, which np.load reads",
        ),
        Mistake(
            "a folder for a file",
            'mc.load("music")',
            "FileNotFoundError: load: there is no file 'music', it is a folder",
        ),
        Mistake(
            "a path that does not exist",
            'mc.load("no.safetensors")',
            "FileNotFoundError: load: there is no file 'no.safetensors'",
        ),
    ],
    "Data": [
        Mistake(
            "an empty data set",
            "fit(data.DataLoader(data.ArrayDataset(noise(0, 3), noise(0, 2)), 2))",
            "ValueError: fit: train yields no batches in epoch 1",
        ),
        Mistake(
            "a batch size of 0",
            "data.DataLoader(samples, 0)",
            "ValueError: DataLoader: batch_size is 0; it must be a whole number >= 1",
        ),
        Mistake(
            "fewer samples than a batch, and drop_last",
            "data.DataLoader(samples, 8, drop_last=True)",
            "ValueError: DataLoader: drop_last leaves no batch: there are 4 samples for one of 8",
        ),
        Mistake(
            "more images than labels",
            "data.ArrayDataset(noise(4, 3), noise(3))",
            "ValueError: ArrayDataset: arrays of lengths [4, 3] are not one set of samples",
        ),
        Mistake(
            "a generator for a data set",
            "data.DataLoader((x for x in noise(4, 3)), 2)",
            "TypeError: DataLoader: the dataset is a generator; it takes what has a length, and "
            "returns a sample for an index",
        ),
        Mistake(
            "samples of several shapes",
            "list(data.DataLoader([(noise(3), 0), (noise(4), 1)], 2))",
            "ValueError: DataLoader: sample 1 has shapes [(4,), ()], sample 0 [(3,), ()]; all "
            "samples "
            "of a batch take arrays of the same shapes",
        ),
        Mistake(
            "a data set without a loader",
            "fit(samples)",
            "TypeError: fit: train is a ArrayDataset, which yields samples; it takes batches: "
            "DataLoader(dataset, batch_size)",
        ),
        Mistake(
            "arrays for batches",
            "fit((noise(4, 3), noise(4, 2)))",
            "TypeError: fit and evaluate: a batch is a ndarray of 4; it takes a tuple of arrays, "
            "inputs and target",
        ),
        Mistake(
            "batches that are dicts",
            'fit([{"x": noise(4, 3), "y": noise(4, 2)}])',
            "TypeError: fit and evaluate: a batch is a dict of 2; it takes a tuple of arrays",
        ),
        Mistake(
            "a loader for arrays",
            "mc.predict(line, data.DataLoader(samples, 2))",
            "TypeError: predict: inputs are DataLoader; it takes arrays with a batch axis, and "
            "evaluate takes batches",
        ),
        Mistake(
            "images without a folder for each class",
            'images.ImageFolder("music", 32)',
            "ValueError: ImageFolder: 'music' has 0 folders; it takes one of images for each "
            "of two "
            "classes or more",
        ),
    ],
    "Training": [
        Mistake(
            "a generator for two epochs",
            "fit((batch for batch in batches), epochs=2)",
            "ValueError: fit: train yields no batches in epoch 2; a generator can be used for one "
            "epoch only",
        ),
        Mistake(
            "a generator for validation",
            "fit(valid=(batch for batch in batches), epochs=2)",
            "ValueError: evaluate: there are no batches; a generator yields its own only once",
        ),
        Mistake(
            "an entry to monitor that does not exist",
            'fit(valid=batches, monitor="val_loss")',
            "ValueError: fit: monitor 'val_loss' is not among lr_factor, seconds, train_loss, "
            "valid_loss",
        ),
        Mistake(
            "an accuracy that is to be small",
            'fit(valid=batches, metrics={"accuracy": accuracy}, monitor="valid_accuracy")',
            "UserWarning: fit: monitor is 'valid_accuracy' and mode 'min', so the epoch where "
            "it is "
            "smallest counts as best; mode 'max' takes the largest",
        ),
        Mistake(
            "metrics by name",
            'fit(valid=batches, metrics=["accuracy"])',
            "TypeError: fit: metrics is ['accuracy']; it takes a dict of functions",
        ),
        Mistake(
            "a metric for each sample",
            'fit(valid=batches, metrics={"error": lambda y, t: abs(y - t)})',
            "ValueError: evaluate: metric 'error' returns an array of shape (4, 2); it takes one "
            "number",
        ),
        Mistake(
            "metrics without validation",
            'fit(metrics={"accuracy": accuracy})',
            "ValueError: fit: metrics need valid",
        ),
        Mistake(
            "a loss by name",
            'fit(loss="mse")',
            "TypeError: fit: loss is 'mse'; it takes a function",
        ),
        Mistake(
            "a loss for each sample",
            'fit(loss=lambda y, t: ops.mse_loss(y, t, reduction="none"))',
            "TypeError: fit: loss returns a Tensor of shape (4, 2); it takes a Tensor of one "
            "number",
        ),
        Mistake(
            "a loss that is no longer a tensor",
            "fit(loss=lambda y, t: float(ops.mse_loss(y, t)))",
            "TypeError: fit: loss returns a float …; it takes a Tensor of one number",
        ),
        Mistake(
            "() forgotten after a model",
            "mc.fit(models.lenet5, batches, ops.mse_loss, sgd, epochs=1)",
            "TypeError: fit: model is … itself, not called; it takes an object of Module",
        ),
        Mistake(
            "a learning rate that is far too large",
            "fit(optimizer=optim.SGD(line.parameters(), lr=1e30), epochs=9)",
            "FloatingPointError: fit: the loss is inf at epoch 2, step 1; a smaller learning "
            "rate or "
            "max_grad_norm may help",
        ),
        Mistake(
            "resume without a checkpoint",
            "fit(resume=True)",
            "ValueError: fit: resume is True; it takes checkpoint, the folder to go on in",
        ),
        Mistake(
            "a checkpoint folder that holds another run",
            'fit(checkpoint="run"); fit(checkpoint="run")',
            "FileExistsError: fit: 'run' already holds last.safetensors, log.jsonl; pass "
            "resume=True "
            "to go on with that run, or another folder",
        ),
        Mistake(
            "a file for the checkpoint folder",
            'fit(checkpoint="song.wav")',
            "NotADirectoryError: fit: checkpoint is 'song.wav', which is a file; it takes a folder",
        ),
        Mistake(
            "resume with another optimiser",
            'fit(checkpoint="run"); adam = optim.Adam(line.parameters())\n'
            'fit(optimizer=adam, checkpoint="run", resume=True)',
            "ValueError: fit: 'run/last.safetensors' has optimizer 'SGD', this run 'Adam'",
        ),
    ],
    "Sound": [
        Mistake(
            "samples without their rate",
            "audio.features(crepe, noise(16_000))",
            "ValueError: features: samples need a sample_rate",
        ),
        Mistake(
            "a rate that is not the file's",
            'audio.windows.predict(crepe, "song.wav", 44_100)',
            "ValueError: windows: 'song.wav' has 16000 Hz; sample_rate is 44100",
        ),
        Mistake(
            "a rate in kHz",
            "audio.features(crepe, noise(100), 16)",
            "UserWarning: features: sample_rate is 16 Hz, where no music is left; it takes Hz, not "
            "kHz",
        ),
        Mistake(
            "two channels",
            "audio.features(crepe, noise(16_000, 2), 16_000)",
            "ValueError: samples have shape (16000, 2); one channel is taken, (n,): mix others by "
            "mono",
        ),
        Mistake(
            "whole numbers of 16 bits",
            "audio.features(crepe, np.zeros(16_000, np.int16), 16_000)",
            "TypeError: samples are int16; floats are taken, with full scale at 1",
        ),
        Mistake(
            "16 bits made floats, but not scaled",
            "audio.features(crepe, 3000 * noise(16_000), 16_000)",
            "UserWarning: samples reach 100 and more; floats have full scale at 1: divide what was "
            "whole numbers of 16 bits by 32768",
        ),
        Mistake(
            "less sound than a window",
            "audio.FrontEnd.of(models.mel_cnn_1d).windows(noise(1, 96, 50))",
            "ValueError: windows: 50 frames are shorter than a window of 187: lengthen the samples",
        ),
        Mistake(
            "a hop length of 0",
            "audio.spectral.stft(noise(16_000), 1024, 0)",
            "ValueError: stft: hop_length is 0; it takes a whole number >= 1",
        ),
        Mistake(
            "a hop length in seconds",
            "audio.spectral.stft(noise(16_000), 1024, 0.01)",
            "ValueError: stft: hop_length is 0.01; it takes a whole number >= 1",
        ),
        Mistake(
            "bands above half the sample rate",
            "bands = audio.FrontEnd.of(models.onset_cnn).bands\n"
            "audio.spectral.mel_filters(bands, 16_000, 1024)",
            "ValueError: mel_filters: bands reach up to 16,000 Hz; 16,000 Hz hold less than "
            "8,000 Hz",
        ),
        Mistake(
            "a network for images",
            "audio.features(model, noise(16_000), 16_000)",
            "TypeError: FrontEnd.of: ModernLeNet5 takes no sound",
        ),
        Mistake(
            "() forgotten after a model for sound",
            "audio.features(models.crepe, noise(16_000), 16_000)",
            "TypeError: FrontEnd.of: function takes no sound; a model is taken, as calling it "
            "returns one",
        ),
        Mistake(
            "no sound file",
            'audio.features(crepe, "music/labels.csv")',
            "ValueError: load: 'music/labels.csv' is no whole sound file: Format not recognised.",
        ),
        Mistake(
            "logits for probabilities",
            "audio.decoding.local_average(noise(5, 360), audio.targets.PitchBins.of(crepe))",
            "ValueError: local_average: activations run from -… to …; probabilities lie in [0, 1]: "
            "ops.sigmoid makes them of logits",
        ),
    ],
    "Labels of music": [
        Mistake(
            "MIDI notes for Hz",
            "audio.targets.blurred([60, 62, 64], audio.targets.PitchBins.of(crepe))",
            "UserWarning: blurred: frequencies are whole numbers up to 108, as MIDI notes are; it "
            "takes Hz: 440 * 2 ** ((note - 69) / 12)",
        ),
        Mistake(
            "MIDI notes for Hz, in a table",
            'table("file,time,frequency", "0.1,60", "0.2,62", "0.3,64", task="pitch")',
            "UserWarning: load: labels.csv: frequencies are whole numbers up to 108, as MIDI notes "
            "are; it takes Hz",
        ),
        Mistake(
            "milliseconds for seconds",
            'table("file,time", "500", task="onsets")',
            "ValueError: load: music: 1 of 1 tracks cannot be used: one.wav: labels.csv line "
            "2: 500 s "
            "is beyond the end at 1.000 s; are they milliseconds?",
        ),
        Mistake(
            "a table without the names of its columns",
            'table("one.wav,rock", task="classes")',
            "ValueError: load: music/labels.csv has columns one.wav, rock; classes needs file, "
            "label",
        ),
        Mistake(
            "another mark between the columns",
            'table("file|label", "rock", task="classes", between="|")',
            "ValueError: load: music/labels.csv has columns file|label; classes needs file, label",
        ),
        Mistake(
            "commas between tags",
            'table("file,tags", "rock,pop", task="tags")',
            "ValueError: …: one.wav: labels.csv line 2 has 3 values, its columns are file, tags",
        ),
        Mistake(
            "a sound that is not there",
            'table("file,label", "rock", task="classes", file="two.wav")',
            "ValueError: load: music: 1 of 1 tracks cannot be used: two.wav: there is no file",
        ),
        Mistake(
            "a task that does not exist",
            'audio.datasets.load("music", "beats")',
            "ValueError: load: there is no task 'beats'; there are classes, tags, onsets, voice, "
            "pitch, multi_f0",
        ),
        Mistake(
            "a tag that is not among the names",
            'audio.targets.tags([["rock"], ["jazz", "pop"]], ["rock", "pop"])',
            "ValueError: tags: row 1 has 'jazz', which is none of 2 tags",
        ),
        Mistake(
            "probabilities where decisions are scored",
            "audio.evaluate.frames([0, 1, 1], [0.2, 0.8, 0.9])",
            "ValueError: frames: 0.2 is neither 0 nor 1; a threshold says which",
        ),
    ],
}

ROWS = [row for rows in TABLE.values() for row in rows]

# Right uses that look like a mistake from nearby.
RIGHT = [
    "ops.cross_entropy(ops.log_softmax(logits), [0, 1, 2, 0])",
    "ops.cross_entropy(logits, ops.softmax(noise(4, 3)))",
    "ops.mse_loss(ops.sigmoid(logits), noise(4, 3))",
    "ops.cross_entropy(nn.Linear(3, 3)(ops.sigmoid(logits)), [0, 1, 2, 0])",
    "for _ in range(2): sgd.zero_grad(); model(noise(2, 1, 32, 32)).sum().backward(); sgd.step()",
    "for _ in range(2): model.zero_grad(); model(noise(2, 1, 32, 32)).sum().backward(); sgd.step()",
    # Gradients of two batches are added up on purpose.
    "for i in range(4):\n    model(noise(2, 1, 32, 32)).sum().backward()\n"
    "    if i % 2: sgd.step(); sgd.zero_grad()",
    "with mc.no_grad(): nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()).eval()(noise(4, 3))",
    "mc.predict(nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()), noise(4, 3))",
    "nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())(noise(4, 3))",
    'fit(valid=batches, metrics={"accuracy": accuracy}, monitor="valid_accuracy", mode="max")',
    "fit(data.DataLoader(samples, 2), valid=data.DataLoader(samples, 2), epochs=2)",
    # Only the last layer is trained.
    "net = nn.Sequential(nn.Linear(3, 3), line)\n"
    "mc.fit(net, batches, ops.mse_loss, optim.SGD(line.parameters()), epochs=1, progress=False)",
    "audio.features(crepe, 3 * noise(16_000), 16_000)",
    "audio.targets.blurred([55, 110, 220, 440], audio.targets.PitchBins.of(crepe))",
    "audio.targets.blurred([0, 100, 100], audio.targets.PitchBins.of(crepe))",
    "audio.targets.blurred([55, 65, 82, 98], audio.targets.PitchBins.of(crepe))",
    # A part that is not trained, without a tape.
    "class Tuned(nn.Module):\n"
    "    def __init__(self): self.known, self.last = nn.BatchNorm1d(3), line\n"
    "    def forward(self, x):\n"
    "        with mc.no_grad(): known = self.known(x)\n"
    "        return self.last(known)\n"
    "sgd = optim.SGD(line.parameters())\n"
    "mc.fit(Tuned(), batches, ops.mse_loss, sgd, epochs=1, progress=False)",
    'fit(valid=batches, metrics={"accuracy_error": accuracy}, monitor="valid_accuracy_error")',
    'table("file,time,frequency", "0.1,61.7", "0.2,65.4", "0.3,69.3", task="pitch")',
]


@pytest.fixture
def names(tmp_path, monkeypatch):
    """Return what the code of a row may use, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    soundfile = pytest.importorskip("soundfile")
    Path("music").mkdir()
    for path in ("song.wav", "music/one.wav"):
        soundfile.write(path, np.zeros(16_000, np.float32), 16_000)
    Path("music/labels.csv").write_text("file,label\none.wav,rock\n")
    Path("weights.pkl").write_bytes(pickle.dumps({}))
    np.savez("weights.npz", weight=np.zeros(3))
    with zipfile.ZipFile("weights.pt", "w") as archive:
        archive.writestr("weights/data.pkl", pickle.dumps({}))
    rng = np.random.default_rng(0)
    model, line = models.lenet5(variant="modern", rng=0), nn.Linear(3, 2, rng=0)

    def noise(*shape):
        return rng.standard_normal(shape, np.float32)

    batches = [(noise(4, 3), noise(4, 2))]

    def fit(train=batches, *, loss=ops.mse_loss, optimizer=None, epochs=1, **options):
        optimizer = optimizer or optim.SGD(line.parameters(), lr=0.01)
        mc.fit(line, train, loss, optimizer, epochs=epochs, progress=False, **options)

    def table(header, *rows, task, between=",", file="one.wav"):
        lines = [header, *(f"{file}{between}{row}" for row in rows)]
        Path("music/labels.csv").write_text("\n".join(lines))
        audio.datasets.load("music", task)

    return {
        **dict(mc=mc, np=np, audio=audio, data=data, images=images, kernels=kernels),
        **dict(models=models, nn=nn, ops=ops, optim=optim, noise=noise, fit=fit, table=table),
        **dict(model=model, line=line, sgd=optim.SGD(model.parameters(), lr=0.01)),
        **dict(batches=batches, samples=data.ArrayDataset(noise(4, 3), noise(4, 2))),
        "logits": mc.Tensor(noise(4, 3), requires_grad=True),
        "crepe": models.crepe("tiny", rng=0),
        "accuracy": lambda outputs, targets: float((outputs > targets).mean()),
        "array_of_cupy": types.new_class(
            "ndarray", (), {}, lambda ns: ns.update(__module__="cupy")
        )(),
    }


@pytest.mark.parametrize("row", ROWS, ids=[row.what for row in ROWS])
def test_a_mistake_is_explained(row, names, count):
    kind, _, text = row.answer.partition(": ")
    if kind == "NoGPUError":
        with contextlib.suppress(kernels.NoGPUError):
            kernels.cuda.availability.cupy()
            pytest.skip("there is a GPU")
    pattern = ".*".join(map(re.escape, text.split("…")))
    if kind == "UserWarning":
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            exec(row.code, names)
        assert [each for each in given if re.match(pattern, str(each.message))]
    else:
        with pytest.raises(getattr(builtins, kind, kernels.NoGPUError), match=pattern):
            exec(row.code, names)
    count(mistakes=1)


@pytest.mark.parametrize("code", RIGHT)
def test_what_is_right_gives_no_warning(code, names, count):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(code, names)
    count(right_uses=1)


def test_a_warning_in_a_loop_is_shown_once_and_at_the_line_of_the_user():
    logits = mc.Tensor(np.zeros((2, 3), np.float32), requires_grad=True)
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("default")
        for _ in range(3):
            ops.cross_entropy(ops.softmax(logits), np.array([0, 1]))
    assert [each.filename for each in shown] == [__file__]


def document():
    """Return the table as the page that users read."""
    lines = [
        "# Likely mistakes, and what minicnn answers",
        "",
        "Each is tried by [a test](../tests/reliability/test_mistakes.py), which holds the code. A",
        "`UserWarning` lets the work go on, since it may have been meant; Python shows it once for",
        "each line of yours. `…` stands for what is left out here.",
    ]
    for topic, rows in TABLE.items():
        lines += ["", f"## {topic}", "", "| mistake | answer |", "|---|---|"]
        answers = [(row.what, row.answer.replace("|", "\\|")) for row in rows]
        lines += [f"| {what} | `{answer}` |" for what, answer in answers]
    return "\n".join(lines) + "\n"


def test_the_page_of_mistakes_shows_this_table():
    assert DOCUMENT.read_text(encoding="utf-8") == document()


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
