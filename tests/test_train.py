"""The training loop: what it records, how it stops, what it keeps, and exact resumption."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

import minicnn as mc
from minicnn import data, nn, ops, optim
from minicnn.rng import generator

rng = np.random.default_rng(0)
inputs = rng.standard_normal((48, 4)).astype(np.float32)
labels = (inputs[:, 0] + inputs[:, 1] > 0).astype(int)


def accuracy(outputs, targets):
    return (outputs.argmax(axis=1) == targets).mean()


def noisy(x, label, *, rng):
    return x + rng.normal(0, 0.1, x.shape).astype(np.float32), label


class InterruptionError(Exception):
    pass


def parts(seed=0, lr=0.05):
    """Return a model with every source of randomness, and what trains it."""
    mc.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Dropout(0.1, rng=seed),
        nn.Linear(8, 2),
    )  # fmt: skip
    train = data.DataLoader(data.ArrayDataset(inputs, labels), 8, shuffle=True, transform=noisy)
    valid = data.DataLoader(data.ArrayDataset(inputs, labels), 48)
    return model, train, valid, optim.Adam(model.parameters(), lr=lr)


def run(epochs, folder=None, resume=False, stop_after=None, seed=0, **options):
    model, train, valid, optimizer = parts(seed)
    seen = []

    def loss(outputs, target):
        seen.append(1)
        if stop_after is not None and len(seen) > stop_after:
            raise InterruptionError
        return ops.cross_entropy(outputs, target)

    settings = dict(metrics={"accuracy": accuracy}, schedule=optim.cosine_decay(6), progress=False)
    history = mc.fit(
        model,
        train,
        loss,
        optimizer,
        epochs=epochs,
        valid=valid,
        checkpoint=folder,
        resume=resume,
        **{**settings, **options},
    )
    return model, history


def weights(model):
    return {name: array.copy() for name, array in model.state_dict().items()}


def equal(one, other):
    return (
        all(np.array_equal(one[name], other[name]) for name in one) and one.keys() == other.keys()
    )


def without_time(history):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in history]


def test_fit_learns_and_records_every_epoch():
    model, history = run(12, schedule=None)
    assert [record["epoch"] for record in history] == list(range(1, 13))
    assert history[0].keys() == {
        "epoch", "lr_factor", "train_loss", "valid_loss", "valid_accuracy", "seconds",
    }  # fmt: skip
    assert history[-1]["valid_loss"] < history[0]["valid_loss"]
    assert history[-1]["valid_accuracy"] > 0.9
    assert not model.training


def test_the_same_seed_trains_the_same_weights():
    assert equal(weights(run(3)[0]), weights(run(3)[0]))
    assert not equal(weights(run(3)[0]), weights(run(3, seed=1)[0]))


# An epoch has 6 steps and 1 validation batch: interruptions within and between epochs.
@pytest.mark.parametrize("stop_after", [3, 7, 10, 14, 20, 27, 30, 34, 35])
def test_an_interrupted_and_resumed_run_has_the_very_weights_of_an_uninterrupted_one(
    tmp_path, stop_after
):
    model, history = run(6, tmp_path / "whole", monitor="train_loss")
    folder = tmp_path / "broken"
    with pytest.raises(InterruptionError):
        run(6, folder, stop_after=stop_after, monitor="train_loss")
    resumed, second = run(6, folder, resume=True, seed=5, monitor="train_loss")
    assert equal(weights(model), weights(resumed))
    assert without_time(history) == without_time(second)
    for name in ("best", "last"):
        one, other = (
            mc.load(tmp_path / run / f"{name}.safetensors") for run in ("whole", "broken")
        )
        arrays = [{k: v for k, v in state.items() if hasattr(v, "shape")} for state in (one, other)]
        assert equal(*arrays)


def test_a_killed_process_resumes_too(tmp_path):
    script = textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(Path(__file__).parents[1])!r})
        from tests.test_train import run
        run(400, {str(tmp_path / "run")!r}, patience=1000)
    """)
    process = subprocess.Popen([sys.executable, "-c", script])
    log = tmp_path / "run" / "log.jsonl"
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().count("\n") >= 3):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(mc.load(tmp_path / "run" / "last.safetensors")["history"])
    assert done >= 3
    model, history = run(done + 2, tmp_path / "run", resume=True, seed=5)
    expected, _ = run(done + 2)
    assert len(history) == done + 2
    assert equal(weights(model), weights(expected))
    assert len(log.read_text().splitlines()) == done + 2


