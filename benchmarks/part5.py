"""The measurements of part 5: text with few labels, similar sentences, language models, translations, speed.

    python benchmarks/part5.py [--quick] [--only labels,alternatives,scope,heads,similar,language,translation,speed] [--data PATH] [--write]

Finished cells (one JSON file each in benchmarks/results/part5) are skipped. --quick: a little of each on generated text in about two
minutes; its numbers are printed and thrown away. --write: renew docs/text.md from the cells.
PATH: the folder of data sets, $TACIT_DATA or shared/data beside the repository. Wall seconds, with as many threads as OMP_NUM_THREADS says.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import corpora  # noqa: E402
import ngrams  # noqa: E402
import parts  # noqa: E402
import templates  # noqa: E402
import text_page  # noqa: E402
import throughput  # noqa: E402
from part1 import Cells  # noqa: E402
from part4 import kept  # noqa: E402

SECONDS = 180  # of the other methods
# name of a row: method, backbone, overrides
OTHERS: dict[str, tuple[str, str | None, dict[str, dict[str, Any]]]] = {
    "mlm": ("mlm", "roformer", {}),
    "mlm+simcse": ("simcse", "roformer", {}),
    "simcse": ("simcse", "roformer", {}),
    "skipgram": ("word2vec", None, {"method": {"mode": "skipgram", "window": 5}}),
    "alike": ("word2vec", None, {"modality": {"sif": 0.0}}),
    "no-pairs": ("word2vec", None, {"modality": {"pairs": 0}}),
    "electra": ("electra", "roformer", {}),
    "tsdae": ("tsdae", "roformer", {}),
    "simclr": ("simclr", "roformer", {}),
    "relative": ("relative", "roformer", {}),
    "autoregressive": ("autoregressive", "roformer", {}),
}


def generated(work: Path, n: int = 400) -> str:
    """A csv of sentences about weather or food: the label is which."""
    import csv

    rng = np.random.default_rng(0)
    words = {"weather": "sun rain wind snow cloud storm fog".split(), "food": "bread soup cake tea rice fish stew".split()}
    path = work / "generated.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for i in range(n):
            kind = ("weather", "food")[i % 2]
            writer.writerow([f"there was {rng.choice(words[kind])} and {rng.choice(words[kind])} on day {rng.integers(30)}", kind])
    return str(path)


def judged(place: str, work: Path, quick: bool, name: str | None = None) -> dict[str, Any]:
    """Pretrain and evaluate at every number of labels, 10 draws where they are few; name: of OTHERS, None = the default and all classics."""
    import tacit

    data = tacit.open(place)
    how: dict[str, Any] = {"steps": 30} if quick else {} if name is None else {"budget": f"{SECONDS}s"}
    with tempfile.TemporaryDirectory(dir=work) as folder:
        if name is not None:
            method, backbone, overrides = OTHERS[name]
            if name == "mlm+simcse":
                half = {"budget": f"{SECONDS // 2}s"} if not quick else how
                tacit.pretrain(data, out=Path(folder) / "first", method="mlm", backbone="roformer", **half)
                how = {**half, "init": str(Path(folder) / "first")}
            how |= {"method": method, "backbone": backbone, "overrides": overrides}
        begin = time.perf_counter()
        run = tacit.pretrain(data, out=Path(folder) / "run", **how)
        took = time.perf_counter() - begin
        rows: list[dict[str, Any]] = []
        verdict: dict[str, Any] = {}
        for levels, seeds in (([1, 5, 10], 10), ([50, "all"], 3)) if not quick else (([5], 2),):
            done = tacit.evaluate(run, data, levels=levels, seeds=seeds, supervised=False)
            rows += [r for r in done.evaluation.results if r["metric"] == "accuracy"]
            verdict = verdict or done.verdict
    if name is not None:
        rows = [r for r in rows if r["representation"] in ("ssl", "untrained")]
    about = {"train": len(data.train), "n_test": len(data.test), "classes": len(data.classes)}
    return {"rows": kept(rows), "verdict": verdict.get("sentence"), "steps": run.config.train.steps, "seconds": round(took, 1), **about}


def labels(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 1: five sets with the default, against all classics."""
    if quick:
        cells.measure("labels_generated", lambda: judged(generated(work), work, True))
        return
    for name in corpora.SETS:
        if (place := corpora.ready(data, work, name)) is not None:
            cells.measure(f"labels_{name}", lambda p=place: judged(p, work, False))


