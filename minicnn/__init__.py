"""minicnn: the lecture "CNN and Musical Applications", from scratch, on NumPy and CuPy."""

import os

# In a checkout the kernels lie beside this package, in an installed wheel inside it.
if not os.path.isdir(os.path.join(__path__[0], "kernels")):
    __path__.append(os.path.dirname(__path__[0]))

from minicnn import audio, data, kernels, models, nn, ops, optim
from minicnn.autograd import Tensor, from_dlpack, no_grad
from minicnn.checkpoint import load, save
from minicnn.gradient_check import gradcheck
from minicnn.kernels.memory import empty_cache, memory_stats
from minicnn.kernels.precision import get_matmul_precision, set_matmul_precision
from minicnn.kernels.threads import get_num_threads, set_num_threads
from minicnn.rng import manual_seed
from minicnn.summary import summary
from minicnn.torch_checkpoint import load_torch
from minicnn.train import evaluate, fit, predict

__version__ = "0.1.0"

__all__ = [
    "Tensor",
    "audio",
    "data",
    "empty_cache",
    "evaluate",
    "fit",
    "from_dlpack",
    "get_matmul_precision",
    "get_num_threads",
    "gradcheck",
    "kernels",
    "load",
    "load_torch",
    "manual_seed",
    "memory_stats",
    "models",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "predict",
    "save",
    "set_matmul_precision",
    "set_num_threads",
    "summary",
]