def test_a_finished_run_can_be_made_longer(tmp_path):
    run(2, tmp_path, monitor=None)
    longer, history = run(4, tmp_path, resume=True, seed=5, monitor=None)
    assert len(history) == 4
    assert equal(weights(longer), weights(run(4, monitor=None)[0]))


def test_the_model_ends_with_the_weights_of_the_best_epoch(tmp_path):
    for folder in (None, tmp_path):
        scores = iter([0.1, 0.9, 0.3, 0.9])
        kept = []

        def score(outputs, targets, scores=scores, kept=kept):
            kept.append(outputs.copy())
            return next(scores)

        model, history = run(4, folder, metrics={"score": score}, monitor="valid_score", mode="max")
        assert [record["valid_score"] for record in history] == [0.1, 0.9, 0.3, 0.9]
        with mc.no_grad():
            assert np.array_equal(model(mc.Tensor(inputs)).numpy(), kept[1])


def test_training_stops_when_patience_is_at_its_end():
    scores = iter([3.0, 2.0, 2.5, 2.5, 2.1, 1.0])
    options = dict(metrics={"score": lambda o, t: next(scores)}, monitor="valid_score")
    _, history = run(6, patience=1, **options)
    assert len(history) == 4


def test_patience_needs_a_validation_and_an_entry_to_watch():
    model, train, valid, optimizer = parts()
    arguments = (model, train, ops.cross_entropy, optimizer)
    with pytest.raises(ValueError, match="monitor 'valid_loss' is not among lr_factor, seconds"):
        mc.fit(*arguments, epochs=1, patience=3, progress=False)
    with pytest.raises(ValueError, match="epochs is 0 and patience None; they are 1 and 0 or more"):
        mc.fit(*arguments, epochs=0)
    with pytest.raises(ValueError, match="metrics need valid, and none of them may be called"):
        mc.fit(*arguments, epochs=1, metrics={"accuracy": accuracy})
    with pytest.raises(ValueError, match="monitor 'valid_f1' is not among lr_factor, "):
        mc.fit(*arguments, epochs=2, valid=valid, patience=3, monitor="valid_f1", progress=False)
    with pytest.raises(ValueError, match="mode is 'biggest'; it takes 'min' or 'max'"):
        mc.fit(*arguments, epochs=1, mode="biggest")


def test_a_folder_whose_run_has_no_epoch_yet_is_begun_anew(tmp_path):
    with pytest.raises(InterruptionError):
        run(2, tmp_path, stop_after=3)
    _, history = run(2, tmp_path, seed=1)
    assert len(history) == 2


def test_the_schedule_sets_the_rate_of_every_step():
    asked = []

    def schedule(epoch, losses):
        asked.append((epoch, len(losses)))
        return 0.5

    _, history = run(2, schedule=schedule)
    assert asked == [(epoch + step / 6, epoch) for epoch in range(2) for step in range(6)]
    assert history[0]["lr_factor"] == 0.5


def test_gradients_are_clipped_before_the_step():
    model, train, _, _ = parts()
    before = np.concatenate([p.data.ravel() for p in model.parameters()])
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    mc.fit(model, [next(iter(train))], lambda o, t: ops.cross_entropy(o, t) * 1e6, optimizer,
           epochs=1, max_grad_norm=0.5, progress=False)  # fmt: skip
    after = np.concatenate([p.data.ravel() for p in model.parameters()])
    assert np.linalg.norm(after - before) == pytest.approx(0.5, rel=1e-4)


def test_a_log_holds_one_record_per_epoch(tmp_path):
    _, history = run(3, tmp_path)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == history


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    run(1, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(
        FileExistsError, match="already holds last.safetensors, best.safetensors, log.jsonl; pass"
    ):
        run(1, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_reported_and_the_last_checkpoint_kept(tmp_path, bad):
    model, train, valid, optimizer = parts()
    count = []

    def loss(outputs, target):
        count.append(1)
        return ops.cross_entropy(outputs, target) * (bad if len(count) == 6 + 1 + 3 else 1.0)

    with pytest.raises(
        FloatingPointError, match=rf"the loss is {bad} at epoch 2, step 3; .* 1 epochs before"
    ):
        mc.fit(
            model,
            train,
            loss,
            optimizer,
            epochs=4,
            valid=valid,
            checkpoint=tmp_path,
            progress=False,
        )
    state = mc.load(tmp_path / "last.safetensors")
    assert len(state["history"]) == 1
    assert all(np.isfinite(v).all() for v in state.values() if hasattr(v, "shape"))


def test_weights_that_are_not_finite_never_replace_the_last_good_ones(tmp_path):
    model = nn.Sequential(nn.Linear(4, 2))
    optimizer = optim.SGD(model.parameters(), lr=1e38)
    batches = [(inputs * np.float32(1e20), labels)]
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            FloatingPointError, match=r"0\.weight is not finite after epoch 1; .* as they were"
        ),
    ):
        mc.fit(model, batches, ops.cross_entropy, optimizer, epochs=3, checkpoint=tmp_path,
               monitor="train_loss", progress=False)  # fmt: skip
    state = mc.load(tmp_path / "last.safetensors")
    assert all(np.isfinite(v).all() for v in state.values() if hasattr(v, "shape"))


