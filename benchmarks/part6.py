"""The measurements of part 6: digits and emotions of unseen speakers, whose voice it is, robustness, noise taken away, speed.

    python benchmarks/part6.py [--quick] [--only digits,speakers,emotion,denoise,asr,methods,preset,speed] [--data PATH] [--write]

Finished cells (one JSON file each in benchmarks/results/part6) are skipped. --quick: a little of each on generated sound in about a minute;
its numbers are printed and thrown away. --write: renew docs/audio.md from the cells. No speaker that is tested on is ever pretrained on.
PATH: the folder of data sets, $TACIT_DATA or shared/data beside the repository. Wall seconds, with as many threads as OMP_NUM_THREADS says.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import audio_page  # noqa: E402
import parts  # noqa: E402
import recordings  # noqa: E402
import throughput  # noqa: E402
from part1 import Cells  # noqa: E402
from part4 import kept  # noqa: E402

SECONDS = 300  # of pretraining on each fold
OTHERS: dict[str, dict[str, Any]] = {  # three minutes each, on the first fold
    "simclr": {},
    "byol": {"method": "byol"},
    "cola": {"method": "cola"},
    "vicreg": {"method": "vicreg"},
    "mae": {"method": "mae", "backbone": "transformer"},
    "data2vec": {"method": "data2vec", "backbone": "transformer"},
    "hubert": {"method": "hubert", "backbone": "transformer"},
    "bestrq": {"method": "bestrq", "backbone": "transformer"},
    "wav2vec2": {"method": "wav2vec2", "backbone": "transformer"},
    "cpc": {"method": "cpc", "backbone": "transformer"},
    "autoregressive": {"method": "autoregressive", "backbone": "transformer", "overrides": {"method": {"ahead": 3}}},
    "jigsaw": {"method": "jigsaw"},
}


def opened(place: Path, target: str) -> Any:
    """The recordings with their labels and speakers."""
    import tacit

    return tacit.open(place, target=target, group="speaker", max_bad=0.1)


def pretrained(data: Any, work: Path, seconds: float, quick: bool, **more: Any) -> tuple[Any, Path]:
    """A run on the training speakers."""
    import tacit

    folder = Path(tempfile.mkdtemp(dir=work))
    how: dict[str, Any] = {"steps": 20, "size": "tiny"} if quick else {"budget": f"{seconds}s"}
    return tacit.pretrain(data, out=folder / "run", **how, **more), folder


def judged(data: Any, run: Any, quick: bool) -> dict[str, Any]:
    """Every number of labels; 10 draws where they are few."""
    import tacit

    rows, verdict = [], {}  # type: list[dict[str, Any]], dict[str, Any]
    for levels, seeds in (([1, 5, 10], 10), ([50, "all"], 3)) if not quick else (([1, 5], 2),):
        done = tacit.evaluate(run, data, levels=levels, seeds=seeds, supervised=False)
        rows += [r for r in done.evaluation.results if r["metric"] == "accuracy"]
        verdict = verdict or done.verdict
    return {
        "rows": kept(rows),
        "verdict": verdict.get("sentence"),
        "train": len(data.train),
        "n_test": len(data.test),
        "steps": run.config.train.steps,
    }


def digits(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 1: three folds of two held-out speakers."""
    place = recordings.generated(work) if quick else recordings.fsdd(data, work)
    if place is None:
        return
    folds = (("s0", "s1"),) if quick else recordings.FOLDS
    for held in folds:
        cells.measure(f"digits_{'_'.join(held)}", lambda h=held: _digits(place, h, work, quick))


def _digits(place: Path, held: tuple[str, ...], work: Path, quick: bool) -> dict[str, Any]:
    data = recordings.held_out(opened(place, "digit"), held)
    run, _ = pretrained(data, work, SECONDS, quick)
    out = judged(data, run, quick)
    return {**out, "apart": apart(data, run.model, held), "robust": robust(data, run.model)}


def probed(train: np.ndarray, y: np.ndarray, test: np.ndarray, classes: int) -> np.ndarray:
    """What a linear probe on all labels says of test rows."""
    from tacit import registry
    from tacit.evaluation.readers import standardise

    a, b = standardise(train, test)
    return np.asarray(registry.find("probes", "linear")().fit(a, y, classes, small=False, seed=0, groups=None).predict(b))


