"""Matrix factorisation against its dense definition, and what the factors are good for."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import minicnn as mc
from minicnn.audio import evaluate, factorisation, listeners
from minicnn.audio.factorisation import Factors, factorise


def some_plays(n_listeners=30, n_songs=20, seed=0, density=0.3):
    draw = np.random.default_rng(seed)
    counts = draw.integers(1, 9, (n_listeners, n_songs))
    return scipy.sparse.csr_array(counts * (draw.random(counts.shape) < density))


def dense_step(plays, others, alpha, epsilon, regularisation):
    """Return the best factors of all rows as the paper has them, with diagonal matrices."""
    solution = []
    for r in plays.toarray():
        more = alpha * r if epsilon is None else alpha * np.log(1 + r / epsilon)
        c, p = np.diag(1 + more), (r > 0).astype(float)
        left = others.T @ c @ others + regularisation * np.eye(others.shape[1])
        solution.append(np.linalg.solve(left, others.T @ c @ p))
    return np.array(solution)


def dense_objective(plays, factors, alpha, epsilon, regularisation):
    r = plays.toarray()
    c = 1 + (alpha * r if epsilon is None else alpha * np.log(1 + r / epsilon))
    wrong = c * ((r > 0) - factors.listeners @ factors.songs.T) ** 2
    return wrong.sum() + regularisation * sum(
        (each**2).sum() for each in (factors.listeners, factors.songs)
    )


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(1, 7), st.sampled_from([None, 0.1]),
    st.integers(0, 10**6),
)  # fmt: skip
def test_an_iteration_solves_listeners_then_songs(n_listeners, n_songs, k, epsilon, seed):
    plays = some_plays(n_listeners, n_songs, seed, density=0.5)
    options = dict(alpha=2.0, epsilon=epsilon, regularisation=0.5)
    found = factorise(plays, k, iterations=1, dtype=float, rng=seed, progress=False, **options)
    songs = np.random.default_rng(seed).normal(0, 0.01, (n_songs, k))
    x = dense_step(plays, songs, **options)
    y = dense_step(plays.T, x, **options)
    assert np.allclose(found.listeners, x, rtol=1e-8, atol=1e-10)
    assert np.allclose(found.songs, y, rtol=1e-8, atol=1e-10)


def test_the_objective_is_that_of_all_pairs():
    plays, draw = some_plays(), np.random.default_rng(1)
    factors = Factors(draw.normal(size=(30, 4)), draw.normal(size=(20, 4)))
    for epsilon in (None, 0.01):
        options = dict(alpha=3.0, epsilon=epsilon, regularisation=0.7)
        found = factorisation.objective(plays, factors, **options)
        assert found == pytest.approx(dense_objective(plays, factors, **options))


def test_each_iteration_comes_closer():
    plays = some_plays(60, 40)
    found = [
        factorisation.objective(
            plays, factorise(plays, 5, iterations=n, dtype=float, rng=0, progress=False)
        )
        for n in (1, 2, 4, 8)
    ]
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0]


def test_who_plays_the_same_finds_the_same():
    block = np.zeros((8, 10), int)
    block[:4, :5], block[4:, 5:] = 3, 3
    block[0, 4] = 0  # what the other three play
    found = factorise(scipy.sparse.csr_array(block), 2, regularisation=1, rng=0, progress=False)
    scores = found.listeners @ found.songs.T
    assert scores[0, 4] > 0.8
    assert np.abs(scores[0, 5:]).max() < 0.2


def test_factors_follow_from_the_seed_and_not_from_the_threads():
    plays = some_plays(400, 300, density=0.1)
    threads = mc.get_num_threads()
    found = []
    try:
        for count in (1, 2, 3):
            mc.set_num_threads(count)
            found.append(factorise(plays, 16, iterations=2, rng=7, progress=False))
    finally:
        mc.set_num_threads(threads)
    for each in found[1:]:
        assert np.allclose(each.listeners, found[0].listeners, rtol=1e-4, atol=1e-6)
        assert np.allclose(each.songs, found[0].songs, rtol=1e-4, atol=1e-6)
    other = factorise(plays, 16, iterations=2, rng=8, progress=False)
    assert not np.allclose(other.songs, found[0].songs, atol=1e-3)


def test_without_a_compiler_the_factors_are_the_same(monkeypatch):
    plays = some_plays()
    compiled = factorise(plays, 4, iterations=3, dtype=float, rng=0, progress=False)
    monkeypatch.setattr(mc.kernels.cpu, "is_compiled", lambda: False)
    slow = factorise(plays, 4, iterations=3, dtype=float, rng=0, progress=False)
    assert np.allclose(slow.songs, compiled.songs, rtol=1e-8, atol=1e-10)


def test_single_precision_is_near_double():
    plays = some_plays(200, 100)
    single, double = (
        factorise(plays, 8, iterations=5, dtype=dtype, rng=0, progress=False)
        for dtype in (np.float32, np.float64)
    )
    assert single.songs.dtype == np.float32
    loss = [factorisation.objective(plays, each) for each in (single, double)]
    assert loss[0] == pytest.approx(loss[1], rel=1e-4)


def test_who_plays_nothing_and_what_nobody_plays_is_0():
    plays = some_plays().toarray()
    plays[3], plays[:, 5] = 0, 0
    found = factorise(scipy.sparse.csr_array(plays), 4, rng=0, progress=False)
    assert not found.listeners[3].any()
    assert not found.songs[5].any()
    assert found.listeners[2].any()


def test_plays_may_come_in_any_form_and_are_not_changed():
    plays = some_plays().tocoo()
    split = scipy.sparse.coo_array(
        (
            np.r_[plays.data, plays.data, 0],
            (np.r_[plays.row, plays.row, 0], np.r_[plays.col, plays.col, 0]),
        ),
        shape=plays.shape,
    )
    wanted = factorise(plays.toarray() * 2, 3, rng=0, progress=False)
    found = factorise(split, 3, rng=0, progress=False)
    assert np.allclose(found.songs, wanted.songs)
    assert split.nnz == 2 * plays.nnz + 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_songs_that_are_folded_in_have_the_factors_of_the_last_half_of_an_iteration(dtype):
    plays = some_plays()
    options = dict(alpha=3.0, epsilon=0.1, regularisation=2.0)
    found = factorise(plays, 4, rng=0, dtype=dtype, progress=False, **options)
    again = factorisation.fold_in(plays, found.listeners, **options)
    assert again.dtype == dtype
    assert np.array_equal(again, found.songs)
    some = factorisation.fold_in(plays[:, 5:7], found.listeners, **options)
    assert np.allclose(some, found.songs[5:7], rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((29, 4), {}, r"plays are \(30, 20\), factors of listeners \(29, 4\)"),
        ((30,), {}, r"factors of listeners \(30,\)"),
        ((30, 4), dict(regularisation=0), "regularisation is 0; it must be above 0"),
    ],
)
def test_songs_that_cannot_be_folded_in_are_an_error(shape, options, message):
    with pytest.raises(ValueError, match=message):
        factorisation.fold_in(some_plays(), np.ones(shape), **options)


def test_confidence_grows_with_plays():
    plays = scipy.sparse.csr_array(np.array([[0, 1, 3]]))
    assert factorisation.confidence(plays).toarray().tolist() == [[0, 40, 120]]
    found = factorisation.confidence(plays, alpha=2, epsilon=0.5).toarray()[0]
    assert np.allclose(found, [0, 2 * np.log(3), 2 * np.log(7)])


@pytest.mark.parametrize(
    ("plays", "options", "message"),
    [
        (np.array([[1, -2]]), {}, r"somebody has -2\.0 plays"),
        (np.array([[1, np.nan]]), {}, "somebody has nan plays"),
        (np.array([1, 2]), {}, r"plays are \(2,\); they must be \(listeners, songs\)"),
        (np.ones((2, 2)), dict(alpha=0), "alpha is 0"),
        (np.ones((2, 2)), dict(epsilon=-1), "epsilon is -1"),
        (np.ones((2, 2)), dict(n_factors=0), "n_factors is 0; it must be at least 1"),
        (np.ones((2, 2)), dict(iterations=0), "iterations is 0"),
        (np.ones((2, 2)), dict(regularisation=0), "regularisation is 0; it must be above 0"),
        (np.ones((2, 2)), dict(dtype=np.float16), "dtype is float16"),
    ],
)
def test_what_cannot_be_factorised_is_an_error(plays, options, message):
    with pytest.raises(ValueError, match=message):
        factorise(plays, progress=False, **options)


def test_equations_that_single_precision_cannot_solve_are_an_error():
    plays = np.full((2, 3), 1e12)
    with pytest.raises(ValueError, match="equations of .* too close to singular for float32"):
        factorise(plays, 3, regularisation=1e-12, progress=False, rng=0)


def test_an_objective_needs_as_many_factors_as_there_are():
    factors = Factors(np.ones((3, 2)), np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"plays are \(30, 20\); .* 3 listeners and 4 songs"):
        factorisation.objective(some_plays(), factors)


def test_factors_that_features_foretell_recommend_songs_nobody_has_played():
    """The cold start: more than knowing how popular the new songs are going to be."""
    draw = np.random.default_rng(0)
    styles = np.eye(5)[draw.integers(0, 5, 400)]
    features = np.hstack([styles, draw.random((400, 4)) < 0.3, np.ones((400, 1))])
    plays = listeners.simulate(features, 1000, plays=80, rng=1, progress=False).plays
    old, new = slice(0, 300), slice(300, 400)
    found = factorise(plays[:, old], 12, rng=0, progress=False)
    left = features[old].T @ features[old] + np.eye(10)
    weights = np.linalg.solve(left, features[old].T @ found.songs)

    held_back = plays[:100, new]
    popular = plays[:, new].sum(axis=0).astype(float)[:, None]

    def auc(of_listeners, of_songs):
        return evaluate.recommendation(held_back, of_listeners, of_songs).auc

    by_sound = auc(found.listeners[:100], features[new] @ weights)
    by_popularity = auc(np.ones((100, 1)), popular)
    by_chance = auc(found.listeners[:100], draw.permutation(features[new] @ weights))
    assert by_sound > by_popularity + 0.05
    assert 0.4 < by_chance < 0.6