def test_an_infinity_in_a_buffer_may_be_meant():
    model = nn.Linear(4, 2)
    model.mask = nn.Buffer(np.array([0, -np.inf], np.float32))
    mc.fit(model, [(inputs, labels)], ops.cross_entropy, optim.SGD(model.parameters()), epochs=1,
           progress=False)  # fmt: skip


def test_a_metric_without_a_value_is_never_the_best(tmp_path):
    scores = iter([float("nan"), 0.5, 0.6, 0.55, 0.5])
    _, history = run(
        5, tmp_path, metrics={"f1": lambda o, t: next(scores)}, monitor="valid_f1", mode="max",
        patience=1,
    )  # fmt: skip
    assert len(history) == 5
    best = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert best["valid_f1"] is None


def test_the_plateau_schedule_waits_for_a_maximum_where_the_larger_is_better():
    scores = iter([0.1, 0.2, 0.3, 0.4, 0.5])
    _, history = run(
        5, metrics={"f1": lambda o, t: next(scores)}, monitor="valid_f1", mode="max",
        schedule=optim.reduce_on_plateau(0.1, patience=0),
    )  # fmt: skip
    assert [record["lr_factor"] for record in history] == [1] * 5


def test_a_run_is_resumed_with_the_settings_it_was_begun_with_only(tmp_path):
    run(1, tmp_path)
    for options, message in (
        (dict(monitor="train_loss"), "has monitor 'valid_loss', this run 'train_loss'"),
        (dict(mode="max"), "has mode 'min', this run 'max'"),
    ):
        with pytest.raises(ValueError, match=message):
            run(2, tmp_path, resume=True, **options)
    model, train, _, optimizer = parts()
    with pytest.raises(ValueError, match=r"has monitor 'valid_loss', this run None"):
        mc.fit(
            model, train, ops.cross_entropy, optimizer, epochs=2, checkpoint=tmp_path, resume=True
        )
    other = data.DataLoader(data.ArrayDataset(inputs, labels), 16)
    with pytest.raises(ValueError, match="batch_size is 16, and 8 in the state"):
        mc.fit(model, other, ops.cross_entropy, optimizer, epochs=2, valid=train,
               checkpoint=tmp_path, resume=True)  # fmt: skip
    (tmp_path / "best.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="best"):
        run(2, tmp_path, resume=True)


def test_random_streams_of_any_name_are_resumed_and_others_refused(tmp_path):
    class Jitter(nn.Module):
        def __init__(self, bits):
            self.weight = nn.Parameter(np.zeros((4, 2), np.float32))
            self.stream = np.random.Generator(bits(3))

        def forward(self, x):
            return x @ (self.weight + self.stream.normal(0, 0.1, (4, 2)).astype(np.float32))

    def trained(folder, epochs, resume=False, bits=np.random.Philox):
        mc.manual_seed(0)
        model = Jitter(bits)
        batches = data.DataLoader(data.ArrayDataset(inputs, labels), 8, shuffle=True)
        mc.fit(model, batches, ops.cross_entropy, optim.SGD(model.parameters(), lr=np.float32(0.1)),
               epochs=epochs, checkpoint=folder, resume=resume, progress=False)  # fmt: skip
        return model.weight.data

    for bits in (np.random.Philox, np.random.MT19937, np.random.SFC64):
        whole = trained(tmp_path / f"{bits.__name__}-whole", 4, bits=bits)
        trained(tmp_path / bits.__name__, 2, bits=bits)
        resumed = trained(tmp_path / bits.__name__, 4, resume=True, bits=bits)
        assert np.array_equal(whole, resumed)


def test_foreign_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "log.jsonl").write_text("mine")
    with pytest.raises(FileExistsError, match=r"already holds log\.jsonl"):
        run(1, tmp_path)
    assert (tmp_path / "log.jsonl").read_text() == "mine"
    mc.save(tmp_path / "last.safetensors", {"history": np.ones(1), "settings": 1})
    with pytest.raises(FileExistsError, match=r"already holds last\.safetensors, log\.jsonl"):
        run(1, tmp_path)


