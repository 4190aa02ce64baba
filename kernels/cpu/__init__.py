"""The kernels for NumPy arrays. For now every one of them is the reference, re-exported."""

from ..reference import *  # noqa: F403
from ..reference import __all__ as __all__
