"""Factors of listeners and songs from who played what: weighted matrix factorisation.

Hu, Koren & Volinsky, "Collaborative filtering for implicit feedback datasets", ICDM 2008. A play is
no rating. It says that somebody may like a song (the preference p is 1), the more surely the more
plays there are (the confidence c); no play says little. The factors x of listeners and y of songs
make

    sum over all u, i of c_ui (p_ui - x_u . y_i)^2  +  regularisation * (sum |x_u|^2 + sum |y_i|^2)

small. With the songs held, the best factors of a listener solve k linear equations, and the other
way round, which is done in turn: alternating least squares. All pairs count, but those without a
play share one matrix, so that an iteration takes time for the plays only.

What a network is to learn from the sound of a song (`models.recommender`) are the song's factors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse
from tqdm import tqdm

from minicnn import kernels
from minicnn.rng import generator


@dataclass(frozen=True)
class Factors:
    """What explains who plays what; the product of two factors says how well they go together.

    Attributes
    ----------
    listeners : ndarray, shape (n_listeners, n_factors)
    songs : ndarray, shape (n_songs, n_factors)
    """

    listeners: np.ndarray
    songs: np.ndarray


def confidence(plays, alpha: float = 40.0, epsilon: float | None = None) -> Any:
    """Return how much surer plays make us than no play does: c - 1, where there are plays.

    Parameters
    ----------
    plays : sparse array, shape (n_listeners, n_songs)
        How often; 0 where it never was.
    alpha : float
    epsilon : float, optional
        c is 1 + alpha r for r plays without it, and 1 + alpha log(1 + r / epsilon) with it.

    Returns
    -------
    scipy.sparse.csr_array of float64, with sorted indices

    Raises
    ------
    ValueError
        If plays are no matrix, or below 0 or not finite; if alpha or epsilon is not above 0.
    """
    for name, value in (("alpha", alpha), ("epsilon", 1 if epsilon is None else epsilon)):
        if not value > 0:
            raise ValueError(f"confidence: {name} is {value}; it must be above 0")
    if len(np.shape(plays)) != 2:
        raise ValueError(
            f"confidence: plays are {np.shape(plays)}; they must be (listeners, songs)"
        )
    rows = scipy.sparse.csr_array(plays, dtype=np.float64, copy=True)
    rows.sum_duplicates()
    rows.eliminate_zeros()
    wrong = rows.data[~(np.isfinite(rows.data) & (rows.data > 0))]
    if wrong.size:
        raise ValueError(f"confidence: somebody has {wrong[0]} plays; they must be 0 or more")
    rows.data = alpha * (rows.data if epsilon is None else np.log1p(rows.data / epsilon))
    return rows


def factorise(
    plays,
    n_factors: int = 50,
    *,
    alpha: float = 40.0,
    epsilon: float | None = None,
    regularisation: float = 100.0,
    iterations: int = 15,
    dtype: Any = np.float32,
    rng: Any = None,
    progress: bool = True,
) -> Factors:
    """Return factors that explain who plays what.

    Each iteration solves all listeners, then all songs, exactly, by Cholesky's decomposition.
    Many threads and one differ by no more than rounding.

    Parameters
    ----------
    plays : sparse array, shape (n_listeners, n_songs)
        How often; 0 where it never was.
    n_factors : int
        40 to 400 in the literature.
    alpha, epsilon
        See `confidence`.
    regularisation : float
        How much large factors cost; to be chosen on plays that were held back. It stands against
        sums of confidences, so it grows with alpha.
    iterations : int
    dtype : float32 or float64
    rng : int, Generator or None
        Where the first factors of songs come from, normal with a deviation of 0.01.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Factors
        Those of somebody without plays, or of a song nobody plays, are 0.

    Raises
    ------
    ValueError
        If something is out of range, or if the equations are too close to singular for the dtype.
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"factorise: dtype is {dtype}; it must be float32 or float64")
    for name, value in (("n_factors", n_factors), ("iterations", iterations)):
        if value < 1:
            raise ValueError(f"factorise: {name} is {value}; it must be at least 1")
    if not regularisation > 0:
        raise ValueError(f"factorise: regularisation is {regularisation}; it must be above 0")
    of_listeners = confidence(plays, alpha, epsilon).astype(dtype)
    of_songs = scipy.sparse.csr_array(of_listeners.T)
    songs = generator(rng).normal(0, 0.01, (of_songs.shape[0], n_factors)).astype(dtype)
    for _ in tqdm(range(iterations), disable=not progress, dynamic_ncols=True, unit="iteration"):
        listeners = _solved(of_listeners, songs, regularisation, "listener")
        songs = _solved(of_songs, listeners, regularisation, "song")
    return Factors(listeners, songs)


