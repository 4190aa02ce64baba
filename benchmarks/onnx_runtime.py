"""ONNX Runtime, which is made for inference: the twin of PyTorch, exported and run there."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable

import numpy as np
import torch

NAME = "ONNX Runtime"


def installed() -> bool:
    """Return whether networks can be exported and run."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime"))


def inference(twin: torch.nn.Module, x: np.ndarray) -> Callable[[], tuple[torch.Tensor]] | None:
    """Return an inference on as many threads as PyTorch has now, which returns the logits.

    None where the network cannot be exported: adaptive pooling of images that it does not divide.
    """
    import onnxruntime

    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the newer exporter wants a third package
        try:
            torch.onnx.export(
                twin.eval(), (torch.from_numpy(x),), file, dynamo=False, input_names=["x"]
            )
        except torch.onnx.errors.OnnxExporterError:
            return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: (torch.from_numpy(session.run(None, {"x": x})[0]),)
