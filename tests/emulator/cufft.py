"""CuPy's transforms for NumPy arrays, by SciPy, whose functions theirs are named after.

They have CuPy's rules: float32 becomes complex64 and float64 complex128. What CuPy would copy
before cuFFT can have it is an error: views, gaps, and axes of another length. What may be
overwritten is.

CuPy 14, cupyx.scipy.fft; NVIDIA, "cuFFT", on results that are real: their input is destroyed.
"""

import numpy as np
import scipy.fft

from tests.emulator import tapes


class CufftError(Exception):
    """CuPy would refuse these arguments, or take a copy."""


class Fourier:
    """The transforms, with a note of the shapes and types that were asked for."""

    def __init__(self):
        self.calls = []

    def rfft(self, x, n=None, axis=-1, norm=None, overwrite_x=False, *, plan=None):
        """Return the spectra of real numbers."""
        self._check("rfft", x, (np.float32, np.float64), x.shape[-1] if n is None else n, axis)
        spectra = tapes.noted(scipy.fft.rfft, x, norm=norm)
        assert spectra.dtype == (np.complex64 if x.dtype == np.float32 else np.complex128)
        return spectra

    def irfft(self, x, n=None, axis=-1, norm=None, overwrite_x=False, *, plan=None):
        """Return the real numbers that have these spectra."""
        n = 2 * (x.shape[-1] - 1) if n is None else n
        self._check("irfft", x, (np.complex64, np.complex128), n, axis)
        if n // 2 + 1 != x.shape[-1]:
            raise CufftError(f"irfft: {x.shape[-1]} frequencies for {n} samples")
        if not overwrite_x:
            raise CufftError("irfft: a copy would be made, so that x stays as it was")
        samples = tapes.noted(scipy.fft.irfft, x, n, norm=norm)
        x.fill(np.nan)
        return samples

    def _check(self, name, x, types, n, axis):
        self.calls.append((name, x.shape, x.dtype))
        if x.dtype not in types:
            raise CufftError(f"{name}: {x.dtype} would be converted")
        # What a tape has noted is a view, but of all of an array that nobody else has.
        is_part = x.base is not None and x.base.nbytes != x.nbytes
        if is_part or not x.flags.c_contiguous or axis not in (-1, x.ndim - 1):
            raise CufftError(f"{name}: a view or an array with gaps would be copied")
        if name == "rfft" and n != x.shape[-1]:
            raise CufftError(f"{name}: {x.shape[-1]} samples would become {n}")
        if n < 1 or x.size == 0:
            raise CufftError(f"{name}: nothing to transform in {x.shape}")
