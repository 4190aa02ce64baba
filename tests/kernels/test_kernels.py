"""How kernels are chosen, and how many threads they use."""

import threading

import numpy as np
import pytest

import minicnn as mc
from minicnn import kernels
from tests.kernels.foreign import ForeignArray


def test_the_array_decides_and_a_block_overrides_it():
    x = np.zeros(2)
    assert kernels.of(x, None, x) is kernels.cpu
    with kernels.use(kernels.reference):
        assert kernels.of(x) is kernels.reference
        assert kernels.of(ForeignArray(x)) is kernels.reference
    assert kernels.of(x) is kernels.cpu


def test_an_override_ends_with_an_error_and_holds_in_its_own_thread_only():
    chosen = []
    with pytest.raises(ZeroDivisionError), kernels.use(kernels.reference):
        thread = threading.Thread(target=lambda: chosen.append(kernels.of(np.zeros(2))))
        thread.start()
        thread.join()
        raise ZeroDivisionError
    assert chosen == [kernels.cpu]
    assert kernels.of(np.zeros(2)) is kernels.cpu


def test_arrays_of_another_device_run_on_the_cuda_kernels():
    assert kernels.of(ForeignArray(np.zeros(2)), None) is kernels.cuda


def test_arrays_of_two_devices_do_not_mix():
    with pytest.raises(
        TypeError, match="arrays of different devices .*; move the model or the batch"
    ):
        kernels.of(np.zeros(2), ForeignArray(np.zeros(2)))


def test_the_number_of_threads_is_set_and_told():
    before = mc.get_num_threads()
    try:
        mc.set_num_threads(1)
        assert mc.get_num_threads() == 1
    finally:
        mc.set_num_threads(before)
    assert mc.get_num_threads() == before
    with pytest.raises(ValueError, match="count is 0; it must be a whole number >= 1"):
        mc.set_num_threads(0)