def representations(data: Any, model: Any) -> dict[str, Any]:
    """name -> function of recordings; ours and cepstra."""
    from tacit.evaluation.classics.mfcc import MFCC

    mfcc = MFCC().fit(data.x[data.train], data.spec)
    return {"ssl": lambda x: model.vectors(x, x.lengths), "mfcc": mfcc.transform}


def apart(data: Any, model: Any, held: tuple[str, ...]) -> dict[str, dict[str, float]]:
    """Accuracy on each held-out speaker with all labels."""
    out: dict[str, dict[str, float]] = {}
    for name, of in representations(data, model).items():
        guess = probed(of(data.x[data.train]), data.labels[data.train], of(data.x[data.test]), len(data.classes))
        right = guess == data.labels[data.test]
        who = np.array(data.group_names)[data.groups[data.test]]
        out[name] = {s: float(right[who == s].mean()) for s in held}
    return out


def robust(data: Any, model: Any) -> dict[str, dict[str, float]]:
    """Item 3: accuracy of a probe on clean training speakers, on test recordings with white noise and with half of the rate lost."""
    import soxr

    from tacit.data.flat import Flat

    rng = np.random.default_rng(0)
    rate = int(data.spec.extra["rate"])
    test = [data.x.item(int(i)).astype(np.float64) for i in data.test]

    def flat(items: list[np.ndarray]) -> Flat:
        clipped = [np.clip(np.rint(v), -32767, 32767).astype(np.int16) for v in items]
        return Flat.of(np.concatenate(clipped), np.array([len(v) for v in clipped], np.int64))

    changed = {"clean": flat(test), **{f"{db} dB": flat([recordings.noisy(v, db, rng) for v in test]) for db in (20, 15, 10, 5, 0)}}
    changed["half the rate"] = flat([soxr.resample(soxr.resample(v, rate, rate // 2), rate // 2, rate) for v in test])
    out: dict[str, dict[str, float]] = {}
    for name, of in representations(data, model).items():
        z, y = of(data.x[data.train]), data.labels[data.train]
        out[name] = {k: float((probed(z, y, of(x), len(data.classes)) == data.labels[data.test]).mean()) for k, x in changed.items()}
    return out


# one thing at a time is changed in the preset of sound: name of a row -> overrides
CHANGES: dict[str, dict[str, Any]] = {
    "the preset": {},
    "no boxes": {"modality": {"crop": 1.0, "bands": 1.0}},
    "mixup 0.4": {"modality": {"mix": 0.4}},
    "fade 1": {"modality": {"fade": 1.0}},
    "no fade": {"modality": {"fade": 0.0}},
    "no noise": {"modality": {"noise": 0.0}},
    "tilt 2": {"modality": {"tilt": 2.0}},
    "SpecAugment 0.3": {"modality": {"hide": 0.3}},
    "256 features": {"backbone": {"dim": 256}},
    "mean over time": {"backbone": {"pool": "mean"}},
    "AdamW at 1e-3": {"optim": {"kind": "adamw", "lr": 1e-3}},
    "BYOL": {"method": "byol"},
    "VICReg": {"method": "vicreg"},
}


def preset(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """What each part of the preset brings, 200 steps; one of four training speakers of the first fold is held out, twice."""
    place = recordings.generated(work) if quick else recordings.fsdd(data, work)
    if place is None:
        return
    for name in list(CHANGES)[: 2 if quick else None]:
        cells.measure(f"preset_{name.replace(' ', '-')}", lambda n=name: _preset(place, n, work, quick))


def _preset(place: Path, name: str, work: Path, quick: bool) -> dict[str, Any]:
    import tacit

    given = dict(CHANGES[name])
    method = given.pop("method", "simclr")
    out: dict[str, Any] = {"rows": []}
    for held in ("s2", "s3") if quick else ("yweweler", "nicolas"):
        whole = recordings.held_out(opened(place, "digit"), (held,))
        away = np.isin(np.array([*whole.group_names, ""])[whole.groups], ("s0", "s1") if quick else recordings.FOLDS[0])
        data = replace(whole, split=np.where(away, 2, whole.split).astype(np.int8))
        run = tacit.pretrain(
            data,
            steps=20 if quick else 200,
            batch_size=8 if quick else 64,
            method=method,
            overrides=given,
            out=Path(tempfile.mkdtemp(dir=work)) / "run",
        )
        out["rows"] += [
            {"held": held, **r}
            for r in judged(data, run, quick)["rows"]
            if r["representation"] in ("ssl", "mfcc") and r["probe"] == "linear"
        ]
    return out


def methods(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Other pretext tasks, three minutes each, on the first fold."""
    place = recordings.generated(work) if quick else recordings.fsdd(data, work)
    if place is None:
        return
    held = ("s0", "s1") if quick else recordings.FOLDS[0]
    for name in ("cola", "bestrq") if quick else OTHERS:
        cells.measure(f"method_{name}", lambda n=name: _method(place, held, n, work, quick))


def _method(place: Path, held: tuple[str, ...], name: str, work: Path, quick: bool) -> dict[str, Any]:
    data = recordings.held_out(opened(place, "digit"), held)
    run, _ = pretrained(data, work, 180, quick, **OTHERS[name])
    out = judged(data, run, quick)
    out["rows"] = [r for r in out["rows"] if r["representation"] in ("ssl", "untrained")]
    return out


def speakers(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 2: who speaks (takes held out), and whether two recordings are of one speaker whom nobody has heard before."""
    place = recordings.generated(work) if quick else recordings.fsdd(data, work)
    if place is None:
        return
    cells.measure("speakers_identification", lambda: _identified(place, work, quick))
    for held in (("s0", "s1", "s2"),) if quick else recordings.FOLDS:
        cells.measure(f"speakers_{'_'.join(held)}", lambda h=held: _verified(place, h, work, quick))


def _identified(place: Path, work: Path, quick: bool) -> dict[str, Any]:
    import tacit

    data = tacit.open(place, target="speaker", group="take")
    data = replace(data, split=np.isin(np.array(data.group_names)[data.groups], list("01234")).astype(np.int8))
    run, _ = pretrained(data, work, SECONDS / 2, quick)
    return judged(data, run, quick)


def _verified(place: Path, held: tuple[str, ...], work: Path, quick: bool) -> dict[str, Any]:
    import tacit

    data = recordings.held_out(opened(place, "digit"), held)
    run, _ = pretrained(data, work, SECONDS / 2, quick)
    done = tacit.verify(run.path, data, apart=None)
    return done.result


def emotion(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 2: emotion, five folds of two held-out speakers, mean recall of the classes with all labels."""
    place = recordings.generated(work) if quick else recordings.emodb(data, work)
    if place is None:
        return
    target = "digit" if quick else "emotion"
    names = sorted(opened(place, target).group_names)
    folds = [tuple(names[i : i + 2]) for i in range(0, 2 if quick else len(names), 2)]
    for held in folds:
        cells.measure(f"emotion_{'_'.join(held)}", lambda h=held: _emotion(place, target, h, work, quick))


def _emotion(place: Path, target: str, held: tuple[str, ...], work: Path, quick: bool) -> dict[str, Any]:
    from tacit.api import untrained

    data = recordings.held_out(opened(place, target), held)
    run, _ = pretrained(data, work, SECONDS / 2, quick)
    fresh = untrained(run.model)
    ways = {**representations(data, run.model), "untrained": lambda x: fresh.vectors(x, x.lengths)}
    ways["ssl + mfcc"] = lambda x: np.concatenate([_unit(ways["ssl"](x), 1.0), _unit(ways["mfcc"](x), 1.0)], 1)
    truth, out = data.labels[data.test], {"n_test": len(data.test), "classes": len(data.classes), "truth": data.labels[data.test].tolist()}
    for name, of in ways.items():
        guess = probed(of(data.x[data.train]), data.labels[data.train], of(data.x[data.test]), len(data.classes))
        out[name] = float(np.mean([(guess[truth == k] == k).mean() for k in np.unique(truth)]))
        out[f"{name} predicted"] = guess.tolist()
    return out


def _unit(z: np.ndarray, size: float) -> np.ndarray:
    return np.asarray(z * (size / max(float(z.std(0).mean()), 1e-9)))


def denoise(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 3: SI-SNR of noisy recordings of held-out speakers before and after."""
    place = recordings.generated(work) if quick else recordings.fsdd(data, work)
    if place is not None:
        cells.measure("denoise", lambda: _denoised(place, ("s0", "s1") if quick else recordings.FOLDS[0], work, quick))


def _denoised(place: Path, held: tuple[str, ...], work: Path, quick: bool) -> dict[str, Any]:
    from tacit.cleaning import Cleaner, si_snr
    from tacit.statistics import interval

    data = recordings.held_out(opened(place, "digit"), held)
    run, _ = pretrained(data, work, SECONDS / 2, quick, method="enhancement")
    cleaner, rng = Cleaner(run.path), np.random.default_rng(0)
    rows = data.test[:: max(1, len(data.test) // 300)]
    out: dict[str, Any] = {"n": len(rows), "steps": run.config.train.steps}
    for db in (0, 5, 10):
        for kind in ("white", "another voice"):
            gain = []
            for i in rows:
                s = data.x.item(int(i)).astype(np.float64) / 32767
                if kind == "white":
                    x = recordings.noisy(s, db, rng)
                else:
                    other = np.resize(data.x.item(int(rng.choice(data.test))).astype(np.float64), len(s))
                    x = s + other * np.sqrt((s**2).mean() / max((other**2).mean(), 1e-12)) * 10 ** (-db / 20)
                gain.append(si_snr(cleaner.clean(x.astype(np.float32)), s) - si_snr(x, s))
            draws = [float(np.mean(rng.choice(gain, len(gain)))) for _ in range(1000)]
            out[f"{kind}, {db} dB"] = [float(np.mean(gain)), *map(float, interval(np.array(draws)))]
    return out


def asr(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 4: digits in a row, read by CTC: pretrained and frozen, fine-tuned, and from scratch, on 5 % and all of the labels."""
    place = recordings.generated(work) if quick else recordings.fsdd(data, work)
    if place is None:
        return
    held = ("s0", "s1") if quick else recordings.FOLDS[0]
    cells.measure("asr", lambda: _asr(place, held, work, quick))
    if not quick:
        cells.measure("asr_longer", lambda: _asr_longer(place, held, work))


def _asr(place: Path, held: tuple[str, ...], work: Path, quick: bool) -> dict[str, Any]:
    import tacit

    single = recordings.held_out(opened(place, "digit"), held)
    folder, rows = Path(tempfile.mkdtemp(dir=work)), []
    shares = {
        share: recordings.rowed(single, work, 60 if quick else 600, 20 if quick else 200, share)
        for share in ((1.0,) if quick else (0.05, 1.0))
    }
    data = tacit.open(shares[1.0], target="said")
    # what is said does not change the sound, so one run serves both numbers of labels
    runs = {"scratch": tacit.pretrain(data, steps=1, out=folder / "scratch"), "pretrained": pretrained(data, work, SECONDS, quick)[0]}
    for share, place in shares.items():
        for way, run, strategy in (
            ("frozen", "pretrained", "probe"),
            ("fine-tuned", "pretrained", "lp-ft"),
            ("from scratch", "scratch", "full"),
        ):
            if quick and way != "frozen":
                continue
            out = folder / f"{way}-{share}"
            done = tacit.finetune(runs[run].path, place, target="said", head="transcription", strategy=strategy, out=out)
            scores = {
                r["metric"]: [r["value"], r["low"], r["high"]] for r in done.result["results"] if r["probe"] == f"finetune:{strategy}"
            }
            rows.append({"encoder": way, "labels": done.result["labels"], "learned_from": done.result["learned_from"], **scores})
    return {"n_test": len(data.test), "steps": runs["pretrained"].config.train.steps, "rows": rows}


def _asr_longer(place: Path, held: tuple[str, ...], work: Path) -> dict[str, Any]:
    """All labels from scratch once more, with four times the steps that the head takes by itself."""
    import tacit

    single = recordings.held_out(opened(place, "digit"), held)
    folder, rows = Path(tempfile.mkdtemp(dir=work)), recordings.rowed(single, work, 600, 200, 1.0)
    run = tacit.pretrain(tacit.open(rows, target="said"), steps=1, out=folder / "scratch")
    longer = {"finetune": {"least": 800, "most": 800, "patience": 0.0}}
    done = tacit.finetune(run.path, rows, target="said", head="transcription", strategy="full", overrides=longer, out=folder / "long")
    scores = {r["metric"]: [r["value"], r["low"], r["high"]] for r in done.result["results"] if r["probe"] == "finetune:full"}
    return {"rows": [{"encoder": "from scratch, four times the steps", "labels": done.result["labels"], **scores}]}


def speed(cells: Cells, quick: bool, data: Path, work: Path) -> None:
    """Item 5: hours of sound an hour of training, what a step costs beside the network, decoding, and memory on a long file."""
    place = recordings.generated(work) if quick else recordings.fsdd(data, work)
    if place is not None:
        cells.measure("speed", lambda: _speed(place, work, quick))


def _speed(place: Path, work: Path, quick: bool) -> dict[str, Any]:
    import subprocess

    import soundfile
    import torch

    import tacit
    from tacit.config import OptimConfig, RunConfig, TrainConfig
    from tacit.modalities.audio import Audio
    from tacit.runtime import choose_precision
    from tacit.training.loader import Loader
    from tacit.training.loop import Loop, make_fabric
    from tacit.training.pretrain import _method

    data = opened(place, "digit")
    preset = Audio.preset
    config = RunConfig(
        data={}, modality={}, method={"name": preset["method"]}, backbone={"name": "spectral"}, optim=OptimConfig(kind="muon"),
        train=TrainConfig(steps=10**6, batch=preset["batch"], seed=0), precision=choose_precision("cpu").value,
    )  # fmt: skip
    kind, made = _method(data, config)
    loop = Loop.build(make_fabric(config), made, Loader(data, data.train, kind, torch.device("cpu")), kind, config)
    found = throughput.share_of(loop, preset["batch"], 3 if quick else 20, method=True)
    heard = float(np.minimum(data.lengths[data.train], data.spec.sizes[0]).mean()) / int(data.spec.extra["rate"])
    out: dict[str, Any] = {"threads": torch.get_num_threads(), "step": found, "hours_per_hour": found["items_per_s"] * heard}
    hours = 0.05 if quick else 2.0
    long, rng = work / "long.flac", np.random.default_rng(0)
    with soundfile.SoundFile(str(long), "w", 44_100, 2) as file:
        for _ in range(int(hours * 60)):
            file.write(0.1 * rng.normal(size=(60 * 44_100, 2)))
    code = "import resource,sys,time,tacit;t=time.perf_counter();d=tacit.open(sys.argv[1],cache=False);"
    code += "print(len(d),time.perf_counter()-t,resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    sizes = {}
    for name, part in (("long", long), ("short", _first_minutes(long, work, 1 if quick else 6))):
        said = subprocess.run([sys.executable, "-c", code, str(part)], stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        sizes[name] = {"items": int(said[0]), "seconds": float(said[1]), "peak_mb": int(said[2]) / 1024}
    out |= {"file_hours": hours, "decoding": sizes, "decoded_hours_per_minute": hours / sizes["long"]["seconds"] * 60}
    model = tacit.pretrain(data, steps=2, out=Path(tempfile.mkdtemp(dir=work)) / "run").model
    rows = np.arange(min(len(data), 2000))
    begin = time.perf_counter()
    model.vectors(data.x[rows], data.lengths[rows])
    out["embedded_per_s"] = len(rows) / (time.perf_counter() - begin)
    return out


def _first_minutes(path: Path, work: Path, minutes: int) -> Path:
    import soundfile

    short = work / "short.flac"
    x, rate = soundfile.read(path, frames=minutes * 60 * 44_100, dtype="int16")
    soundfile.write(short, x, rate)
    return short


PIECES: dict[str, parts.Piece] = {
    "digits": digits,
    "speakers": speakers,
    "emotion": emotion,
    "denoise": denoise,
    "asr": asr,
    "methods": methods,
    "preset": preset,
    "speed": speed,
}


if __name__ == "__main__":
    raise SystemExit(parts.run(__doc__, "part6", PIECES, audio_page.page, "audio.md"))