def test_what_a_killed_process_left_half_written_is_cleared_away(tmp_path):
    run(1, tmp_path)
    (tmp_path / ".last.safetensors.123.tmp").write_bytes(b"half")
    run(2, tmp_path, resume=True)
    assert not list(tmp_path.glob(".*"))


def test_where_there_are_no_locks_it_is_said_and_what_another_run_may_be_writing_is_left_alone(
    tmp_path, monkeypatch
):
    run(1, tmp_path)
    fcntl = pytest.importorskip("fcntl", reason="Windows has no such locks")

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / ".last.safetensors.123.tmp").write_bytes(b"half")
    message = f"fit: there are no locks where '{tmp_path}' is, so that a second run there is not re"
    with pytest.warns(UserWarning, match=message) as caught:
        run(2, tmp_path, resume=True)
    assert [warning.filename for warning in caught] == [__file__]
    assert (tmp_path / ".last.safetensors.123.tmp").read_bytes() == b"half"


def test_evaluate_restores_every_mode_also_after_an_error():
    model, train, _, _ = parts()
    model[1].eval()
    with pytest.raises(ZeroDivisionError):
        mc.evaluate(model, train, lambda outputs, target: 1 / 0)
    assert [module.training for module in model] == [True, False, True, True, True, True]


def test_batches_may_be_lists():
    batch = [inputs[:8].tolist(), labels[:8].tolist()]
    model, _, _, optimizer = parts()
    mc.fit(model, [batch], ops.cross_entropy, optimizer, epochs=1, progress=False)


def test_a_validation_loss_that_is_not_finite_is_reported(tmp_path):
    model, train, _, optimizer = parts()
    poisoned = [(np.full((1, 4), np.nan, np.float32), np.array([0]))]
    with pytest.raises(FloatingPointError, match="the validation loss is nan at epoch 1;"):
        mc.fit(model, train, ops.cross_entropy, optimizer, epochs=1, valid=poisoned, progress=False)


def test_a_checkpoint_of_another_model_or_of_another_kind_is_refused(tmp_path):
    run(1, tmp_path)
    model, train, valid, _ = parts()
    other = nn.Sequential(*model[:4], nn.Dropout(0.1, rng=0), nn.Linear(8, 3))
    before = weights(other)
    with pytest.raises(
        ValueError, match=r"load_state_dict: Sequential: .*5\.weight is \(3, 8\) here"
    ):
        mc.fit(other, train, ops.cross_entropy, optim.Adam(other.parameters()), epochs=2,
               valid=valid, checkpoint=tmp_path, resume=True)  # fmt: skip
    assert equal(weights(other), before)
    with pytest.raises(ValueError, match=r"has the random streams \['default', 'model\.4\.rng'\]"):
        mc.fit(model[:4], train, ops.cross_entropy, optim.Adam(model[:4].parameters()), epochs=2,
               valid=valid, checkpoint=tmp_path, resume=True)  # fmt: skip
    mc.save(tmp_path / "last.safetensors", {"weight": np.ones(1)})
    with pytest.raises(ValueError, match="is no checkpoint of fit; it lacks history, settings"):
        run(2, tmp_path, resume=True)


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


