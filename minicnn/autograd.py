"""The engine: tensors, the tape behind them, and the operations that Python's operators need.

An operation is one function on arrays that returns its output and one gradient function per array
argument; `primitive` turns it into a function on tensors. Arrays are positional, options are
keyword-only, and a gradient that nobody needs is never computed.

Nodes of the tape point to nodes, never to tensors, so an intermediate array dies as soon as no
gradient needs it. The tape is swept by creation number instead of recursion, and is taken apart
on the way, so memory falls during `backward` and a second sweep over the same tape raises.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import itertools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import numpy as np

from minicnn import arithmetic, kernels

_recording = ContextVar("recording", default=True)
_observer: ContextVar[Callable | None] = ContextVar("observer", default=None)
_creation = itertools.count()


class Node:
    """One recorded operation: where its gradients go, and the functions that compute them."""

    __slots__ = ("gradients", "name", "order", "parents")

    def __init__(self, name, parents, gradients):
        self.name, self.parents, self.gradients = name, parents, gradients
        self.order = next(_creation)


class no_grad(contextlib.ContextDecorator):
    """Record nothing inside this block, or inside the function that it decorates."""

    def _recreate_cm(self):
        return no_grad()  # a decorated function may run in several threads at once

    def __enter__(self):
        self._tokens = [*getattr(self, "_tokens", []), _recording.set(False)]

    def __exit__(self, *error):
        _recording.reset(self._tokens.pop())


def is_recording():
    """Return whether a gradient may be asked of what is computed now: not inside `no_grad`."""
    return _recording.get()


@contextlib.contextmanager
def observe(observer):
    """Call `observer(name, arguments, options, result, function)` after every operation inside.

    The function is the one on arrays, with which the operation could be done again.
    """
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def primitive(function):
    """Turn a function on arrays into an operation on tensors.

    Parameters
    ----------
    function : callable
        Takes arrays by position and options by keyword. Returns the output array and a tuple with
        one entry per array: a function from the output's gradient to that argument's gradient, or
        None where there is none. A gradient function returns `dy` itself, a view, or new memory;
        never an array that it keeps, because a leaf may adopt it.

    Returns
    -------
    callable
        The same function on tensors; plain arrays and numbers count as constants.
    """
    name = function.__name__.strip("_")

    @functools.wraps(function)
    def operation(*arguments, **options):
        arrays = [a.data if isinstance(a, Tensor) else a for a in arguments]
        options = {key: _plain(value) for key, value in options.items()}
        output, gradients = function(*arrays, **options)
        result = Tensor(output)
        if is_recording():
            result._node = _record(name, arguments, gradients)
        if (observer := _observer.get()) is not None:
            observer(name, arguments, options, result, function)
        return result

    return operation


def joint(gradient, count):
    """Split a function that returns `count` gradients into `count` that compute them all once."""
    computed: list = []

    def part(index, dy):
        if not computed:
            computed.extend(gradient(dy))
        return computed[index]

    return tuple(functools.partial(part, index) for index in range(count))


def _origin(argument):
    """Return what receives this argument's gradient: its node, the leaf itself, or None."""
    if not isinstance(argument, Tensor):
        return None
    return argument._node or (argument if argument._requires_grad else None)


def _record(name, arguments, gradients):
    """Return the node of an operation, or None where no argument requires a gradient."""
    parents, needed, wanted = [], [], False
    for argument, gradient in zip(arguments, gradients, strict=True):
        origin = None if gradient is None else _origin(argument)
        parents.append(origin)
        needed.append(None if origin is None else gradient)
        wanted = wanted or origin is not None
    return Node(name, parents, needed) if wanted else None


