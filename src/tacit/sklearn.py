"""A scikit-learn transformer: fit on unlabelled X, transform X into embeddings, in any pipeline."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data


class SelfSupervisedEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Learn an embedding of X without labels, as a step of a scikit-learn pipeline.

    X: [N, F] vectors, [N, C, T] series, [N, C, H, W] or [N, H, W, C] images (uint8, or floats in 0..1 or 0..255).

    method: pretext task; "auto" = the preset of the kind of data. backbone: network; "auto" likewise. size: tiny, small or base.
    steps: optimizer steps. batch_size: items a step, None = chosen. lr: peak learning rate, None = the preset.
    random_state: seed, None = 0.
    """

    def __init__(
        self,
        method: str = "auto",
        *,
        backbone: str = "auto",
        size: str = "small",
        steps: int = 300,
        batch_size: int | None = None,
        lr: float | None = None,
        random_state: int | None = None,
    ) -> None:
        self.method = method
        self.backbone = backbone
        self.size = size
        self.steps = steps
        self.batch_size = batch_size
        self.lr = lr
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> SelfSupervisedEncoder:
        """Learn from all rows of X; y is ignored."""
        from tacit.data.dataset import from_arrays
        from tacit.training.memory import learn

        X = self._checked(X, reset=True)
        data = from_arrays(X, split=["train"] * len(X))
        self.model_ = learn(
            data,
            method=None if self.method == "auto" else self.method,
            backbone=None if self.backbone == "auto" else self.backbone,
            size=self.size,
            steps=self.steps,
            batch_size=self.batch_size,
            seed=self.random_state or 0,
            overrides={} if self.lr is None else {"optim": {"lr": self.lr}},
        )
        self._n_features_out = self.model_.dim
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Embeddings float32 [N, D]."""
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        return self.model_.vectors(self.model_.prepare(X).x)

    def _checked(self, X: Any, reset: bool) -> np.ndarray:
        X = validate_data(
            self, X, reset=reset, allow_nd=True, dtype="numeric", ensure_all_finite="allow-nan", ensure_min_samples=2 if reset else 1
        )
        return X if X.ndim == 4 and X.dtype == np.uint8 else np.asarray(X, dtype=np.float32)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        tags.non_deterministic = False
        return tags