# What may be wrong with each part of a checkpoint, and what is said of it.
DAMAGED = {
    "settings": [
        (lambda kept: {}, "is damaged: it lacks the setting optimizer"),
        (lambda kept: [], "is damaged: settings is of type list, not dict"),
        (lambda kept: np.ones(2), "is damaged: settings is of type ndarray, not dict"),
        (lambda kept: kept | {"optimizer": "SGD"}, "has optimizer 'SGD', this run 'Adam'"),
    ],
    "history": [
        (lambda kept: [*kept, 5], "is damaged: epoch 2 of its history is 5; it takes numbers for"),
        (lambda kept: [without(kept[0], "valid_loss")], "is damaged: epoch 1 of .*, valid_loss"),
        (lambda kept: [kept[0] | {"valid_loss": "a\nb"}], "is damaged: epoch 1 of its history is"),
        (lambda kept: [kept[0] | {"valid_loss": 10**400}], "is damaged: epoch 1 of its history is"),
        (lambda kept: kept * 2, "is damaged: epoch 2 of its history is {'epoch': 1, "),
    ],
    "loaders": [
        (lambda kept: [kept[0], None], r"is damaged: the states of its loaders are \[{'seed': "),
        (lambda kept: [without(kept[0], "seed"), kept[1]], "not fit: DataLoader: seed is None"),
        (lambda kept: [kept[0] | {"epoch": -1}, kept[1]], r"seed is \d+ and epoch -1 in the state"),
        (lambda kept: [5, kept[1]], "does not fit: AttributeError: 'int' object has no attribute"),
    ],
    "generators": [
        (lambda kept: [kept], "is damaged: generators is of type list, not dict"),
        (lambda kept: {"default": kept["default"]}, r"has the random streams \['default'\], the"),
        (lambda kept: kept | {"model.4.rng": 5}, "stream model.4.rng is none of PCG64: 5"),
        (
            lambda kept: kept | {"model.4.rng": kept["default"] | {"bit_generator": "MT19937"}},
            "does not fit: state must be for a PCG64",
        ),
        (
            lambda kept: kept | {"default": kept["default"] | {"uinteger": -1}},
            "does not fit: OverflowError: ",
        ),
    ],
    "optimizer": [
        (lambda kept: without(kept, "group.0"), "load_state_dict: Adam: missing group.0"),
        (lambda kept: kept | {"lr_factor": []}, "does not fit: TypeError: float"),
        (lambda kept: kept | {"0.step": "a\nb"}, "does not fit: invalid literal .* 'a.nb'$"),
        (lambda kept: kept | {"a\nb": 1}, "load_state_dict: Adam: unexpected a b$"),
    ],
    "model.5.bias": [(lambda kept: kept[:1], r"5.bias is \(2,\) here and \(1,\) in the state")],
}  # fmt: skip
WRONG = [(name, *each) for name, some in DAMAGED.items() for each in some]


@pytest.mark.parametrize(("name", "change", "message"), WRONG)
def test_a_damaged_checkpoint_is_refused_in_one_line_and_nothing_is_changed(
    tmp_path, name, change, message
):
    run(1, tmp_path)
    last, best = tmp_path / "last.safetensors", tmp_path / "best.safetensors"
    state = mc.load(last)
    mc.save(last, state | {name: change(state[name])})
    if name.startswith("model."):
        mc.save(best, mc.load(best) | {name[6:]: change(state[name])})
    model, train, valid, optimizer = parts(seed=5)

    def everything():
        streams = [each.bit_generator.state for each in (generator(), model[4].rng)]
        return repr([model.state_dict(), optimizer.state_dict(), train.state_dict(), *streams])

    before = everything()
    with pytest.raises(ValueError, match=f"^fit: '.*last.safetensors' .*{message}") as caught:
        mc.fit(model, train, ops.cross_entropy, optimizer, epochs=2, valid=valid,
               checkpoint=tmp_path, resume=True)  # fmt: skip
    assert "\n" not in str(caught.value)
    assert everything() == before


def test_best_weights_that_do_not_belong_to_the_last_ones_are_refused_before_training(tmp_path):
    run(1, tmp_path)
    mc.save(tmp_path / "best.safetensors", {"weight": np.ones(1)})
    message = r"last.safetensors' has other weights than best.safetensors beside it"
    with pytest.raises(ValueError, match=message):
        run(2, tmp_path, resume=True)


# At these, NumPy itself would read what lies beyond its own memory.
@pytest.mark.parametrize(
    ("bits", "change"),
    [
        (np.random.Philox, lambda state: state | {"buffer_pos": -(10**6)}),
        (np.random.Philox, lambda state: state | {"buffer": [1]}),
        (np.random.MT19937, lambda state: state | {"state": state["state"] | {"pos": 10**6}}),
        (np.random.SFC64, lambda state: state | {"state": {"state": [1]}}),
    ],
)
def test_a_random_stream_whose_state_would_end_the_process_is_refused(tmp_path, bits, change):
    model = nn.Sequential(nn.Dropout(0.1, rng=np.random.Generator(bits(3))), nn.Linear(4, 2))
    batches = data.DataLoader(data.ArrayDataset(inputs, labels), 8)

    def trained(epochs):
        mc.fit(model, batches, ops.cross_entropy, optim.SGD(model.parameters()), epochs=epochs,
               checkpoint=tmp_path, resume=True, progress=False)  # fmt: skip

    trained(1)
    state = mc.load(tmp_path / "last.safetensors")
    kept = state["generators"]
    wrong = {"generators": kept | {"model.0.rng": change(kept["model.0.rng"])}}
    mc.save(tmp_path / "last.safetensors", state | wrong)
    with pytest.raises(
        ValueError, match=f"the random stream model.0.rng is none of {bits.__name__}"
    ):
        trained(2)


