"""Lay the benchmark data sets out as `tacit.open` reads them.

    python benchmarks/prepare.py --out DIR [--data PATH] [--limit N] [NAME ...]

PATH holds one folder for each data set, as downloaded. Without names, all that are there are prepared; what is there already stays.
Images (cifar10_subset, sign_digits, gtsrb_subset, fashion_mnist, pneumoniamnist) and series (ucr, aeon_multivariate, mitbih); sets of
text, tables and sound come with their modalities.
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


def sets(source: Path, out: Path, limit: int | None) -> None:
    """Pairs NAME_TRAIN and NAME_TEST that lie side by side: a folder for each NAME."""
    for path in source.glob("*_T*.ts.gz"):
        folder = out / path.name.rsplit("_", 1)[0]
        folder.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / path.name)


PACED = (102, 104, 107, 217)
FIRST = (101, 106, 108, 109, 112, 114, 115, 116, 118, 119, 122, 124, 201, 203, 205, 207, 208, 209, 215, 220, 223, 230)  # de Chazal's DS1
AAMI = {**dict.fromkeys("NLRej", "N"), **dict.fromkeys("AaJS", "S"), **dict.fromkeys("VE", "V"), "F": "F", **dict.fromkeys("/fQ", "Q")}


def beats(source: Path, out: Path, limit: int | None) -> None:
    """Half a second before to half a second after every heart beat, 180 Hz, mV; patients are not shared between the parts."""
    stored = np.load(next(source.glob("*.npz")), allow_pickle=False)
    x, y, split, group = [], [], [], []
    for record in sorted(int(k[1:]) for k in stored.files if k.startswith("d")):
        if record in PACED:
            continue
        signal = (np.cumsum(stored[f"d{record}"], dtype=np.int16).astype(np.float32) - 1024) / 200
        for beat, symbol in zip(stored[f"t{record}"], stored[f"s{record}"], strict=True):
            if 90 <= beat <= len(signal) - 90 and chr(symbol) in AAMI:
                x.append(signal[None, beat - 90 : beat + 90])
                y.append(AAMI[chr(symbol)])
                split.append("train" if record in FIRST else "test")
                group.append(str(record))
    np.savez(out / "beats.npz", x=np.stack(x), y=np.array(y), split=np.array(split), group=np.array(group))


RECIPES: dict[str, Callable[[Path, Path, int | None], None]] = {
    "cifar10_subset": images,
    "sign_digits": images,
    "gtsrb_subset": images,
    "fashion_mnist": idx,
    "pneumoniamnist": copy,
    "ucr": copy,
    "aeon_multivariate": sets,
    "mitbih": beats,
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
