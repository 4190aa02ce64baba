"""Matrix products of batches and groups, in the precision of their arrays."""

from .launch import Launcher

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
    `slope`: 1 leaves them as they are, 0 is ReLU. Each is one thread's sum, so it has the same bits
    each time.
    """
    rows, columns, inner = sizes
    product = dict(
        batches=batches, groups=groups, terms=terms, rows=rows, columns=columns, inner=inner,
        a=a_strides, b=b_strides, c=c_strides, bias=bias_strides or strides(),
        slope=slope,
    )  # fmt: skip
    grid = -(-rows // TILE) * -(-columns // TILE), min(batches * groups, MOST_ROWS_OF_BLOCKS)
    _launch("multiply", a, b, bias, c, product, grid=grid, block=THREADS)