def test_a_truncated_checkpoint_is_refused_and_left_alone(tmp_path):
    run(1, tmp_path)
    last = tmp_path / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-10])
    before = last.read_bytes()
    with pytest.raises(ValueError, match="is no whole safetensors file"):
        run(2, tmp_path, resume=True)
    assert last.read_bytes() == before


def test_no_batches_are_an_error():
    model, _, _, optimizer = parts()
    with pytest.raises(ValueError, match="fit: train yields no batches in epoch 1"):
        mc.fit(model, [], ops.cross_entropy, optimizer, epochs=1, progress=False)
    with pytest.raises(ValueError, match="evaluate: there are no batches"):
        mc.evaluate(model, [], ops.cross_entropy)


def test_evaluate_weighs_batches_by_their_size_and_restores_the_mode():
    model, _, _, _ = parts()
    uneven = [(inputs[:40], labels[:40]), (inputs[40:], labels[40:])]
    one = mc.evaluate(model, uneven, ops.cross_entropy, {"accuracy": accuracy})
    whole = mc.evaluate(model, [(inputs, labels)], ops.cross_entropy, {"accuracy": accuracy})
    assert one == pytest.approx(whole)
    assert model.training


def test_models_of_several_inputs_get_all_but_the_target():
    class Sum(nn.Module):
        def __init__(self):
            self.scale = nn.Parameter(np.ones(1, np.float32))

        def forward(self, a, b):
            return (a + b) * self.scale

    model = Sum()
    batch = tuple(np.full((3, 1), value, np.float32) for value in (1, 2, 6))
    mc.fit(model, [batch], ops.mse_loss, optim.SGD(model.parameters(), lr=0.05), epochs=30,
           progress=False)  # fmt: skip
    assert model.scale.item() == pytest.approx(2, abs=1e-3)


def test_what_is_called_may_be_something_else_of_the_model():
    model, train, valid, optimizer = parts()
    calls = []

    def doubled(x):
        calls.append(model.training)
        return 2 * model(x)

    history = mc.fit(
        model, train, ops.cross_entropy, optimizer, epochs=1, valid=valid, progress=False,
        call=doubled,
    )  # fmt: skip
    assert calls == [True] * 6 + [False]
    assert history[0]["valid_loss"] == pytest.approx(
        mc.evaluate(model, valid, lambda y, target: ops.cross_entropy(2 * y, target))["loss"]
    )


def test_a_progress_bar_shows_epoch_loss_and_scores(capfd):
    run(2, progress=True)
    shown = capfd.readouterr().err
    assert "epoch 2/2" in shown
    assert "12/12" in shown
    assert "valid_loss=" in shown


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        run(1, tmp_path / "file" / "run")
    assert os.listdir(tmp_path) == ["file"]


def test_predict_returns_what_the_model_says_in_evaluation_mode_whatever_the_batches():
    model, *_ = parts()
    model.eval()
    with mc.no_grad():
        wanted = model(mc.Tensor(inputs)).numpy()
    model.train()
    for batch_size in (1, 5, 48, 256):
        found = mc.predict(model, inputs, batch_size=batch_size)
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    assert all(module.training for module in model.modules())


def test_predict_takes_several_inputs():
    class Sum(nn.Module):
        def forward(self, a, b):
            return a + b

    assert mc.predict(Sum(), inputs, inputs, batch_size=5).tolist() == (2 * inputs).tolist()


def test_predict_restores_the_mode_also_after_an_error():
    model, *_ = parts()
    with pytest.raises(ValueError, match="linear"):
        mc.predict(model, inputs[:, :3])
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize(("count", "batch_size"), [(0, 8), (3, 0)])
def test_predict_takes_a_sample_at_least(count, batch_size):
    model, *_ = parts()
    with pytest.raises(ValueError, match=f"predict: there are {count} samples for batches of"):
        mc.predict(model, inputs[:count], batch_size=batch_size)