def _sweep(root, grad):
    """Carry `grad` from `root` to every leaf, newest node first."""
    pending = {root: (grad, False)}  # node -> gradient so far, and whether its memory is ours
    queue = [(-root.order, root)]
    while queue:
        _, node = heapq.heappop(queue)
        dy, _ = pending.pop(node)
        if node.gradients is None:
            raise RuntimeError(
                f"backward: the tape was already swept at {node.name!r}; run the forward pass again"
            )
        for parent, gradient in zip(node.parents, node.gradients, strict=True):
            if parent is None:
                continue
            dx = gradient(dy)
            if isinstance(dx, np.generic):  # NumPy turns arrays without axes into scalars
                dx = np.asarray(dx)
            if isinstance(parent, Tensor):
                _deposit(parent, dx, dy)
            elif parent not in pending:
                pending[parent] = (dx, False)
                heapq.heappush(queue, (-parent.order, parent))
            else:
                total, owned = pending[parent]
                # The first array may be shared with another branch; the sum of two is ours.
                out = total if owned else kernels.memory.empty_like(total)
                pending[parent] = (np.add(total, dx, out=out), True)
        node.parents = node.gradients = None


def _deposit(leaf, dx, dy):
    """Add to a leaf's gradient, which owns its memory: in-place clipping must not reach others."""
    if leaf.grad is not None:
        leaf.grad += dx
    elif dx is dy or not kernels.memory.owns(dx):
        leaf.grad = dx.astype(leaf.dtype)
    else:
        leaf.grad = dx.astype(leaf.dtype, copy=False)


