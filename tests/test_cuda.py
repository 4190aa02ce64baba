"""What only a GPU can show: models go there and back, and a graph of theirs has the same bits."""

import numpy as np
import pytest

import minicnn as mc
from minicnn import kernels, models, nn, ops, optim
from tests.emulator.test_graph import OPTIMIZERS, train
from tests.kernels.cases import assert_close

pytestmark = pytest.mark.gpu


def to_the_gpu(model):
    return model.to("cuda")


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("max_grad_norm", [None, 0.05])
def test_a_captured_training_has_the_same_bits(name, max_grad_norm):
    plain, captured = (
        train(OPTIMIZERS[name], place=to_the_gpu, cuda_graph=graph, max_grad_norm=max_grad_norm)
        for graph in (False, True)
    )
    assert captured[0] == plain[0]
    for key, array in plain[1].items():
        assert np.array_equal(captured[1][key], array), key


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_crepe_with_its_transforms_and_products_has_the_same_bits_in_a_graph(precision):
    rng = np.random.default_rng(0)
    batch = rng.standard_normal((4, 1, 1024)).astype(np.float32), rng.random((4, 360))
    batch = batch[0], batch[1].astype(np.float32)
    weights = []
    mc.set_matmul_precision(precision)
    try:
        for graph in (False, True):
            model = models.crepe("tiny", rng=0).to("cuda")
            adam = optim.Adam(model.parameters(), lr=1e-3)
            loss = ops.binary_cross_entropy_with_logits
            mc.manual_seed(0)
            mc.fit(model, [batch], loss, adam, epochs=4, progress=False, cuda_graph=graph)
            weights.append({k: kernels.to(x, "cpu") for k, x in model.state_dict().items()})
    finally:
        mc.set_matmul_precision("float32")
    assert all(np.array_equal(weights[0][key], weights[1][key]) for key in weights[0])


def test_a_step_that_looks_at_a_number_is_refused_and_the_gpu_goes_on():
    def loss(logits, target):
        value = ops.cross_entropy(logits, target)
        return value * 2 if float(value) > 0 else value

    with pytest.raises(RuntimeError, match="the step cannot be captured"):
        train(OPTIMIZERS["sgd"], place=to_the_gpu, cuda_graph=True, loss=loss)
    train(OPTIMIZERS["sgd"], place=to_the_gpu, cuda_graph=True)


def test_a_fused_model_infers_the_same_in_a_graph():
    model = models.lenet5("modern", rng=0).eval().to("cuda")
    fused = nn.fuse(model)
    x = kernels.to(np.random.default_rng(0).standard_normal((3, 1, 32, 32), np.float32), "cuda")
    expected = kernels.to(fused(x).data, "cpu")
    infer = kernels.cuda.graph.ByShape(lambda x: fused(x).data)
    for _ in range(3):
        assert np.array_equal(kernels.to(infer(x), "cpu"), expected)


@pytest.mark.parametrize("index", [[1, 0, 1, 1], (slice(None), [2, 2, 0])], ids=str)
def test_gradients_of_elements_that_are_taken_several_times_have_the_same_bits(index):
    gradients = []
    for device in ("cpu", "cuda", "cuda"):
        x = mc.Tensor(np.random.default_rng(0).standard_normal((2, 3, 500), np.float32))
        x = mc.Tensor(x.to(device).data, requires_grad=True)
        y = x[index]
        y.backward(y.data * y.data)
        gradients.append(kernels.to(x.grad, "cpu"))
    assert np.array_equal(gradients[1], gradients[2])
    assert_close(gradients[1], gradients[0], 3)


def test_weights_and_optimisers_go_there_and_back(tmp_path):
    one, other = nn.Linear(3, 2, rng=0).to("cuda"), nn.Linear(3, 2, rng=1)
    adam = optim.Adam(one.parameters())
    one(mc.Tensor(np.ones((4, 3), np.float32)).to("cuda")).sum().backward()
    adam.step()
    other.load_state_dict(one.state_dict())
    again = optim.Adam(other.parameters())
    again.load_state_dict(adam.state_dict())
    back = nn.Linear(3, 2, rng=2).to("cuda")
    back.load_state_dict(other.state_dict())
    mc.save(tmp_path / "model.safetensors", one.state_dict())
    saved = mc.load(tmp_path / "model.safetensors")
    for model in (other, back):
        for name, array in model.state_dict().items():
            assert np.array_equal(kernels.to(array, "cpu"), saved[name])
    momentum = kernels.to(adam.state_dict()["0.m"], "cpu")
    assert np.array_equal(again.state_dict()["0.m"], momentum)


def test_arrays_are_shared_with_pytorch():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU")
    theirs = torch.arange(6, dtype=torch.float32, device="cuda").reshape(2, 3)
    ours = mc.from_dlpack(theirs)
    ours.data[0, 0] = 7
    torch.cuda.synchronize()
    assert float(theirs[0, 0]) == 7
    back = torch.from_dlpack(ours)
    assert back.data_ptr() == theirs.data_ptr()
