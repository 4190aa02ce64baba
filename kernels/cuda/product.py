"""Matrix products of batches and groups: cuBLAS makes them, or else a kernel of our own.

Ours sums in the precision of the arrays, and adds bias and slope in the same pass. After cuBLAS
they take a pass of their own.
"""

from . import blas
from .launch import Launcher, engine

_launch = Launcher("product.cu")
TILE, THREADS = 64, 256  # as in product.cu
MOST_ROWS_OF_BLOCKS = 65535  # along a grid's second axis


def strides(*, batch=0, group=0, term=0, row=0, column=0):
    """Return how far apart neighbours along each axis lie in memory [elements]."""
    return dict(batch=batch, group=group, term=term, row=row, column=column)


def multiply(
    a, b, c, *, sizes, a_strides, b_strides, c_strides,
    bias=None, bias_strides=None, batches=1, groups=1, terms=1, slope=1.0,
):  # fmt: skip
    """Write the products of the matrices in `a` and `b`, plus a bias, into the matrices of `c`.

    For each batch and group, c (rows, columns) is the sum over `terms` of a (rows, inner) times
    b (inner, columns); `sizes` is (rows, columns, inner). Results below 0 are multiplied by
    `slope`: 1 leaves them as they are, 0 is ReLU.

    Here it is decided who multiplies: cuBLAS, if the engine has it, what `blas.calls_for` finds
    calls for. Our own kernel does the rest; in it each result is one thread's sum, so it has the
    same bits each time.
    """
    rows, columns, inner = sizes
    product = dict(
        batches=batches, groups=groups, terms=terms, rows=rows, columns=columns, inner=inner,
        a=a_strides, b=b_strides, c=c_strides, bias=bias_strides or strides(),
        slope=slope,
    )  # fmt: skip
    calls = blas.calls_for(a, b, c, product)
    library = engine().cublas() if calls else None
    if library:
        blas.multiply(library, calls, a, b, c, product)
        _add_bias(bias, c, product)
        return
    grid = -(-rows // TILE) * -(-columns // TILE), min(batches * groups, MOST_ROWS_OF_BLOCKS)
    _launch("multiply", a, b, bias, c, product, grid=grid, block=THREADS)


def _add_bias(bias, c, product):
    """Add a bias to what lies densely in `c`, and multiply what is then below 0 by the slope."""
    if bias is None and product["slope"] == 1:
        return
    rows, columns = product["groups"] * product["rows"], product["columns"]
    is_of_columns = product["bias"]["column"] == 1
    channels = (columns, 1) if is_of_columns else (rows, columns)
    _launch("add_bias", bias, c, *channels, c.size, product["slope"], threads=c.size)