class Tensor:
    """An array that remembers how it was computed.

    Parameters
    ----------
    data : array_like
        A NumPy or CuPy array is taken as it is, without a copy, and so are arrays of other
        libraries, as `from_dlpack` does. Python numbers and lists become float32 where they hold
        floats.
    requires_grad : bool
        Whether `backward` leaves a gradient in `grad`. Only floating-point tensors can have one.

    Attributes
    ----------
    data : ndarray
        The values.
    grad : ndarray or None
        The gradient that `backward` left here: an array of the same shape that nothing else uses.

    Raises
    ------
    TypeError
        If a gradient is asked for values that are not floating point.
    """

    __slots__ = ("__weakref__", "_node", "_requires_grad", "data", "grad")
    __array_ufunc__ = None  # array + tensor asks the tensor

    data: Any
    grad: Any

    def __init__(self, data: Any, requires_grad: bool = False):
        self.data = data if isinstance(data, np.ndarray) else _array(data)
        self.grad = None
        self._node = None
        self._requires_grad = False
        if requires_grad:
            self.requires_grad = True

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are computed for this tensor; settable on a leaf."""
        return self._requires_grad or self._node is not None

    @requires_grad.setter
    def requires_grad(self, value: bool):
        if value and self.data.dtype.kind != "f":
            raise TypeError(
                f"Tensor: {self.data.dtype} values have no gradient; use float32 or float64"
            )
        if self._node is not None:
            raise RuntimeError("Tensor: only a leaf can change requires_grad; use detach()")
        self._requires_grad = bool(value)

    def backward(self, grad: Any = None) -> None:
        """Add the gradient of this tensor to the `grad` of every leaf that it was computed from.

        Parameters
        ----------
        grad : array_like, shape of this tensor, optional
            The gradient of the final result with respect to this tensor; 1 for a single number.

        Raises
        ------
        ValueError
            If `grad` is missing for a tensor of several elements, or has another shape.
        RuntimeError
            If no input required a gradient, or the tape was swept before.
        """
        origin = _origin(self)
        if origin is None:
            raise RuntimeError(
                "backward: nothing that this tensor was computed from requires a gradient; inside "
                "no_grad, and through detach() or numpy(), nothing is recorded"
            )
        if grad is None:
            if self.size != 1:
                raise ValueError(
                    f"backward: a tensor of shape {self.shape} needs a gradient of that shape, "
                    "or make one number of it by mean() or sum()"
                )
            grad = np.ones_like(self.data)
        elif isinstance(grad, Tensor):
            grad = grad.data
        elif not hasattr(grad, "__array_function__"):
            grad = np.asarray(grad, self.dtype)
        if grad.shape != self.shape:
            raise ValueError(
                f"backward: the gradient has shape {grad.shape}, the tensor {self.shape}"
            )
        grad = grad.astype(self.dtype, copy=False)
        if origin is self:
            _deposit(self, grad, grad)
        else:
            _sweep(origin, grad)

    def numpy(self) -> np.ndarray:
        """Return the values as a NumPy array, copied from the device if need be."""
        return kernels.to(self.data, "cpu")

    def item(self) -> Any:
        """Return the only element as a Python number.

        Raises
        ------
        ValueError
            If there are more of them, or none.
        """
        if self.data.size != 1:
            raise ValueError(
                f"Tensor: one of shape {self.shape} is not one number; mean() or sum() makes one"
            )
        return self.data.item()

    def detach(self) -> Tensor:
        """Return a tensor with the same memory and no history."""
        return Tensor(self.data)

    def to(self, device: str) -> Tensor:
        """Return this tensor on "cpu" or "cuda", without history.

        Raises
        ------
        ValueError
            If the device is neither of the two.
        kernels.NoGPUError
            If the device is "cuda" and there is no GPU to compute on; it says what to install.
        """
        return Tensor(kernels.to(self.data, device))

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """Return a capsule from which another library makes an array of the same memory.

        Other libraries call this from their `from_dlpack`. What they write is written here too.
        The capsule of a read-only array says so, if the other side knows DLPack 1.0; PyTorch and
        CuPy do not look, and would write into it.

        Parameters
        ----------
        stream : int, optional
            The stream of the GPU on which the other library goes on; CuPy makes it wait.
        max_version : (int, int), optional
            The newest version of DLPack that the other library knows.
        dl_device : (int, int), optional
            Where it wants the values: a type of device and its number, as `__dlpack_device__`.
        copy : bool, optional
            Whether it wants memory of its own. None copies only where it must: where steps
            between elements are negative, as in `x[::-1]`, with which PyTorch ends the process.

        Raises
        ------
        BufferError
            If the tensor requires a gradient, or a copy is needed and not allowed, or the dtype or
            the device cannot be given.
        """
        if self.requires_grad:
            raise BufferError(
                "__dlpack__: this tensor requires a gradient, and DLPack carries values only, so "
                "what another library computes would be missing from the tape; give it x.detach()"
            )
        return kernels.dlpack.capsule(
            self.data, stream=stream, max_version=max_version, dl_device=dl_device, copy=copy
        )

    def __dlpack_device__(self):
        """Return the type of device in DLPack's numbers, 1 is the CPU and 2 CUDA, and which."""
        return self.data.__dlpack_device__()

    def astype(self, dtype) -> Tensor:
        """Return the values in another dtype; the gradient comes back in this one."""
        return _astype(self, dtype=np.dtype(dtype))

    shape = property(lambda self: self.data.shape)
    ndim = property(lambda self: self.data.ndim)
    size = property(lambda self: self.data.size)
    dtype = property(lambda self: self.data.dtype)
    T = property(lambda self: self.transpose())

    def __len__(self):
        return len(self.data)

    def __iter__(self):
        if not self.ndim:
            raise TypeError("Tensor: a single number has nothing to iterate over")
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype=None, copy=None):
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __bool__(self):
        if self.size != 1:
            raise ValueError(
                f"Tensor: one of shape {self.shape} is neither true nor false; == and < compare "
                "each element, and x.numpy().all() or .any() says whether all or any are true"
            )
        return bool(self.item())

    def __repr__(self):
        values = np.array2string(self.numpy(), separator=", ", prefix="Tensor(")
        return f"Tensor({values}, dtype={self.dtype}{', requires_grad=True' * self.requires_grad})"

    def __add__(self, other):
        return _add(*operands(self, other))

    __radd__ = __add__

    def __sub__(self, other):
        return _subtract(*operands(self, other))

    def __rsub__(self, other):
        return _subtract(*operands(other, self))

    def __mul__(self, other):
        return _multiply(*operands(self, other))

    __rmul__ = __mul__

    def __truediv__(self, other):
        return _divide(*operands(self._floating(), other))

    def __rtruediv__(self, other):
        return _divide(*operands(other, self._floating()))

    def __pow__(self, other):
        return _power(*operands(self, other))

    def __rpow__(self, other):
        return _power(*operands(other, self))

    def __matmul__(self, other):
        return _matmul(*operands(self, other))

    def __rmatmul__(self, other):
        return _matmul(*operands(other, self))

    def __neg__(self):
        return _negative(self)

    def __abs__(self):
        return self.abs()

    def _floating(self):
        """Return whole numbers as float32: NumPy's quotient of them would be float64."""
        return self if self.dtype.kind == "f" else Tensor(self.data.astype(np.float32))

    def __eq__(self, other):
        return Tensor(self.data == _values(other))

    def __ne__(self, other):
        return Tensor(self.data != _values(other))

    def __lt__(self, other):
        return Tensor(self.data < _values(other))

    def __le__(self, other):
        return Tensor(self.data <= _values(other))

    def __gt__(self, other):
        return Tensor(self.data > _values(other))

    def __ge__(self, other):
        return Tensor(self.data >= _values(other))

    __hash__ = object.__hash__

    def __getitem__(self, index):
        parts = index if isinstance(index, tuple) else (index,)
        index = tuple(part.data if isinstance(part, Tensor) else part for part in parts)
        return _getitem(self, index=index)

    def __setitem__(self, index, value):
        raise TypeError(
            "Tensor: the tape cannot follow values that are assigned; compute a new tensor, by "
            "x * mask or ops.concatenate, or write to x.data before anything is computed from it"
        )

    def __getattr__(self, name):
        # Only asked for what does not exist: it costs nothing elsewhere.
        instead = f"; {_INSTEAD[name]} does that" if name in _INSTEAD else ""
        raise AttributeError(f"Tensor: there is no {name!r}{instead}")

    def abs(self) -> Tensor:
        """Return the absolute values; the gradient at 0 is 0."""
        return _absolute(self)

    def exp(self) -> Tensor:
        """Return e to the power of each element."""
        return _exp(self)

    def log(self) -> Tensor:
        """Return the natural logarithm of each element."""
        return _log(self)

    def sqrt(self) -> Tensor:
        """Return the square root of each element."""
        return _sqrt(self)

    def clip(self, minimum: float | None = None, maximum: float | None = None) -> Tensor:
        """Limit each element to [minimum, maximum]; outside, the gradient is 0."""
        return _clip(self, minimum=minimum, maximum=maximum)

    def sum(self, axis=None, keepdims: bool = False) -> Tensor:
        """Sum over an axis, several axes, or all of them."""
        return _sum(self, axis=axis, keepdims=keepdims)

    def mean(self, axis=None, keepdims: bool = False) -> Tensor:
        """Average over an axis, several axes, or all of them."""
        return _mean(self._floating(), axis=axis, keepdims=keepdims)

    def max(self, axis=None, keepdims: bool = False) -> Tensor:
        """Return the largest element along the axes; equal ones share the gradient."""
        return _extremum(self, axis=axis, keepdims=keepdims, largest=True)

    def min(self, axis=None, keepdims: bool = False) -> Tensor:
        """Return the smallest element along the axes; equal ones share the gradient."""
        return _extremum(self, axis=axis, keepdims=keepdims, largest=False)

    def reshape(self, *shape) -> Tensor:
        """Return the same elements in another shape; one extent may be -1."""
        return _reshape(self, shape=_sequence(shape))

    def transpose(self, *axes) -> Tensor:
        """Permute the axes; reverse them where none is given."""
        return _transpose(self, axes=_sequence(axes) or tuple(reversed(range(self.ndim))))