def alternatives(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 1: other methods on two sets."""
    if quick:
        cells.measure("method_mlm_generated", lambda: judged(generated(work), work, True, "mlm"))
        return
    for other in OTHERS:
        for name in ("trec", "ag_news"):
            if (place := corpora.ready(data, work, name)) is not None:
                cells.measure(f"method_{other}_{name}", lambda p=place, o=other: judged(p, work, False, o))


def heads(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 2: entities, answers and entailment on generated templates, with and without pretraining on the unlabelled texts."""
    for name in ("entities",) if quick else templates.TASKS:
        cells.measure(f"heads_{name}", lambda n=name: _heads(n, work, quick))


def _heads(name: str, work: Path, quick: bool) -> dict[str, Any]:
    import tacit

    make, opening, head = templates.TASKS[name]
    out: dict[str, Any] = {"rows": []}
    for labels in (30,) if quick else (50, 200, 1000):
        path = make(work / f"{name}{labels}.csv", labels, *((100, 50) if quick else ()))
        data = tacit.open(path, **opening)
        for way in ("pretrained", "untrained"):
            how: dict[str, Any] = {"steps": 1} if way == "untrained" or quick else {"budget": "60s"}
            with tempfile.TemporaryDirectory(dir=work) as folder:
                run = tacit.pretrain(data, out=Path(folder) / "run", method="mlm", backbone="roformer", **how)
                # the file is opened anew: the run remembers its columns
                done = tacit.finetune(run.path, path, head=head, target=opening["target"], strategy="lp-ft", out=Path(folder) / "tuned")
            row = done.result["results"][0]
            out["rows"].append({"labels": labels, "start": way, **{k: row[k] for k in ("metric", "value", "low", "high", "n_test")}})
    return out


def scope(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 1: queries of no intent told from those of an intent, by distances in the embedding; LSA beside it."""
    place = None if quick else corpora.ready(data, work, "clinc150")
    if place is not None:
        cells.measure("scope_clinc150", lambda: _scope(place, corpora.clinc_outside(data / "clinc150"), work))


def _scope(place: str, outside: list[str], work: Path) -> dict[str, Any]:
    from sklearn.metrics import roc_auc_score, roc_curve

    import tacit
    from tacit.data import dataset
    from tacit.evaluation.classics.lsa import LSA

    data = tacit.open(place)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        model = tacit.pretrain(data, out=Path(folder) / "run").model
    strange = dataset.from_texts(outside, spec=model.spec)
    lsa = LSA().fit(data.x[data.train], data.spec)
    out: dict[str, Any] = {"n_test": len(data.test), "n_outside": len(outside)}
    spaces = {
        "ssl": [model.embed(d).vectors for d in (data, strange)],
        "lsa": [lsa.transform(data.x), lsa.transform(strange.x)],
    }
    for name, (z, zs) in spaces.items():
        z, zs = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12) for v in (z, zs))
        known, asked = z[data.train], np.concatenate([z[data.test], zs])
        # how far the nearest training query is, without and with the labels' class means
        score = {"nearest": -(asked @ known.T).max(1)}
        assert data.labels is not None
        means = np.stack([known[data.labels[data.train] == k].mean(0) for k in range(len(data.classes))])
        score["class means"] = -(asked @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T).max(1)
        truth = np.r_[np.zeros(len(data.test)), np.ones(len(zs))]
        for how, s in score.items():
            rate, hit, _ = roc_curve(truth, s)
            out[f"{name} {how}"] = {"auroc": float(roc_auc_score(truth, s)), "fpr95": float(rate[np.searchsorted(hit, 0.95)])}
    return out


def similar(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 2: how well the cosine of two sentences orders pairs as people do."""
    if not quick and (data / "stsb").is_dir():
        for name in ("default", "skipgram", "alike", "mlm", "mlm+simcse", "simcse", "tsdae"):
            cells.measure(f"similar_{name}", lambda n=name: _similar(data, work, n))


def _spearman(a: np.ndarray, b: np.ndarray, truth: np.ndarray) -> list[float]:
    """Spearman's correlation of cosines with scores, and its 95 % bootstrap interval."""
    from scipy.stats import spearmanr

    cosine = (a * b).sum(1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12)
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(truth), len(truth)) for _ in range(500)]
    each = [spearmanr(cosine[d], truth[d]).statistic for d in draws]
    return [float(v) for v in (spearmanr(cosine, truth).statistic, *np.quantile(each, [0.025, 0.975]))]


