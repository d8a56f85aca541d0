"""The estimator is a scikit-learn estimator: its own checks, pipelines, clones, pickles."""

from __future__ import annotations

import pickle
import warnings
from typing import Any
from unittest import SkipTest

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from tacit.errors import Asked
from tacit.sklearn import SelfSupervisedEncoder

SMALL: dict[str, Any] = {"steps": 3, "size": "tiny"}


def test_sklearns_own_checks() -> None:
    failed, passed = [], 0
    for estimator, check in estimator_checks_generator(SelfSupervisedEncoder(**SMALL)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                check(estimator)
            passed += 1
        except SkipTest:  # needs another environment, such as SCIPY_ARRAY_API
            continue
        except Exception as error:
            failed.append(f"{getattr(check, 'func', check).__name__}: {error}")
    assert not failed and passed > 30, "\n".join(failed)


def digits(n: int = 120) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images[:n], bunch.target[:n]


@pytest.mark.parametrize("layout", ["first", "last", "uint8", "unit"])
def test_pipeline_on_images(layout: str) -> None:
    images, y = digits()
    x = images[:, None] if layout != "last" else images[..., None]
    x = np.rint(x * 255 / 16).astype(np.uint8) if layout == "uint8" else x / 16 if layout == "unit" else x
    pipeline = make_pipeline(SelfSupervisedEncoder("simclr", **SMALL), StandardScaler(), LogisticRegression(max_iter=200))
    assert pipeline.fit(x, y).score(x, y) > 0.5
    z = pipeline[0].transform(x[:10])
    assert z.shape == (10, 3 * 64) and z.dtype == np.float32
    assert np.allclose(z[3:4], pipeline[0].transform(x[3:4]), atol=1e-3)
    assert list(pipeline[0].get_feature_names_out())[:2] == ["selfsupervisedencoder0", "selfsupervisedencoder1"]


def test_pipeline_on_series() -> None:
    rng, t = np.random.default_rng(0), np.arange(40)
    y = np.arange(60) % 2
    x = np.sin(t / np.where(y, 2.0, 5.0)[:, None] + rng.random((60, 1)) * 6)[:, None] + rng.normal(size=(60, 1, 40)) * 0.1
    x[0, 0, :5] = np.nan
    pipeline = make_pipeline(SelfSupervisedEncoder(method="ts2vec", **SMALL), LogisticRegression(max_iter=500))
    assert pipeline.fit(x, y).score(x, y) > 0.8


def test_parameters_clone_and_search() -> None:
    encoder = SelfSupervisedEncoder("byol", backbone="transformer", lr=1e-4, random_state=3, **SMALL)
    params = encoder.get_params()
    assert params == {
        "method": "byol",
        "backbone": "transformer",
        "size": "tiny",
        "steps": 3,
        "batch_size": None,
        "lr": 1e-4,
        "random_state": 3,
    }
    copy = clone(encoder)
    assert copy.get_params() == params and not hasattr(copy, "model_")
    x = np.random.default_rng(0).normal(size=(40, 6))
    search = GridSearchCV(
        make_pipeline(SelfSupervisedEncoder(**SMALL), LogisticRegression()), {"selfsupervisedencoder__steps": [1, 2]}, cv=2
    )
    assert search.fit(x, np.arange(40) % 2).best_params_["selfsupervisedencoder__steps"] in (1, 2)


def test_same_seed_same_embedding() -> None:
    x = np.random.default_rng(0).normal(size=(40, 6))
    one, two, three = (SelfSupervisedEncoder(random_state=s, **SMALL).fit_transform(x) for s in (0, None, 1))
    assert np.array_equal(one, two) and not np.array_equal(one, three)
    learned = SelfSupervisedEncoder(random_state=0, **SMALL).fit(x, y=np.arange(40))
    assert np.array_equal(learned.transform(x), one), "labels are ignored"


def test_pickle() -> None:
    x = np.random.default_rng(0).normal(size=(40, 6))
    fitted = SelfSupervisedEncoder(**SMALL).fit(x)
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.transform(x), fitted.transform(x))


def test_what_cannot_work_is_said() -> None:
    x = np.random.default_rng(0).normal(size=(40, 6))
    with pytest.raises(NotFittedError):
        SelfSupervisedEncoder(**SMALL).transform(x)
    with pytest.raises(Asked, match="simclr"):
        SelfSupervisedEncoder("simcrl", **SMALL).fit(x)
    with pytest.raises(Asked, match="vector data has no crop views"):
        SelfSupervisedEncoder("ts2vec", **SMALL).fit(x)
    with pytest.raises(Asked):
        SelfSupervisedEncoder(lr=-1.0, **SMALL).fit(x)
    with pytest.raises(ValueError, match="7 features"):
        SelfSupervisedEncoder(**SMALL).fit(x).transform(np.zeros((3, 7)))


@pytest.mark.parametrize("shape", [(40, 6), (40, 2, 24)])
def test_every_row_gets_an_embedding(shape: tuple[int, ...]) -> None:
    """Also a row without a single value, wherever it stands, and however many there are."""
    x = np.random.default_rng(0).normal(size=shape)
    x[3] = x[39] = np.nan
    encoder = SelfSupervisedEncoder(**SMALL).fit(x)
    z = encoder.transform(x)
    assert z.shape == (40, encoder.model_.dim) and np.isfinite(z).all() and np.array_equal(z[3], z[39])
    whole = np.delete(x, [3, 39], 0)
    assert np.allclose(np.delete(z, [3, 39], 0), encoder.transform(whole), atol=1e-5), "the other rows are what they are without it"
    assert encoder.transform(np.full((5, *shape[1:]), np.nan)).shape == (5, encoder.model_.dim)
    assert np.isnan(x[3]).all(), "X is left as it is"


def test_a_random_state_is_drawn_from() -> None:
    x = np.random.default_rng(0).normal(size=(40, 6))
    state = np.random.RandomState(7)
    one = SelfSupervisedEncoder(random_state=state, **SMALL).fit_transform(x)
    other = SelfSupervisedEncoder(random_state=state, **SMALL).fit_transform(x)
    again = SelfSupervisedEncoder(random_state=np.random.RandomState(7), **SMALL).fit_transform(x)
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    plain, numpys = (SelfSupervisedEncoder(random_state=s, **SMALL).fit_transform(x) for s in (1, np.int64(1)))
    assert np.array_equal(plain, numpys)
    with pytest.raises(ValueError, match="seed"):
        SelfSupervisedEncoder(random_state="seed", **SMALL).fit(x)


def test_fit_learns_from_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    from tacit.training import memory

    learned: list[int] = []
    real = memory.learn

    def learn(data: Any, **asked: Any) -> Any:
        learned.append(len(data.train))
        return real(data, **asked)

    monkeypatch.setattr(memory, "learn", learn)
    SelfSupervisedEncoder(steps=1, size="tiny").fit(np.random.default_rng(0).normal(size=(30, 4)))
    assert learned == [30]