def from_dlpack(x: Any, *, copy: bool | None = None) -> Tensor:
    """Return a tensor of another library's array, with the same memory where that is possible.

    Parameters
    ----------
    x : array or tensor of any library, any shape
        On the CPU it becomes a NumPy array, on a GPU a CuPy array on CuPy's current stream. What
        is read-only stays so on the CPU. One that requires a gradient is refused by its own
        library: gradients do not pass from tape to tape, so give `x.detach()`.
    copy : bool, optional
        True always copies, False never; None only where the other library cannot share.

    Raises
    ------
    TypeError
        If x does not know DLPack, or does not hold real numbers.
    BufferError
        If x lies on another kind of device, or has a dtype that NumPy lacks, such as bfloat16; or
        if its library does not give it away, or only as a copy where that is not allowed.
    kernels.NoGPUError
        If x lies on a GPU that CuPy cannot compute on; it says what to install.
    """
    return Tensor(kernels.dlpack.array_of(x, copy=copy))


# What users of PyTorch call, and what does the same here.
_INSTEAD = {
    "view": "reshape",
    "flatten": "reshape(len(x), -1) or nn.Flatten",
    "permute": "transpose",
    "squeeze": "reshape",
    "unsqueeze": "reshape, or x[:, None],",
    "argmax": "x.numpy().argmax",
    "cpu": 'to("cpu")',
    "cuda": 'to("cuda")',
    "float": "astype(np.float32)",
    "double": "astype(np.float64)",
    "relu": "ops.relu",
    "sigmoid": "ops.sigmoid",
    "softmax": "ops.softmax",
    "tanh": "ops.tanh",
    "requires_grad_": "requires_grad = True",
}


