"""An array that is not NumPy's: it behaves like one, but refuses to become one or to meet one.

CuPy's arrays are like this. Running the reference on it shows, without a GPU, that nothing falls
back to NumPy on the way: it answers NumPy's functions through the protocols of NEP 13 and NEP 18,
if CuPy has the function, and raises where CuPy would.
"""

import numpy as np

# Of what NumPy has, what the reference and the engine use and CuPy 14 has under the same name.
IN_CUPY = """
absolute add arange argmax argsort array asarray bitwise_and bitwise_or bitwise_xor broadcast_to
clip concatenate cos divide empty_like equal exp expand_dims expm1 floor_divide full_like greater
greater_equal isfinite isnan less less_equal log log1p matmul max maximum min minimum multiply
negative not_equal ones_like pad power remainder right_shift searchsorted shape sign sqrt square
stack subtract sum take_along_axis tanh tensordot where zeros_like
"""


class ForeignArray(np.lib.mixins.NDArrayOperatorsMixin):
    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        raise TypeError("implicit conversion to NumPy")

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if ufunc is np.add and method == "at":
            if not all(isinstance(each, ForeignArray) for each in inputs):  # no tuples of places
                return NotImplemented
            np.add.at(*map(unwrap, inputs))
            return None
        return self._call(ufunc.__name__, getattr(ufunc, method), inputs, options)

    def __array_function__(self, function, types, inputs, options):
        return self._call(function.__name__, function, inputs, options)

    def _call(self, name, function, inputs, options):
        if name not in IN_CUPY.split():
            raise TypeError(f"not known to be in CuPy: {name}")
        if name not in ("array", "asarray"):  # CuPy's copy what they are given to the device
            refuse_numpy((inputs, options))
        return wrap(function(*unwrap(inputs), **unwrap(options)))

    def __getitem__(self, index):
        refuse_numpy(index)
        return wrap(self.values[unwrap(index)])

    def __setitem__(self, index, value):
        refuse_numpy((index, value))
        self.values[unwrap(index)] = unwrap(value)

    def __getattr__(self, name):
        attribute = getattr(self.values, name)
        if not callable(attribute):
            return wrap(attribute)

        def method(*inputs, **options):
            if not options.keys().isdisjoint({"initial", "where"}):
                raise TypeError(f"not known to CuPy's {name}: {', '.join(options)}")
            return wrap(attribute(*unwrap(inputs), **unwrap(options)))

        return method

    def get(self):
        """Return the content as a NumPy array, which it does when asked so, and only then."""
        return self.values

    def __len__(self):
        return len(self.values)

    def __float__(self):
        return float(self.values)

    def __int__(self):
        return int(self.values)

    def __bool__(self):
        return bool(self.values)


def wrap(value):
    return ForeignArray(np.asarray(value)) if isinstance(value, (np.ndarray, np.generic)) else value


def unwrap(value):
    if isinstance(value, ForeignArray):
        return value.values
    if isinstance(value, (tuple, list)):
        return type(value)(map(unwrap, value))
    if isinstance(value, dict):
        return {name: unwrap(part) for name, part in value.items()}
    return value


def refuse_numpy(value):
    """Raise where a NumPy array stands among the arguments, as CuPy does."""
    if isinstance(value, np.ndarray):
        raise TypeError("a NumPy array meets an array of another device")
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        for part in value:
            refuse_numpy(part)
