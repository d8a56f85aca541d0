"""The sets of text as `tacit.open` reads them: csv with text, label and split, or train.txt and test.txt."""

from __future__ import annotations

import csv
import gzip
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

Row = tuple[str, str, str]  # text, label, part
QUOTES = re.compile(r"(writes in|writes:|wrote:|says:|said:|^In article|^Quoted from|^\||^>)")


def lines(path: Path, encoding: str = "utf-8") -> list[str]:
    """Lines of a gzipped file, without their ends."""
    return gzip.decompress(path.read_bytes()).decode(encoding, "replace").splitlines()


def ag_news(folder: Path) -> Iterator[Row]:
    names = (folder / "classes.txt").read_text().split("\n")
    for row in csv.reader(lines(folder / "train_subset.csv.gz")):
        if row[0].isdigit():
            yield row[1], names[int(row[0]) - 1], "train"
    for row in csv.reader(lines(folder / "test.csv.gz")):
        if row[0].isdigit():
            yield f"{row[1]} {row[2]}", names[int(row[0]) - 1], "test"


def stripped(raw: str) -> str:
    """A message without header, quotes and what follows the last line of dashes or the last empty line (scikit-learn's rule)."""
    body = "\n".join(line for line in raw.partition("\n\n")[2].split("\n") if not QUOTES.search(line))
    found = body.strip().split("\n")
    last = next((i for i in range(len(found) - 1, -1, -1) if not found[i].strip().strip("-")), 0)
    return "\n".join(found[:last]) if last else body


def newsgroups(folder: Path) -> Iterator[Row]:
    with tarfile.open(folder / "20news-bydate.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            part, group = member.name.split("/")[-3:-1]
            if (text := stripped(file.read().decode("latin-1"))).strip():
                yield text, group, "train" if part.endswith("train") else "test"


def trec(folder: Path) -> Iterator[Row]:
    for part in ("train", "test"):
        for line in lines(folder / f"TREC.{part}.gz", "latin-1"):
            label, text = line.strip().split(" ", 1)
            yield text, label.split(":")[0], part


def sst2(folder: Path) -> Iterator[Row]:
    for part in ("train", "test"):
        for line in lines(folder / f"{part}.tsv.gz"):
            text, label = line.rsplit("\t", 1)
            yield text, ("negative", "positive")[int(label)], part


def clinc150(folder: Path) -> Iterator[Row]:
    found = json.loads(gzip.decompress((folder / "data_full.json.gz").read_bytes()))
    for part in ("train", "test"):
        yield from ((text, label, part) for text, label in found[part])


def clinc_outside(folder: Path) -> list[str]:
    """Test queries that are of no intent."""
    return [text for text, _ in json.loads(gzip.decompress((folder / "data_full.json.gz").read_bytes()))["oos_test"]]


SETS = {"ag_news": ag_news, "20newsgroups": newsgroups, "trec": trec, "sst2": sst2, "clinc150": clinc150}


def ready(data: Path, work: Path, name: str) -> str | None:
    """The csv of a set, None where it is absent."""
    if not (data / name).is_dir():
        return None
    path = work / f"{name}.csv"
    if not path.is_file():
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["text", "label", "split"])
            writer.writerows((text.replace("\0", ""), label, part) for text, label, part in SETS[name](data / name))
    return str(path)


def shakespeare(data: Path, work: Path) -> Path | None:
    """train.txt and test.txt: the first 90 % and the last 10 % of the characters."""
    source = data / "tinyshakespeare" / "input.txt.gz"
    if not source.is_file():
        return None
    text = gzip.decompress(source.read_bytes()).decode()
    return _parts(work / "shakespeare", text[: int(0.9 * len(text))], text[int(0.9 * len(text)) :])


def wikitext(data: Path, work: Path) -> Path | None:
    """train.txt: the official test file, which is the larger one; test.txt: the official validation file."""
    folder = data / "wikitext2_validtest"
    if not folder.is_dir():
        return None
    texts = [gzip.decompress((folder / f"{part}.txt.gz").read_bytes()).decode() for part in ("test", "valid")]
    return _parts(work / "wikitext", *texts)


def _parts(folder: Path, train: str, test: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "train.txt").write_text(train, encoding="utf-8")
    (folder / "test.txt").write_text(test, encoding="utf-8")
    return folder


def similar(data: Path, part: str) -> list[tuple[str, str, float]]:
    """Pairs of sentences of the STS benchmark with their score; part: train, dev or test."""
    rows = [line.split("\t") for line in lines(data / "stsb" / f"sts-{part}.csv.gz")]
    return [(r[5], r[6], float(r[4])) for r in rows if len(r) >= 7 and re.fullmatch(r"[\d.]+", r[4])]
