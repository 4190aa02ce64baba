"""Section "facts": what the figures are measured on."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

from benchmarks import machine
from benchmarks.device.gpu import Gpu, torch
from benchmarks.device.items import Item
from minicnn import kernels

# What nvidia-smi is asked; a figure depends on the clocks and on what the power allows.
QUESTIONS = (
    "name",
    "driver_version",
    "memory.total",
    "clocks.max.sm",
    "clocks.max.memory",
    "clocks.sm",
    "power.limit",
    "temperature.gpu",
    "ecc.mode.current",
    "persistence_mode",
    "mig.mode.current",
)
# What CUDA's runtime is asked.
PROPERTIES = "multiProcessorCount", "l2CacheSize", "totalGlobalMem", "sharedMemPerMultiprocessor"


def items(gpu: Gpu) -> list[Item]:
    """Return what this section measures."""
    return [
        Item("machine", lambda left: {**machine.describe(), "versions": machine.versions()}),
        Item("GPU", lambda left: about_gpu(gpu)),
        Item("nvidia-smi", lambda left: nvidia_smi()),
        Item("PyTorch", lambda left: pytorch()),
    ]


def about_gpu(gpu: Gpu) -> dict[str, Any]:
    """Return what CuPy and the driver know."""
    found = kernels.cuda.availability.survey()
    known = gpu.properties()
    return {
        "gpus": [each._asdict() for each in found.driver.gpus],
        "driver": found.driver.cuda,
        "runtime": found.runtime,
        "nvrtc": found.nvrtc,
        "cupy": found.cupy,
        "properties": {name: int(known[name]) for name in PROPERTIES if name in known},
    }


def nvidia_smi() -> dict[str, Any]:
    """Return what nvidia-smi answers, by question; a question that it does not know is left out."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {"answers": None}
    answers = {}
    for question in QUESTIONS:
        command = [program, f"--query-gpu={question}", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
        if done.returncode == 0:
            answers[question] = done.stdout.strip()
    return {"answers": answers}


def pytorch() -> dict[str, Any]:
    """Return PyTorch's version and its defaults, as the lane "default" has them."""
    if torch is None:
        return {"version": None}
    cudnn = torch.backends.cudnn
    return {
        "version": torch.__version__,
        "cuda": torch.version.cuda,
        "sees_gpu": torch.cuda.is_available(),
        "cudnn": cudnn.version(),
        "defaults": {
            "cuda.matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
            "cudnn.allow_tf32": cudnn.allow_tf32,
            "cudnn.benchmark": cudnn.benchmark,
        },
    }
