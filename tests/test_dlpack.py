"""Arrays of other libraries become tensors, and tensors theirs, in the same memory."""

import sys
import types

import numpy as np
import pytest
from minicnn.kernels.cuda import availability

import minicnn as mc
from minicnn import kernels, nn

DTYPES = ["float16", "float32", "float64", "int8", "int32", "int64", "uint8", "bool"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3, 4)])
def test_numpy_takes_and_gives_the_same_memory(shape, dtype):
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    taken = mc.from_dlpack(array)
    given = np.from_dlpack(mc.Tensor(array))
    for other in (taken.data, given):
        np.testing.assert_array_equal(other, array, strict=True)
        if array.size:
            assert np.shares_memory(other, array)
    assert not taken.requires_grad


# Older ones, with which everything else works, give arrays that nobody may write to.
numpy_lets_write = pytest.mark.skipif(
    not np.from_dlpack(np.zeros(1)).flags.writeable,
    reason=f"NumPy {np.__version__} takes all arrays read-only",
)


@numpy_lets_write
def test_what_is_written_on_one_side_is_read_on_the_other():
    x = mc.Tensor(np.zeros((2, 3), np.float32))
    np.from_dlpack(x)[1, 2] = 5
    assert x.data[1, 2] == 5
    mc.from_dlpack(x).data[0, 0] = 7
    assert x.data[0, 0] == 7


@pytest.mark.parametrize("index", [np.s_[::2], np.s_[:, ::3], np.s_[..., 1:], np.s_[:, None]])
def test_gaps_between_elements_stay(index):
    array = np.arange(24.0).reshape(4, 6)[index]
    given = np.from_dlpack(mc.Tensor(array))
    assert np.shares_memory(given, array)
    long = [axis for axis, extent in enumerate(array.shape) if extent > 1]  # no step matters else
    assert [given.strides[axis] for axis in long] == [array.strides[axis] for axis in long]
    np.testing.assert_array_equal(mc.from_dlpack(array.T).data, array.T)


@pytest.mark.parametrize("copy", [None, True])
def test_negative_steps_are_copied(copy):
    array = np.arange(24.0).reshape(4, 6)[:, ::-1]
    x = mc.Tensor(array)
    given = np.from_dlpack(x, copy=copy)
    assert not np.shares_memory(given, array)
    np.testing.assert_array_equal(given, array)
    with pytest.raises(BufferError, match=r"steps .* are \(48, -8\) bytes.*copy is False"):
        np.from_dlpack(x, copy=False)


def test_a_copy_is_made_where_it_is_asked_for():
    array = np.zeros(3)
    x = mc.Tensor(array)
    for copied in (np.from_dlpack(x, copy=True), mc.from_dlpack(array, copy=True).data):
        assert not np.shares_memory(copied, array)
    for shared in (np.from_dlpack(x, copy=False), mc.from_dlpack(array, copy=False).data):
        assert np.shares_memory(shared, array)


def test_read_only_arrays_stay_read_only():
    array = np.arange(3.0)
    array.flags.writeable = False
    assert not mc.from_dlpack(array).data.flags.writeable
    assert not np.from_dlpack(mc.Tensor(array)).flags.writeable
    # Before version 1.0 a capsule could not say so, and the other side would write.
    with pytest.raises(BufferError, match="readonly"):
        mc.Tensor(array).__dlpack__()


@numpy_lets_write
def test_a_copy_of_a_read_only_array_may_be_written_to():
    array = np.arange(3.0)
    array.flags.writeable = False
    assert np.from_dlpack(mc.Tensor(array), copy=True).flags.writeable


def test_the_standards_keyword_arguments_are_known():
    x = mc.Tensor(np.zeros(2))
    assert x.__dlpack_device__() == (1, 0)
    assert '"dltensor"' in repr(x.__dlpack__())
    assert '"dltensor"' in repr(x.__dlpack__(max_version=(0, 8)))
    capsule = x.__dlpack__(stream=None, max_version=(1, 0), dl_device=(1, 0), copy=False)
    assert '"dltensor_versioned"' in repr(capsule)
    with pytest.raises(BufferError, match="device"):
        x.__dlpack__(dl_device=(2, 0))


