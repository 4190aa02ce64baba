"""Images: a folder of them for each class, and how they are changed a little each time."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np


class ImageFolder:
    """Images in folders that are named after their classes, as a data set for a `DataLoader`.

    Such as `flowers/rose/1.jpg`, `flowers/rose/2.png` and `flowers/tulip/a.jpg`; folders within
    these belong to their class, and names that begin with a dot are passed over. A sample is an
    image, float32 of shape (3, size, size) from 0 to 1, and the number of its class. Images are
    read when they are asked for, and cut to the square in their middle.

    Parameters
    ----------
    folder : path-like
    size : int [pixels]
        Height and width that images are brought to.

    Attributes
    ----------
    names : tuple of str
        The classes, in alphabetical order.
    paths : tuple of Path
    labels : ndarray of int, shape (N,)
        The number of each image's class.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If there are fewer than two classes, one without images, or files that are no images.
    ModuleNotFoundError
        If Pillow is not installed.
    """

    def __init__(self, folder: str | os.PathLike, size: int):
        self.folder, self.size = Path(folder), size
        if not self.folder.is_dir():
            raise FileNotFoundError(f"ImageFolder: there is no folder {str(folder)!r}")
        if size < 1:
            raise ValueError(f"ImageFolder: size is {size}; it takes 1 pixel at least")
        classes = [each for each in _seen(self.folder.iterdir()) if each.is_dir()]
        if len(classes) < 2:
            raise ValueError(
                f"ImageFolder: {str(folder)!r} has {len(classes)} folders; it takes one of images "
                "for each of two classes or more"
            )
        found = [[path for path in _seen(each.rglob("*")) if path.is_file()] for each in classes]
        for each, files in zip(classes, found, strict=True):
            if not files:
                raise ValueError(f"ImageFolder: there are no images in {str(each)!r}")
        self.names = tuple(each.name for each in classes)
        self.paths = tuple(path for files in found for path in files)
        self.labels = np.repeat(np.arange(len(classes)), [len(files) for files in found])
        self._refuse([path for path in self.paths if not _is_image(path)])

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        pillow = _pillow()
        try:
            with pillow.open(self.paths[index]) as image:
                side = min(image.size)
                left, top = ((extent - side) / 2 for extent in image.size)
                pixels = image.convert("RGB").resize(
                    (self.size, self.size),
                    pillow.Resampling.BILINEAR,
                    box=(left, top, left + side, top + side),
                )
        # Pillow's for a file that is cut off, or broken, or a small one that declares far too much.
        except (OSError, SyntaxError, pillow.DecompressionBombError):
            self._refuse([self.paths[index]])
        channels = np.asarray(pixels, np.float32).transpose(2, 0, 1) / 255
        return np.ascontiguousarray(channels), int(self.labels[index])

    def batch(self, indices: Any) -> tuple[np.ndarray, np.ndarray]:
        """Return the images and the classes of these indices, stacked."""
        images = np.stack([self[int(index)][0] for index in indices])
        return images, self.labels[indices]

    def _refuse(self, paths):
        """Raise if there are files that are no images."""
        if paths:
            names = [str(path.relative_to(self.folder)) for path in paths]
            rest = f"; and {len(names) - 5} more" if len(names) > 5 else ""
            raise ValueError(
                f"ImageFolder: {len(names)} of {len(self)} files in {str(self.folder)!r} are no "
                f"whole images, or too large for Pillow: {'; '.join(names[:5])}{rest}"
            )


class RandomAffine:
    """Turn, stretch, shear and move images at random: a `transform` for a `DataLoader`.

    Parameters
    ----------
    amount : float
        How much each entry of the matrix that maps places may differ from the identity's.
    shift : float
        How far an image may be moved, of its height and its width.
    """

    def __init__(self, amount: float = 1 / 8, shift: float = 1 / 16):
        self.amount, self.shift = amount, shift

    def __call__(self, image: np.ndarray, *others: Any, rng: np.random.Generator) -> tuple:
        """Return an image of shape (C, H, W), changed, and what comes with it.

        Beyond its borders an image goes on as it is there.
        """
        from scipy.ndimage import affine_transform  # not needed for `import minicnn`

        extent = np.array(image.shape[1:])
        matrix = np.eye(2) + rng.uniform(-self.amount, self.amount, (2, 2))
        middle, moved = (extent - 1) / 2, extent * rng.uniform(-self.shift, self.shift, 2)
        offset = middle - matrix @ (middle + moved)
        channels = [
            affine_transform(channel, matrix, offset, order=1, mode="nearest") for channel in image
        ]
        return np.stack(channels), *others


def _seen(paths):
    """Return paths in alphabetical order, without hidden ones."""
    return sorted(path for path in paths if not path.name.startswith("."))


def _is_image(path):
    """Return whether a file begins as an image does; its pixels are not read."""
    pillow = _pillow()
    try:
        with pillow.open(path):
            return True
    except (OSError, SyntaxError, pillow.DecompressionBombError):
        return False


def _pillow():
    """Return the module that reads images."""
    try:
        return importlib.import_module("PIL.Image")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            'images need Pillow, which is not installed: pip install "minicnn[plot]"'
        ) from None