def _array(data):
    """Return the array that a tensor of this data holds."""
    if isinstance(data, Tensor):
        return data.data
    if isinstance(data, np.generic):  # what NumPy makes of a result without axes
        return np.asarray(data)
    if hasattr(data, "__array_function__"):
        return data
    if hasattr(data, "__dlpack__"):
        return kernels.dlpack.array_of(data)
    array = _listed(data, None) if isinstance(data, (list, tuple)) else np.asarray(data)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"Tensor: {data!r:.60} is {array.dtype}; it takes real numbers")
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _sequence(numbers):
    """Return the numbers of `f(2, 3)` and of `f((2, 3))` alike."""
    nested = len(numbers) == 1 and isinstance(numbers[0], (tuple, list))
    return tuple(numbers[0] if nested else numbers)


def _plain(value):
    """Return NumPy's scalars as Python's numbers, which do not widen float32."""
    return value.item() if isinstance(value, np.generic) else value


def operands(a, b):
    """Return two operands, one of them a tensor, so that neither widens the other's dtype.

    By NumPy's rules float32 becomes float64 beside whole numbers, lists and arrays without axes.
    Here these take the dtype of the floating-point tensor or array, and float32 beside a number;
    two floating-point dtypes stay, and widen the result as they do in PyTorch.
    """
    like = (a if isinstance(a, Tensor) else b).data
    pair = [_listed(v, like) if isinstance(v, (list, tuple)) else _plain(v) for v in (a, b)]
    given = zip(pair, (a, b), strict=True)
    dtypes = {v.dtype for v, was in given if _decides(v) and not isinstance(was, (list, tuple))}
    if not dtypes and any(isinstance(v, float) or _kind(v) == "f" for v in pair):
        dtypes = {np.dtype(np.float32)}
    if len(dtypes) == 1:
        (dtype,) = dtypes
        pair = [v if _kind(v) is None or v.dtype == dtype else v.astype(dtype) for v in pair]
    return tuple(pair)


def _listed(values, like):
    """Return a list of constants as an array."""
    if any(isinstance(value, Tensor) and value.requires_grad for value in values):
        raise TypeError("Tensor: a list of tensors loses their gradients; use ops.stack")
    return np.asarray(values, like=like)


def _kind(value):
    """Return the kind of an array's or a tensor's dtype, None for a number."""
    return value.dtype.kind if hasattr(value, "dtype") else None


def _decides(value):
    """Return whether an operand has a floating-point dtype of its own."""
    return _kind(value) == "f" and (isinstance(value, Tensor) or value.ndim > 0)


def _values(value):
    return value.data if isinstance(value, Tensor) else _plain(value)


_add = primitive(arithmetic.add)
_subtract = primitive(arithmetic.subtract)
_multiply = primitive(arithmetic.multiply)
_divide = primitive(arithmetic.divide)
_power = primitive(arithmetic.power)
_matmul = primitive(arithmetic.matmul)
_negative = primitive(arithmetic.negative)
_absolute = primitive(arithmetic.absolute)
_exp = primitive(arithmetic.exp)
_log = primitive(arithmetic.log)
_sqrt = primitive(arithmetic.sqrt)
_clip = primitive(arithmetic.clip)
_astype = primitive(arithmetic.astype)
_sum = primitive(arithmetic.sum_)
_mean = primitive(arithmetic.mean)
_extremum = primitive(arithmetic.extremum)
_reshape = primitive(arithmetic.reshape)
_transpose = primitive(arithmetic.transpose)
_getitem = primitive(arithmetic.getitem)
