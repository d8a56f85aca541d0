"""Data that comes with an installed package, to try things on: builtin:digits."""

from __future__ import annotations

import numpy as np

from tacit.data.listing import Listing
from tacit.errors import Asked, TacitError, nearest

NAMES = ("digits",)


def read(name: str) -> Listing:
    """The built-in data set of that name. digits: 1,797 handwritten digits of 8 x 8 pixels, from scikit-learn."""
    if name not in NAMES:
        raise Asked(f"there is no built-in data set {name!r}", nearest(name, NAMES))
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:  # where an exported model runs
        raise TacitError("builtin:digits comes with scikit-learn, which is not installed here", "pip install scikit-learn") from error

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    names = [f"digits:{i}" for i in range(len(images))]
    labels = [str(d) for d in bunch.target]
    why = "1,797 handwritten digits, 8 x 8 pixels, from scikit-learn"
    return Listing("image", why, names, labels, None, None, images.__getitem__)
