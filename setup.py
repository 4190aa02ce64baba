"""Metadata, dependencies, and the mapping that makes `kernels/` the wheel's `minicnn.kernels`."""

import re
import sys
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
version = re.search(r'__version__ = "(.+)"', (here / "minicnn" / "__init__.py").read_text())[1]

packages = find_packages(include=["minicnn", "minicnn.*"])
# "" -> "." makes an editable install a plain path file; an import hook would hide `kernels/`.
package_dir = {"": "."}
if "editable_wheel" not in sys.argv:
    packages += [f"minicnn.{name}" for name in find_packages(include=["kernels", "kernels.*"])]
    package_dir["minicnn.kernels"] = "kernels"

audio = ["librosa>=0.11", "soundfile>=0.13", "soxr>=0.5", "mir_eval>=0.8", "scikit-learn>=1.5"]
# Everything that an example may need; pytest and hypothesis are all that tests need more.
examples = [*audio, "matplotlib>=3.9", "pillow>=10", "tyro>=1.0"]

setup(
    name="minicnn",
    version=version,
    description="The lecture 'CNN and Musical Applications', from scratch, on NumPy and CuPy",
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=packages,
    package_dir=package_dir,
    package_data={"minicnn": ["py.typed"], "minicnn.kernels.cuda": ["*.cu", "*.cuh"]},
    install_requires=[
        "numpy>=2.1.1",
        "numba>=0.61",
        "scipy>=1.14",
        "threadpoolctl>=3.5",
        "tqdm>=4.66.1",
        "safetensors>=0.5",
    ],
    extras_require={
        "audio": audio,
        "plot": ["matplotlib>=3.9"],
        "data": ["mirdata>=1.0"],
        "examples": examples,
        # Below 15: its cache of plans of cuFFT and its handles of cuBLAS are no promise of its own.
        "gpu12": ["cupy-cuda12x[ctk]>=14,<15"],
        "gpu13": ["cupy-cuda13x[ctk]>=14,<15"],
        # NVIDIA's compiler and disassembler, which need no GPU: with them tests compile every CUDA
        # kernel and look at its instructions.
        "gate": [
            "nvidia-cuda-nvrtc==13.0.88",
            "nvidia-cuda-runtime==13.0.96",
            "nvidia-cuda-crt==13.0.88",
            "nvidia-cuda-nvdisasm==13.3.73",
        ],
        "test": ["pytest>=8.2", "hypothesis>=6.100", *examples],
        # The very version that results are compared with; its plain name may bring CUDA libraries.
        # ONNX Runtime (110 MB beside PyTorch's 700) is compared with in inference.
        "bench": ["torch==2.13.0", "onnx>=1.17", "onnxruntime>=1.20"],
        "lint": ["ruff==0.17.6", "mypy==2.4.1", "build>=1.2", "pre-commit>=4"],
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Education",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
