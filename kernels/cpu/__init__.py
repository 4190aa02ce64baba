"""The kernels for NumPy arrays: compiled by Numba where that is faster, else the reference itself.

Everything is loaded when it is first asked for, because importing Numba takes longer than importing
all of minicnn. Compiled code is kept on disk, beside these files.
"""

import importlib

from .. import reference

__all__ = reference.__all__

_COMPILED = {
    "activation": (
        "elu", "elu_grad", "leaky_relu", "leaky_relu_grad", "log_softmax", "log_softmax_grad",
        "relu", "relu_grad", "scaled_tanh", "scaled_tanh_grad", "sigmoid", "sigmoid_grad",
        "softmax", "softmax_grad", "softplus", "softplus_grad", "tanh", "tanh_grad",
    ),
    "dropout": (
        "dropout", "dropout_grad", "gaussian_noise", "spatial_dropout", "spatial_dropout_grad",
    ),
    "loss": (
        "huber", "huber_grad", "sigmoid_cross_entropy", "sigmoid_cross_entropy_grad",
        "softmax_cross_entropy", "softmax_cross_entropy_grad",
        "squared_error", "squared_error_grad",
    ),
    "norm": (
        "batch_norm", "batch_norm_grad", "batch_norm_inference", "batch_norm_inference_grad",
        "local_response_norm", "local_response_norm_grad",
    ),
    "optim": ("adam_step", "sgd_step"),
    "pool": ("avg_pool2d", "avg_pool2d_grad", "max_pool2d", "max_pool2d_grad"),
    "window": (
        "adaptive_avg_pool2d", "adaptive_avg_pool2d_grad",
        "adaptive_max_pool2d", "adaptive_max_pool2d_grad",
        "adaptive_lp_pool2d", "adaptive_lp_pool2d_grad",
        "adaptive_std_pool2d", "adaptive_std_pool2d_grad",
        "lp_pool2d", "lp_pool2d_grad", "std_pool2d", "std_pool2d_grad",
    ),
}  # fmt: skip
_FILES = {name: file for file, names in _COMPILED.items() for name in names}


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    file = _FILES.get(name)
    source = importlib.import_module(f".{file}", __name__) if file else reference
    # All that the file holds: its import has set the name of the file, which may be a kernel's too.
    for loaded in _COMPILED[file] if file else (name,):
        globals()[loaded] = getattr(source, loaded)
    return globals()[name]
