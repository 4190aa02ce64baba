"""The compiled part of matrix factorisation: many small systems of equations, a row of plays each.

LAPACK takes as long for each on one thread, but its own threads hinder each other in matrices this
small: with 100 factors, on two cores that others wanted too, two took 5 to 15 times as long as one.
"""

import numpy as np

from minicnn.kernels.cpu.compiled import compiled
from minicnn.kernels.cpu.parallel import parallel


@parallel(fastmath={"reassoc", "contract"}, error_model="numpy")
def solve_rows(shared, others, starts, indices, more, solution, start, stop):
    """Solve (shared + sum_i more_i y_i y_i') x = sum_i (1 + more_i) y_i for each row of plays."""
    k = others.shape[1]
    matrix, x = np.empty_like(shared), np.empty(k, others.dtype)
    none = np.zeros(k, others.dtype)
    nothing = more.dtype.type(0)
    for row in range(start, stop):
        first, last = starts[row], starts[row + 1]
        if first == last:
            continue
        matrix[:] = shared
        x[:] = 0
        # Four at a time, so that the matrix passes through the processor a quarter as often.
        for i in range(first, last, 4):
            y0, c0 = others[indices[i]], more[i]
            y1, c1 = (others[indices[i + 1]], more[i + 1]) if i + 1 < last else (none, nothing)
            y2, c2 = (others[indices[i + 2]], more[i + 2]) if i + 2 < last else (none, nothing)
            y3, c3 = (others[indices[i + 3]], more[i + 3]) if i + 3 < last else (none, nothing)
            for p in range(k):
                a0, a1, a2, a3 = c0 * y0[p], c1 * y1[p], c2 * y2[p], c3 * y3[p]
                x[p] += (a0 + a1) + (a2 + a3) + (y0[p] + y1[p]) + (y2[p] + y3[p])
                for q in range(p + 1):
                    matrix[p, q] += (a0 * y0[q] + a1 * y1[q]) + (a2 * y2[q] + a3 * y3[q])
        _solve_cholesky(matrix, x)
        solution[row] = x


@compiled(fastmath={"reassoc", "contract"}, error_model="numpy")
def _solve_cholesky(matrix, x):
    """Replace the right side x by the solution; the lower half of the matrix by its root.

    The diagonal keeps inverses. What is not positive definite becomes NaN.
    """
    k = len(x)
    for p in range(k):
        for q in range(p):
            rest = matrix[p, q]
            for j in range(q):
                rest -= matrix[p, j] * matrix[q, j]
            matrix[p, q] = rest * matrix[q, q]
        rest = matrix[p, p]
        for j in range(p):
            rest -= matrix[p, j] * matrix[p, j]
        matrix[p, p] = 1 / np.sqrt(rest)
    for p in range(k):
        rest = x[p]
        for j in range(p):
            rest -= matrix[p, j] * x[j]
        x[p] = rest * matrix[p, p]
    for p in range(k - 1, -1, -1):
        x[p] *= matrix[p, p]
        for j in range(p):
            x[j] -= x[p] * matrix[p, j]
