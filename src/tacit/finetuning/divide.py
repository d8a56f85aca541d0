"""Which labels are learned from, which ones stop the training, and which ones calibrate; whole groups together."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np

from tacit.errors import Asked
from tacit.evaluation.labels import SMALL, fold, own_groups

MANY = 300  # labels from which some are set aside; fewer are all learned from, and calibrated with by cross-fitting
FEWEST = 20  # labels below which nothing is calibrated
MOST = 2000  # labels set aside for one purpose
FOLDS = 5


@dataclass(frozen=True)
class Parts:
    """Positions among the labelled training items.

    learn, stop, calibrate: disjoint; stop and calibrate may be empty. folds: (learn, held) of cross-fitting, [] = none. small: few labels
    a class. notes: what a person should know.
    """

    learn: np.ndarray
    stop: np.ndarray
    calibrate: np.ndarray
    folds: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    small: bool = False
    notes: list[str] = field(default_factory=list)


def divide(
    strata: np.ndarray | None,
    n: int,
    groups: np.ndarray | None,
    names: tuple[str, ...],
    seed: int,
    folds: int | None,
    calibrated: bool = True,
) -> Parts:
    """Divide n labelled training items.

    strata: int64 [n], classes to be balanced, None where there are none. groups: int64 [n], -1 = its own; names: of the groups. folds: of
    cross-validation, None = only where labels are few. calibrated: some labels are kept for finding out how sure outputs are. Raises Asked
    where folds were asked for and the groups make them impossible.
    """
    every, none = np.arange(n), np.zeros(0, np.int64)
    classes = 0 if strata is None else int(strata.max(initial=0)) + 1
    y = np.zeros(n) if strata is None else strata
    present = max(1, len(np.unique(y))) if classes else 1
    small = n / present < SMALL
    codes = own_groups(groups)
    if not calibrated and folds is None:
        learn, stop = _aside(every, y, classes, codes, seed + 1, 0.1) if n >= MANY else (every, none)
        return Parts(learn, stop, none, small=small)
    if folds is not None or n < MANY:
        many = folds or FOLDS
        reason = f"{n} labels are too few to calibrate with" if n < FEWEST and folds is None else ""
        reason = reason or _impossible(n, strata, codes, groups, names, many)
        if reason and folds is not None:
            raise Asked(f"--folds {folds}: {reason}", "give fewer folds, or label items of other groups")
        if reason:
            return Parts(every, none, none, small=small, notes=[f"not calibrated: {reason}"])
        parts = Parts(every, none, none, _folds(n, strata, codes, seed, many), small)
        if n < MANY:
            return parts
        learn, stop = _aside(every, y, classes, codes, seed, 0.1)
        return Parts(learn, stop, none, parts.folds, small)
    rest, calibrate = _aside(every, y, classes, codes, seed, 0.2)
    learn, stop = _aside(rest, y, classes, codes, seed + 1, 0.1)
    notes = []
    if not len(calibrate):
        notes.append(f"not calibrated: {_largest(codes, groups, names, n)}, so that none can be set aside")
    return Parts(learn, stop, calibrate, small=small, notes=notes)


def _aside(
    rows: np.ndarray, y: np.ndarray, classes: int, groups: np.ndarray | None, seed: int, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """(kept, set aside), a stratified share, at most MOST."""
    share = min(share, MOST / max(1, len(rows)))
    kept, held = fold(y[rows], classes, seed, share, None if groups is None else groups[rows])
    return rows[kept], rows[held]


def _folds(n: int, strata: np.ndarray | None, groups: np.ndarray | None, seed: int, folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    from sklearn import model_selection as ms

    kind = {
        (True, True): ms.StratifiedGroupKFold,
        (True, False): ms.StratifiedKFold,
        (False, True): ms.GroupKFold,
        (False, False): ms.KFold,
    }
    splitter = kind[strata is not None, groups is not None](folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes smaller than the number of folds have a note of their own
        return [(a, b) for a, b in splitter.split(np.zeros(n), strata, groups) if len(a) and len(b)]


def _impossible(
    n: int, strata: np.ndarray | None, codes: np.ndarray | None, groups: np.ndarray | None, names: tuple[str, ...], folds: int
) -> str:
    """Why n items cannot be cut into folds, or an empty string."""
    if folds > n:
        return f"there are {n} labelled items"
    if codes is not None and len(np.unique(codes)) < folds:
        return f"the labelled items belong to {len(np.unique(codes))} groups, and {_largest(codes, groups, names, n)}"
    if strata is not None and np.bincount(strata).max() < folds:
        return f"the largest class has {np.bincount(strata).max()} items"
    return ""


def _largest(codes: np.ndarray | None, groups: np.ndarray | None, names: tuple[str, ...], n: int) -> str:
    if codes is None or groups is None:
        return "every class has too few items"
    size = np.bincount(codes)
    first = int(groups[np.flatnonzero(codes == size.argmax())[0]])
    return f"group {names[first] if 0 <= first < len(names) else 'unnamed'!r} holds {size.max()} of the {n}"
