"""From sound to what a network takes, and from what it says to a musician's answer."""

from minicnn.audio import targets

__all__ = ["targets"]