def fold_in(
    plays,
    listeners,
    *,
    alpha: float = 40.0,
    epsilon: float | None = None,
    regularisation: float = 100.0,
) -> np.ndarray:
    """Return the factors of other songs, once these listeners have played them.

    The factors of the listeners are held, so it is the second half of an iteration, exactly. Of
    other listeners of known songs it takes the plays transposed, and the factors of the songs.

    Parameters
    ----------
    plays : sparse array, shape (n_listeners, n_songs)
        How often; 0 where it never was.
    listeners : array of float, shape (n_listeners, n_factors)
        Of `factorise`.
    alpha, epsilon, regularisation
        See `factorise`.

    Returns
    -------
    ndarray, shape (n_songs, n_factors)
        Of the dtype of the listeners' factors. A song nobody plays has 0.

    Raises
    ------
    ValueError
        If there are not as many factors as listeners, or something is out of range.
    """
    listeners = np.asarray(listeners, np.result_type(np.asarray(listeners), np.float32))
    more = confidence(plays, alpha, epsilon).astype(listeners.dtype)
    if listeners.ndim != 2 or len(listeners) != more.shape[0]:
        raise ValueError(
            f"fold_in: plays are {more.shape}, factors of listeners {listeners.shape}; they must "
            "have as many rows"
        )
    if not regularisation > 0:
        raise ValueError(f"fold_in: regularisation is {regularisation}; it must be above 0")
    return _solved(scipy.sparse.csr_array(more.T), listeners, regularisation, "song")


def objective(
    plays,
    factors: Factors,
    *,
    alpha: float = 40.0,
    epsilon: float | None = None,
    regularisation: float = 100.0,
) -> float:
    """Return the sum that `factorise` makes small; its time, too, is for the plays only.

    Parameters
    ----------
    plays : sparse array, shape (n_listeners, n_songs)
    factors : Factors
    alpha, epsilon, regularisation
        See `factorise`.

    Raises
    ------
    ValueError
        If there are not as many factors as listeners and songs.
    """
    more = confidence(plays, alpha, epsilon).tocoo()
    x, y = (each.astype(np.float64) for each in (factors.listeners, factors.songs))
    if more.shape != (len(x), len(y)):
        raise ValueError(
            f"objective: plays are {more.shape}; there are factors of {len(x)} listeners and "
            f"{len(y)} songs"
        )
    # As if nothing was ever played, and then what the plays change.
    nothing = ((x.T @ x) * (y.T @ y)).sum()
    changed = 0.0
    for some in np.array_split(np.arange(more.nnz), 1 + more.nnz // 1_000_000):
        said = (x[more.row[some]] * y[more.col[some]]).sum(axis=1)
        changed += ((1 + more.data[some]) * (1 - said) ** 2 - said**2).sum()
    return float(nothing + changed + regularisation * ((x**2).sum() + (y**2).sum()))


def _solved(more, others, regularisation, what):
    """Return the best factors of all rows, with the factors of what they play held."""
    k = others.shape[1]
    shared = others.T @ others + np.diag(np.full(k, regularisation, others.dtype))
    solution = np.zeros((more.shape[0], k), others.dtype)
    if kernels.cpu.is_compiled():
        from minicnn.audio.least_squares import solve_rows

        # An index of 64 bits would be another kernel to compile; these reach 2 billion songs.
        indices, starts = more.indices.astype(np.int32), more.indptr.astype(np.int64)
        work = (more.nnz + len(solution) * k) * k * k
        rows = (starts, indices, more.data, solution)
        solve_rows(shared, others, *rows, count=len(solution), elements=work)
    else:
        for row in np.flatnonzero(np.diff(more.indptr)):
            some = slice(*more.indptr[row : row + 2])
            y, c = others[more.indices[some]], more.data[some]
            solution[row] = np.linalg.solve(shared + (y.T * c) @ y, (1 + c) @ y)
    wrong = np.flatnonzero(~np.isfinite(solution).all(axis=1))
    if wrong.size:
        raise ValueError(
            f"factorise: the equations of {what} {wrong[0]} are too close to singular for "
            f"{others.dtype}; regularisation is {regularisation}, more of it helps"
        )
    return solution
