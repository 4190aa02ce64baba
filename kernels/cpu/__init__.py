"""The kernels for NumPy arrays: compiled by Numba where that is faster, else the reference itself.

Everything is loaded when it is first asked for, because importing Numba takes longer than importing
all of minicnn. Compiled code is kept on disk, beside these files.
"""

import importlib

from .. import reference

__all__ = reference.__all__

_COMPILED = {
    "conv": (
        "conv2d",
        "conv2d_bias_grad",
        "conv2d_input_grad",
        "conv2d_weight_grad",
        "conv_transpose2d",
        "conv_transpose2d_input_grad",
        "conv_transpose2d_weight_grad",
    ),
    "norm": ("batch_norm", "batch_norm_grad", "batch_norm_inference", "batch_norm_inference_grad"),
    "optim": ("adam_step", "sgd_step"),
    "pool": ("avg_pool2d", "avg_pool2d_grad", "max_pool2d", "max_pool2d_grad"),
}
_FILES = {name: file for file, names in _COMPILED.items() for name in names}


def __getattr__(name):
    if name in _COMPILED:
        return importlib.import_module(f".{name}", __name__)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    file = _FILES.get(name)
    source = importlib.import_module(f".{file}", __name__) if file else reference
    globals()[name] = getattr(source, name)
    return globals()[name]
