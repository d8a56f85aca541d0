"""Lay the benchmark data sets out as `tacit.open` reads them.

    python benchmarks/prepare.py --out DIR [--data PATH] [--limit N] [NAME ...]

PATH holds one folder for each data set, as downloaded. Without names, all that are there are prepared; what is there already stays.
Images (cifar10_subset, sign_digits, gtsrb_subset, fashion_mnist, pneumoniamnist), series (ucr, aeon_multivariate, mitbih) and tables (adult,
fairness_tabular, small_tabular, california_housing); sets of text and sound come with their modalities.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
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


# file, column with the label (by its number where there is no header), columns that are no inputs, what the label becomes
TABLES: dict[str, tuple[str, str | int, tuple[str | int, ...], str]] = {
    "bank": ("bank-full.csv.gz", "y", ("duration",), ""),  # how long the call took is known only after it
    "credit": ("credit-card-clients.csv.gz", "default payment", (), ""),
    "law": ("law_school_clean.csv.gz", "pass_bar", (), ""),
    "abalone": ("abalone.csv.gz", 8, (), "half"),
    "breast-cancer": ("breast-cancer.csv.gz", 9, (), ""),
    "horse-colic": ("horse-colic.csv.gz", 23, (2, 24, 25, 26, 27), ""),
    "ionosphere": ("ionosphere.csv.gz", 34, (), ""),
    "mammography": ("mammography.csv.gz", 6, (), ""),
    "oil-spill": ("oil-spill.csv.gz", 49, (0,), ""),
    "phoneme": ("phoneme.csv.gz", 5, (), ""),
    "pima": ("pima-indians-diabetes.csv.gz", 8, (), ""),
    "sonar": ("sonar.csv.gz", 60, (), ""),
    "wine-red": ("winequality-red.csv.gz", 11, (), "half"),
    "wine-white": ("winequality-white.csv.gz", 11, (), "half"),
    "housing": ("housing.csv.gz", "median_house_value", (), "number"),
}


def tables(source: Path, out: Path, limit: int | None) -> None:
    """Every table as NAME/NAME.csv with a header whose last column is the label; "half": a number becomes above or below its median."""
    for name, (file, target, aside, kind) in TABLES.items():
        if not (source / file).is_file():
            continue
        rows = list(csv.reader(io.StringIO(gzip.decompress((source / file).read_bytes()).decode()), skipinitialspace=True))
        names = rows.pop(0) if isinstance(target, str) else [f"c{i}" for i in range(len(rows[0]))]
        at = names.index(target) if isinstance(target, str) else target
        keep = [i for i, column in enumerate(names) if i != at and column not in aside and i not in aside]
        labels = [row[at].strip("'") for row in rows]
        if kind == "half":
            middle = float(np.median([float(v) for v in labels]))
            labels = ["above" if float(v) > middle else "below" for v in labels]
        elif not kind:
            labels = [f"is {v}" if v else "" for v in labels]
        (out / name).mkdir()
        with (out / name / f"{name}.csv").open("w", newline="") as made:
            writer = csv.writer(made)
            writer.writerow([*(names[i] for i in keep), "label"])
            writer.writerows([[*(row[i].strip("'") for i in keep), v] for row, v in zip(rows, labels, strict=True) if v])


def census(source: Path, out: Path, limit: int | None) -> None:
    """adult, with its own parts; the weight of a person in the census says nothing of him and is left out."""
    for part in ("train", "test"):
        file = source / f"adult.{'data' if part == 'train' else 'test'}.gz"
        rows = list(csv.reader(io.StringIO(gzip.decompress(file.read_bytes()).decode()), skipinitialspace=True))
        names = [c.strip() for c in rows[0]]
        keep = [i for i, column in enumerate(names) if column != "fnlwgt"]
        with (out / f"adult_{part}.csv").open("w", newline="") as made:
            writer = csv.writer(made)
            writer.writerow(["label" if names[i] == "classification" else names[i] for i in keep])
            writer.writerows([[row[i].strip().rstrip(".") for i in keep] for row in rows[1:] if len(row) == len(names)])


RECIPES: dict[str, Callable[[Path, Path, int | None], None]] = {
    "cifar10_subset": images,
    "sign_digits": images,
    "gtsrb_subset": images,
    "fashion_mnist": idx,
    "pneumoniamnist": copy,
    "ucr": copy,
    "aeon_multivariate": sets,
    "mitbih": beats,
    "adult": census,
    "fairness_tabular": tables,
    "small_tabular": tables,
    "california_housing": tables,
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
