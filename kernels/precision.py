"""In which precision matrix products of float32 arrays may be computed."""

PRECISIONS = "float32", "tf32", "bfloat16"
_chosen = "float32"


def set_matmul_precision(precision):
    """Let a GPU's tensor cores multiply float32 arrays, in this process from now on.

    It concerns convolutions and fully connected layers, forward and backward. Factors are rounded
    to fewer bits and sums kept in float32; arrays stay float32. On the CPU it changes nothing, nor
    for float64, nor for the operator ``@``, nor for small products that cuBLAS is not asked for.

    Parameters
    ----------
    precision : {"float32", "tf32", "bfloat16"}
        ============  ============================================  =========================
        name          bits of a factor, the leading one counted     relative error of a product
        ============  ============================================  =========================
        "float32"     24: strict, which is the default              less than 1e-6
        "tf32"        11, and the range of float32                  about 2e-4 to 3e-4
        "bfloat16"    8, or more: cuBLAS may take TF32 instead      about 1e-3 to 1e-2
        ============  ============================================  =========================

        The error is the norm of the difference over the norm of the product, for random factors.
        A GPU without tensor cores for a type computes more precisely than it had to.

    Raises
    ------
    ValueError
        If it is none of these names.

    References
    ----------
    NVIDIA, "cuBLAS", cublasComputeType_t: ``CUBLAS_COMPUTE_32F``, ``_FAST_TF32``, ``_FAST_16BF``.
    """
    if precision not in PRECISIONS:
        names = ", ".join(map(repr, PRECISIONS))
        raise ValueError(f"set_matmul_precision: {precision!r} is none of {names}")
    global _chosen
    _chosen = precision


def get_matmul_precision():
    """Return the name of the precision that `set_matmul_precision` has set, or "float32"."""
    return _chosen