def test_only_what_was_asked_for_reaches_an_older_library(monkeypatch):
    """NumPy 2.0 knows only the stream: consumers drop the rest where it raises TypeError."""
    asked = []

    class Older(np.ndarray):
        def __dlpack__(self, *, stream=None):
            asked.append(stream)
            return np.asarray(self).__dlpack__(stream=stream)

    x = mc.Tensor(np.zeros(2).view(Older))
    assert '"dltensor"' in repr(x.__dlpack__())
    with pytest.raises(TypeError, match="max_version"):
        x.__dlpack__(max_version=(1, 0))
    assert asked == [None]


def test_a_tensor_that_requires_a_gradient_is_refused():
    message = "requires a gradient, and DLPack carries values only.*give it x.detach()"
    leaf = mc.Tensor([1.0], requires_grad=True)
    for x in (leaf, leaf * 2, nn.Linear(2, 2).weight):
        with pytest.raises(BufferError, match=message):
            np.from_dlpack(x)
    assert np.shares_memory(np.from_dlpack(leaf.detach()), leaf.data)
    with mc.no_grad():
        np.from_dlpack(leaf * 2)


def test_memory_is_not_used_again_while_another_library_has_it():
    array = kernels.memory.empty((kernels.memory.LEAST,), np.float32)
    array[:] = 1
    given = np.from_dlpack(mc.Tensor(array))
    size, in_use = array.nbytes, mc.memory_stats()["in_use"]
    del array
    assert mc.memory_stats()["in_use"] == in_use
    others = [kernels.memory.empty((kernels.memory.LEAST,), np.float32) for _ in range(4)]
    for other in others:
        other[:] = 2
    assert (given == 1).all()
    held = mc.memory_stats()["in_use"]
    del given
    # Pieces that wait may be a little larger than what is asked for.
    assert size <= held - mc.memory_stats()["in_use"] < size + kernels.memory.LEAST


def test_what_does_not_know_dlpack_is_named():
    with pytest.raises(TypeError, match="from_dlpack: list has no __dlpack__; it takes arrays"):
        mc.from_dlpack([1.0])


class Elsewhere:
    """An array on some device, which notes what it is asked for."""

    dtype = "float32"

    def __init__(self, kind):
        self.kind = kind

    def __dlpack_device__(self):
        return self.kind, 3

    def __dlpack__(self, **asked):
        raise AssertionError("asked for a capsule that nobody can read")


def test_other_devices_are_refused_by_number():
    with pytest.raises(BufferError, match=r"x is on device \(8, 3\); it takes the CPU \(1\)"):
        mc.from_dlpack(Elsewhere(8))


@pytest.mark.parametrize("kind", [2, 13])
def test_arrays_on_a_gpu_go_to_cupy(kind, monkeypatch):
    taken = []

    def from_dlpack(x, **options):
        taken.append((x, options))
        return np.ones(2, np.float32)

    cupy = types.SimpleNamespace(__name__="cupy", from_dlpack=from_dlpack)
    monkeypatch.setattr(availability, "cupy", lambda: cupy)
    x = Elsewhere(kind)
    assert mc.from_dlpack(x).shape == (2,)
    mc.from_dlpack(x, copy=False)
    mc.Tensor(x)
    assert taken == [(x, {}), (x, {"copy": False}), (x, {})]


def test_arrays_on_a_gpu_need_what_the_device_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    availability.cupy.cache_clear()
    with pytest.raises(kernels.NoGPUError, match="needs CuPy, which is not installed"):
        mc.from_dlpack(Elsewhere(2))


def test_numbers_that_are_not_real_are_refused():
    with pytest.raises(TypeError, match="from_dlpack: x is complex64; a tensor takes real numbers"):
        mc.from_dlpack(np.zeros(2, np.complex64))


