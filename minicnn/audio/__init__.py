"""From sound to what a network takes, and from what it says to a musician's answer.

Rooms are opened when they are first asked for: `import minicnn` waits for none of them.
"""

import importlib
from typing import Any

# Where what is asked for by its own name stands.
_NAMES = {
    "features": "front_end",
    "FrontEnd": "front_end",
    "folder_features": "cache",
    "track_features": "feature_set",
}

__all__ = [
    "FrontEnd", "augment", "cache", "clip", "compression", "datasets", "decoding", "evaluate",
    "factorisation", "feature_set", "features", "folder_features", "front_end", "generated",
    "listeners", "plot", "sound", "soundfont", "spectral", "stream", "synth", "targets",
    "track_features", "windows",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