def _similar(data: Path, work: Path, name: str) -> dict[str, Any]:
    import tacit
    from tacit.data import dataset
    from tacit.evaluation.classics.lsa import LSA
    from tacit.evaluation.lexical import Lexicon

    known = [s for a, b, _ in corpora.similar(data, "train") for s in (a, b)]
    asked = corpora.similar(data, "test")
    texts = dataset.from_texts(list(dict.fromkeys(known))).whole()
    truth = np.array([score for *_, score in asked])
    with tempfile.TemporaryDirectory(dir=work) as folder:
        how: dict[str, Any] = {}
        if name != "default":
            method, backbone, overrides = OTHERS[name]
            how = {"budget": f"{SECONDS}s", "method": method, "backbone": backbone, "overrides": overrides}
            if name == "mlm+simcse":
                first = {"method": "mlm", "backbone": "roformer", "budget": f"{SECONDS // 2}s"}
                tacit.pretrain(texts, out=Path(folder) / "first", **first)
                how |= {"init": str(Path(folder) / "first"), "budget": f"{SECONDS // 2}s"}
        model = tacit.pretrain(texts, out=Path(folder) / "run", **how).model
    sides = [[pair[k] for pair in asked] for k in (0, 1)]
    out: dict[str, Any] = {"n_test": len(truth), "sentences": len(texts), "ssl": _spearman(*(model.embed(s).vectors for s in sides), truth)}
    if name == "default":
        lexicon, lsa = Lexicon(characters=False).fit(texts.x, texts.spec), LSA().fit(texts.x, texts.spec)
        rows = [dataset.from_texts(s, spec=model.spec).x for s in sides]
        out["tfidf"] = _spearman(*(lexicon.matrix(x).toarray() for x in rows), truth)
        out["lsa"] = _spearman(*(lsa.transform(x) for x in rows), truth)
    return out