def test_a_gpu_array_is_exported_by_its_own_library():
    """CuPy makes its stream wait for the other's, and copies to the CPU where that is wanted."""

    class Array:
        dtype, strides = np.dtype(np.float32), (4,)

        def __array_function__(self):
            raise AssertionError

        def __dlpack_device__(self):
            return 2, 0

        def __dlpack__(self, **asked):
            return asked

    x = mc.Tensor(Array())
    assert x.__dlpack_device__() == (2, 0)
    assert x.__dlpack__(stream=1) == {"stream": 1}
    asked = dict(stream=-1, max_version=(1, 1), dl_device=(1, 0), copy=True)
    assert x.__dlpack__(**asked) == asked


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", DTYPES)
def test_pytorch_takes_and_gives_the_same_memory(dtype, torch):
    theirs = torch.arange(6).reshape(2, 3).to(getattr(torch, dtype))
    taken = mc.from_dlpack(theirs)
    assert taken.dtype == dtype
    assert taken.data.ctypes.data == theirs.data_ptr()
    ours = mc.Tensor(np.arange(6).reshape(2, 3).astype(dtype))
    given = torch.from_dlpack(ours)
    assert given.dtype == theirs.dtype
    assert given.data_ptr() == ours.data.ctypes.data
    assert torch.equal(given, theirs)
    given[1, 2] = 0
    assert ours.data[1, 2] == 0
    taken.data[0, 1] = 0
    assert theirs[0, 1] == 0


def test_a_tensor_of_a_pytorch_tensor_has_its_memory_and_its_dtype(torch):
    theirs = torch.zeros(3, dtype=torch.float64)
    x = mc.Tensor(theirs, requires_grad=True)
    assert x.dtype == np.float64
    assert x.data.ctypes.data == theirs.data_ptr()


def test_pytorch_takes_views_and_what_runs_backwards(torch):
    array = np.arange(24, dtype=np.float32).reshape(4, 6)
    turned = mc.Tensor(array.T[1::2])
    given = torch.from_dlpack(turned)
    assert given.data_ptr() == turned.data.ctypes.data
    np.testing.assert_array_equal(given.numpy(), turned.data)
    # With NumPy's own capsule of this array PyTorch ends the process.
    backwards = torch.from_dlpack(mc.Tensor(array[:, ::-1]))
    np.testing.assert_array_equal(backwards.numpy(), array[:, ::-1])


def test_pytorchs_tensors_with_gradients_are_refused_by_pytorch(torch):
    theirs = torch.ones(2, requires_grad=True)
    with pytest.raises(BufferError, match="detach"):
        mc.from_dlpack(theirs)
    assert mc.from_dlpack(theirs.detach()).data.sum() == 2


def test_ours_with_gradients_are_refused_to_pytorch_in_our_words(torch):
    with pytest.raises(BufferError, match="requires a gradient"):
        torch.from_dlpack(mc.Tensor([1.0], requires_grad=True))


def test_bfloat16_which_numpy_lacks_is_named_with_what_to_do(torch):
    theirs = torch.ones(2, dtype=torch.bfloat16)
    with pytest.raises(BufferError, match=r"numpy cannot hold x, of torch.bfloat16.*to float32"):
        mc.from_dlpack(theirs)
    assert mc.from_dlpack(theirs.float()).data.sum() == 2


def test_a_step_of_pytorch_on_our_weights_is_ours_too(torch):
    layer = nn.Linear(3, 2, rng=0)
    theirs = torch.nn.Linear(3, 2)
    theirs.weight = torch.nn.Parameter(torch.from_dlpack(layer.weight.detach()))
    before = layer.weight.data.copy()
    theirs(torch.ones(1, 3)).sum().backward()
    torch.optim.SGD([theirs.weight], lr=1.0).step()
    np.testing.assert_array_equal(layer.weight.data, before - 1)
