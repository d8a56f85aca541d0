"""Lay the benchmark data sets out as `tacit.open` reads them.

    python benchmarks/prepare.py --out DIR [--data PATH] [--limit N] [cifar10_subset fashion_mnist sign_digits pneumoniamnist ucr]

PATH holds one folder for each data set, as downloaded. Without names, all that are there are prepared; what is there already stays.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np


def default_data() -> Path:
    """$TACIT_DATA, or shared/data beside the repository."""
    return Path(os.environ.get("TACIT_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")


def images(source: Path, out: Path, limit: int | None) -> None:
    """A zip of image files becomes a folder."""
    archive = next(source.glob("*.zip"))
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            target = (out / member.filename).resolve()
            if not member.is_dir() and target.is_relative_to(out.resolve()):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(file.read(member))


def idx(source: Path, out: Path, limit: int | None) -> None:
    """IDX files become one .npz with MedMNIST's keys; limit: training images to keep, the first ones."""

    def read(name: str) -> np.ndarray:
        data = gzip.decompress((source / name).read_bytes())
        shape = np.frombuffer(data, ">u4", data[3], 4).astype(int)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)

    arrays = {}
    for part, file in (("train", "train"), ("test", "t10k")):
        keep = limit if part == "train" else None
        arrays[f"{part}_images"] = read(f"{file}-images-idx3-ubyte.gz")[:keep]
        arrays[f"{part}_labels"] = read(f"{file}-labels-idx1-ubyte.gz")[:keep]
    np.savez(out / f"{source.name}.npz", **arrays)


def copy(source: Path, out: Path, limit: int | None) -> None:
    """Files that are read as they are."""
    for path in source.rglob("*"):
        if path.is_file() and path.name not in ("README.txt", "INDEX.tsv"):
            target = out / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


RECIPES: dict[str, Callable[[Path, Path, int | None], None]] = {
    "cifar10_subset": images,
    "sign_digits": images,
    "fashion_mnist": idx,
    "pneumoniamnist": copy,
    "ucr": copy,
}


def main(arguments: list[str] | None = None) -> int:
    """Prepare the named data sets; 1 if one of them is absent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(RECIPES)}")
    parser.add_argument("--data", type=Path, default=default_data(), help="folder with the data sets as downloaded")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--limit", type=int, default=None, help="fashion_mnist: only the first N training images")
    asked = parser.parse_args(arguments)
    if unknown := sorted(set(asked.names) - set(RECIPES)):
        parser.error(f"unknown: {', '.join(unknown)}")
    absent = 0
    for name in asked.names or RECIPES:
        source = asked.data / name
        folder = f"{name}_{asked.limit}" if asked.limit and RECIPES[name] is idx else name
        final = asked.out / folder
        if final.exists():
            print(f"{final} is there already")
        elif not source.is_dir():
            absent += bool(asked.names)
            print(f"{name}: there is no folder {source}", file=sys.stderr)
        else:
            building = asked.out / f".{folder}.part"
            shutil.rmtree(building, ignore_errors=True)
            building.mkdir(parents=True)
            RECIPES[name](source, building, asked.limit)
            os.replace(building, final)
            print(final)
    return 1 if absent else 0


if __name__ == "__main__":
    raise SystemExit(main())