def language(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 3: a language model of characters, and one of pieces of words against n-grams."""
    if quick:
        return
    if (folder := corpora.shakespeare(data, work)) is not None:
        cells.measure("language_shakespeare", lambda: _characters(folder, work))
    if (folder := corpora.wikitext(data, work)) is not None:
        cells.measure("language_wikitext", lambda: _words(folder, work))


def causal(data: Any, steps: int, batch: int, backbone: dict[str, Any], optim: dict[str, Any]) -> tuple[Any, float]:
    """A trained autoregressive method, and the seconds that it took."""
    import torch

    from tacit.config import OptimConfig, RunConfig, TrainConfig
    from tacit.runtime import choose_precision
    from tacit.training.loader import Loader
    from tacit.training.loop import Loop, deterministic, make_fabric
    from tacit.training.pretrain import _method

    config = RunConfig(
        data={},
        modality={"sif": 0.0, "width": backbone["dim"]},
        method={"name": "autoregressive"},
        backbone={"name": "roformer", **backbone},
        optim=OptimConfig(**optim),
        train=TrainConfig(steps=steps, batch=batch, seed=0),
        precision=choose_precision("cpu").value,
    )
    with deterministic():
        modality, method = _method(data, config)
        loop = Loop.build(make_fabric(config), method, Loader(data, data.train, modality, torch.device("cpu")), modality, config)
        begin = time.perf_counter()
        for _ in range(steps):
            loop.advance()
    return loop.method.eval(), time.perf_counter() - begin


def nats(method: Any, rows: list[np.ndarray], length: int) -> tuple[float, int]:
    """Minus the log-probability of tokens by a causal method, and how many were predicted: windows of length + 1, no token twice."""
    import torch

    from tacit.types import Batch

    windows = [np.asarray(row[i : i + length + 1], np.float32) for row in rows for i in range(0, len(row) - 1, length)]
    total, count = 0.0, 0
    with torch.no_grad():
        for start in range(0, len(windows), 64):
            some = windows[start : start + 64]
            x = torch.full((len(some), 1, max(map(len, some))), torch.nan)
            for i, w in enumerate(some):
                x[i, 0, : len(w)] = torch.from_numpy(w)
            batch = Batch(x, torch.arange(len(some)), ~x[:, 0].isnan())
            f = method.encoder(batch)
            later = f.valid.clone()
            later[:, 0] = False
            each = method.encoder.target(batch).each(method.head(f.tokens[:, :-1][later[:, 1:]]), later)
            total, count = total + float(each.sum()), count + len(each)
    return total, count


def _characters(folder: Path, work: Path) -> dict[str, Any]:
    import tacit

    data = tacit.open(folder, options={"tokens": "characters", "documents": "passages"}, size=64)
    backbone = {"dim": 128, "depth": 4, "heads": 4, "dropout": 0.0}
    method, took = causal(data, 2000, 12, backbone, {"kind": "adamw", "lr": 1e-3, "weight_decay": 0.1, "warmup": 0.05, "beta2": 0.99})
    total, count = nats(method, [data.x.item(int(i)) for i in data.test], 64)
    parameters = sum(p.numel() for p in method.parameters())
    return {"loss": total / count, "characters": count, "seconds": round(took, 1), "steps": 2000, "parameters": parameters}


def _words(folder: Path, work: Path) -> dict[str, Any]:
    """Perplexity a word of the file (with its line ends), by a small transformer and by Kneser-Ney over the same tokens."""
    import tacit

    data = tacit.open(folder, options={"documents": "passages", "case": "keep", "vocabulary": 4000}, size=128)
    rows = {part: [data.x.item(int(i)).astype(int) for i in at] for part, at in (("train", data.train), ("test", data.test))}
    words = sum(len(line.split()) + 1 for line in (folder / "test.txt").read_text(encoding="utf-8").splitlines())
    tokens = sum(map(len, rows["test"]))
    out: dict[str, Any] = {"words": words, "tokens": tokens, "train_tokens": sum(map(len, rows["train"]))}
    for order in (3, 5):
        model = ngrams.KneserNey(order, int(data.spec.extra["vocabulary"])).fit(rows["train"])
        out[f"kneser-ney {order}"] = math.exp(model.nats(rows["test"]) / words)
    backbone = {"dim": 256, "depth": 4, "heads": 4, "dropout": 0.2}
    method, took = causal(data, 1500, 16, backbone, {"kind": "muon", "lr": 2e-3, "weight_decay": 0.1})
    total, count = nats(method, rows["test"], 128)
    # the first token of each passage is not predicted: it costs what its share in the training text says
    first = -np.log(method.encoder.tokenizer.share[[int(r[0]) for r in rows["test"]]].numpy()).sum()
    return {**out, "transformer": math.exp((total + float(first)) / words), "predicted": count, "seconds": round(took, 1)}


def translation(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 4: the translation of a sentence, and another caption of its image, found among all."""
    if not quick and (data / "multi30k").is_dir():
        cells.measure("translation_tlm", lambda: _tlm(data / "multi30k", work))
        cells.measure("translation_captions", lambda: _captions(data / "multi30k", work))


def recalls(own: np.ndarray, other: np.ndarray) -> dict[str, list[float]]:
    """recall@1, 5, 10 of row i of `other` for row i of `own`, by cosine, with 95 % intervals."""
    from tacit.retrieval import recall

    return {name: list(found) for name, found in recall(own, other, np.arange(len(own))).items()}


def _tlm(folder: Path, work: Path) -> dict[str, Any]:
    import csv

    import tacit
    from tacit.data import dataset
    from tacit.evaluation.classics.lsa import LSA

    pairs = list(zip(corpora.lines(folder / "train.en.gz"), corpora.lines(folder / "train.de.gz"), strict=True))
    path = work / "pairs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("en", "de"), *pairs])
    data = tacit.open(path, text_column="en,de").whole()
    sides = [corpora.lines(folder / f"test_2016_flickr.{k}.gz") for k in ("en", "de")]
    out: dict[str, Any] = {"pairs": len(pairs), "n_test": len(sides[0])}
    lsa = LSA().fit(data.x, data.spec)
    out["lsa"] = recalls(*(lsa.transform(dataset.from_texts(s, spec=data.spec).x) for s in sides))
    for name, how in (("word2vec", {}), ("mlm", {"method": "mlm", "backbone": "roformer", "budget": "300s"})):
        with tempfile.TemporaryDirectory(dir=work) as place:
            model = tacit.pretrain(data, out=Path(place) / "run", **how).model
        # each language around its own mean, or the language itself is what is nearest
        z = [model.embed(s).vectors for s in sides]
        out[name] = recalls(*(v - v.mean(0) for v in z))
    return out


def _captions(folder: Path, work: Path) -> dict[str, Any]:
    import tacit
    from tacit.data import dataset
    from tacit.evaluation.classics.lsa import LSA
    from tacit.evaluation.lexical import Lexicon

    captions = [corpora.lines(folder / f"task2_train.{k}.en.gz")[:10_000] for k in range(1, 6)]
    train, test = slice(0, 5000), slice(5000, 10_000)
    texts = [t for k in range(5) for t in captions[k][train]]
    groups = [f"image {i}" for _ in range(5) for i in range(5000)]
    data = dataset.from_texts(texts, groups=groups).whole()
    asked = [dataset.from_texts(captions[k][test], spec=data.spec) for k in (0, 1)]
    out: dict[str, Any] = {"images": 5000, "n_test": 5000}
    lexicon, lsa = Lexicon(characters=False).fit(data.x, data.spec), LSA().fit(data.x, data.spec)
    out["tfidf"] = recalls(*(lexicon.matrix(d.x).toarray() for d in asked))
    out["lsa"] = recalls(*(lsa.transform(d.x) for d in asked))
    grouped = {"train": {"positives": "group"}}
    for name, how in (
        ("word2vec", {}),
        ("simclr, group positives", {"method": "simclr", "backbone": "bag", "overrides": grouped, "budget": "180s"}),
    ):
        with tempfile.TemporaryDirectory(dir=work) as place:
            model = tacit.pretrain(data, out=Path(place) / "run", **how).model
        out[name] = recalls(*(model.embed(d).vectors for d in asked))
    return out


def speed(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 5: tokens a second, with and without packing, what a step costs beside the network, and texts embedded a second."""
    if quick:
        cells.measure("speed_generated", lambda: _speed(generated(work), work, 5))
    elif (place := corpora.ready(data, work, "20newsgroups")) is not None:
        cells.measure("speed_20newsgroups", lambda: _speed(place, work, 20))


def _speed(place: str, work: Path, steps: int) -> dict[str, Any]:
    import torch

    import tacit
    from tacit.config import OptimConfig, RunConfig, TrainConfig
    from tacit.runtime import choose_precision
    from tacit.training.loader import Loader
    from tacit.training.loop import Loop, make_fabric
    from tacit.training.pretrain import _method

    data = tacit.open(place, size=128)
    out: dict[str, Any] = {"threads": torch.get_num_threads()}

    def loop_of(method: str, backbone: dict[str, Any], modality: dict[str, Any]) -> Loop:
        config = RunConfig(
            data={}, modality=modality, method={"name": method}, backbone=backbone, optim=OptimConfig(kind="adamw"),
            train=TrainConfig(steps=10**6, batch=64, seed=0), precision=choose_precision("cpu").value,
        )  # fmt: skip
        kind, made = _method(data, config)
        return Loop.build(make_fabric(config), made, Loader(data, data.train, kind, torch.device("cpu")), kind, config)

    network = {"name": "roformer", "dim": 256, "depth": 4, "heads": 4}
    loops = {
        "mlm, packed": loop_of("mlm", network, {}),
        "mlm, padded": loop_of("mlm", {**network, "pack": False}, {}),
        "word2vec": loop_of("word2vec", {"name": "bag"}, {"pairs": 20_000, "width": 512}),
    }
    assert data.lengths is not None
    seen = float(np.minimum(data.lengths[data.train], data.spec.sizes[0]).mean()) * 64  # tokens a step
    for name, loop in loops.items():
        found = throughput.share_of(loop, 64, steps, method=True)
        out[name] = {"tokens_per_s": seen / found["step_s"], "outside": found["outside"]}
    with tempfile.TemporaryDirectory(dir=work) as folder:
        model = tacit.pretrain(data, steps=10, out=Path(folder) / "run").model
    rows = np.arange(min(len(data), 4000))
    assert data.lengths is not None
    begin = time.perf_counter()
    model.vectors(data.x[rows], data.lengths[rows])
    took = time.perf_counter() - begin
    out["embedding"] = {"texts_per_s": len(rows) / took, "tokens_per_s": float(data.lengths[rows].sum()) / took}
    return out


PIECES: dict[str, parts.Piece] = {
    "labels": labels,
    "scope": scope,
    "similar": similar,
    "heads": heads,
    "language": language,
    "translation": translation,
    "speed": speed,
    "alternatives": alternatives,
}


if __name__ == "__main__":
    raise SystemExit(parts.run(__doc__, "part5", PIECES, text_page.page, "text.md"))
