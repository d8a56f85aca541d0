"""The verbs that answer to somebody: audit, erase, forget."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tacit.options import DataArg, Group, Json, MaxBad, ModalityOpt, NoCache, OrderBy, Quiet, RunArg, SequenceBy, Split, Target, TextColumn
from tacit.terminal import Teller, out

Groups = Annotated[
    str | None, typer.Option("--groups", help="Columns with attributes of people, cameras, sites: sex,race; ranges of numbers: age:25/45.")
]
Settings = Annotated[list[str] | None, typer.Argument(metavar="[CHECK.name=value]...", help="Settings, such as fairness.fewest=50.")]
SHOWN = 12


def audit(
    first: Annotated[
        str, typer.Argument(metavar="[RUN]", help="A run, a fine-tuned or exported model; may be left out.", show_default=False)
    ],
    second: Annotated[str | None, typer.Argument(metavar="DATA", help="A file, a folder, or builtin:digits.", show_default=False)] = None,
    overrides: Settings = None,
    groups: Groups = None,
    target: Target = None,
    predictions: Annotated[
        str | None,
        typer.Option(help="Decisions made elsewhere: a column, a rule (score>=5, text=Medium|High), or a file with ids and predictions."),
    ] = None,
    positive: Annotated[str | None, typer.Option(help="The class that is the positive decision; default: of two the second.")] = None,
    policy: Annotated[
        Path | None, typer.Option(help="What is demanded: policy.toml. An objective that is not met ends with code 3.")
    ] = None,
    fail_on: Annotated[str | None, typer.Option("--fail-on", help="high, medium or low: such a finding ends with code 3.")] = None,
    only: Annotated[str | None, typer.Option(help="Checks or sections (data, shortcuts, fairness, representation, privacy).")] = None,
    skip: Annotated[str | None, typer.Option(help="Checks or sections to leave out.")] = None,
    attributes: Annotated[Path | None, typer.Option(help="A table with ids that has the columns of --groups.")] = None,
    embeddings: Annotated[Path | None, typer.Option(help="Embeddings of the DATA (tacit embed), in the place of a RUN.")] = None,
    mitigate: Annotated[
        str | None, typer.Option(help="What would treating groups alike cost? all, or names (`tacit list mitigations`).")
    ] = None,
    write_keep: Annotated[Path | None, typer.Option("--write-keep", help="Write the cleaned list of items, for pretrain --keep.")] = None,
    against: Annotated[Path | None, typer.Option(help="An earlier audit (.json or its run) to compare with.")] = None,
    out_: Annotated[Path | None, typer.Option("--out", help="Folder; default that of the RUN, else runs/<date>_audit_<data>.")] = None,
    modality: ModalityOpt = None,
    group: Group = None,
    split: Split = None,
    text_column: TextColumn = None,
    sequence_by: SequenceBy = None,
    order_by: OrderBy = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Is it fair, private, sound? What is wrong with the data and the model, worst first; and a gate that can say no."""
    from tacit.auditing import audit as audited
    from tacit.auditors.finding import SEVERITIES
    from tacit.config import parse_overrides
    from tacit.errors import Asked, GateFailed, nearest
    from tacit.registry import names
    from tacit.report.audited import printed, tables, verdict

    teller = Teller(quiet)
    if fail_on is not None and fail_on not in SEVERITIES[:3]:
        raise Asked(f"--fail-on {fail_on}", nearest(fail_on, SEVERITIES[:3]))
    words = list(overrides or [])
    if second is not None and "=" in second and "." in second.partition("=")[0] and not Path(second).exists():
        words, second = [second, *words], None
    run, data = (first, second) if second is not None else (None, first)
    given = {"cache": not no_cache, "group": group, "split": split, "text_column": text_column, "max_bad": max_bad}
    given |= {"modality": modality if run is None else None, "sequence_by": sequence_by, "order_by": order_by}
    command = shlex.join(["tacit", *_without(sys.argv[1:], ("--only", "--skip", "--write-keep", "--against", "--fail-on"))])
    try:
        found = audited(
            run, data, groups=groups or (), target=target, predictions=predictions, positive=positive, policy_file=policy,
            only=_list(only), skip=_list(skip), settings={k: v for k, v in parse_overrides(words, names("checks")).items() if v},
            attributes_file=attributes, embeddings=embeddings, mitigate=mitigate, against=against, write_keep=write_keep, out=out_,
            seed=seed, options={k: v for k, v in given.items() if v is not None}, command=command, say=teller.say,
        )  # fmt: skip
    except KeyboardInterrupt:
        print("interrupted: run the same command again", file=sys.stderr)
        raise typer.Exit(130) from None
    r = found.result
    if json_:
        out(r)
    else:
        for n in r["notes"]:
            teller.say(f"note: {n}")
        wrong = [f for f in r["findings"] if f["severity"] != "fine"]
        print("\n".join(printed(r, wrong[:SHOWN])))
        if len(wrong) > SHOWN:
            print(f"and {len(wrong) - SHOWN} more, in {r['files']['html']}")
        _rates(r, tables(r))
        _objectives(r)
        _mitigations(r)
        for row in r.get("against", {}).get("rows", []):
            print(f"{row['state']:<7} {row['name']} {row['group']}".rstrip())
        teller.say(verdict(r))
        for u in (u for u in r["unchecked"] if u["why"] != "not asked for"):
            teller.say(f"not checked: {u['check']} ({u['why']})")
        if left := [u["check"] for u in r["unchecked"] if u["why"] == "not asked for"]:
            teller.say(f"not asked for: {', '.join(left)}")
        if write_keep is not None:
            teller.say(f"{r['keep']['kept']:,} items are kept, {r['keep']['left_out']:,} left out: tacit pretrain DATA --keep {write_keep}")
        print(r["files"]["html"])
    if found.fails(fail_on):
        lost = [*found.failed, *[f.said for f in found.findings if fail_on and SEVERITIES.index(f.severity) <= SEVERITIES.index(fail_on)]]
        raise GateFailed(
            f"the audit says no: {lost[0]}" + (f" (and {len(lost) - 1} more)" if len(lost) > 1 else ""), f"see {r['files']['html']}"
        )


def erase(
    run: RunArg,
    data: DataArg,
    groups: Groups = None,
    out_: Annotated[Path | None, typer.Option("--out", help="Folder of the new model; default RUN_without_<groups>.")] = None,
    target: Target = None,
    group: Group = None,
    split: Split = None,
    text_column: TextColumn = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Take what is linear of an attribute out of a run's embeddings, and verify it."""
    from tacit.erasing import erase as erased
    from tacit.errors import Asked, GateFailed
    from tacit.terminal import table

    if not groups:
        raise Asked("erase needs to know what to take out", "--groups sex")
    teller = Teller(quiet)
    given = {"cache": not no_cache, "target": target, "group": group, "split": split, "text_column": text_column, "max_bad": max_bad}
    place = out_ or Path(f"{str(run).rstrip('/')}_without_{groups.replace(',', '_').replace(':', '-').replace('/', '-')}")
    try:
        done = erased(
            run, data, groups=groups, out=place, seed=seed, options={k: v for k, v in given.items() if v is not None}, say=teller.say
        )
    except KeyboardInterrupt:
        print("interrupted: run the same command again", file=sys.stderr)
        raise typer.Exit(130) from None
    if json_:
        out({**done.result, "path": str(done.path)})
    else:
        rows = []
        for a in done.result["attributes"]:
            for probe in ("linear", "network"):
                b, c = a["before"][probe], a["after"][probe]
                band = f"{c['chance'][0]:.3f} to {c['chance'][1]:.3f}"
                rows.append([f"{a['name']}, {probe}", f"{b['auc']:.3f}", f"{c['auc']:.3f}", band])
        table(f"AUC on {done.result['attributes'][0]['n']:,} held-out items", ["probe", "before", "after", "chance"], rows)
        teller.say(f"{100 * done.result['moved']:.1f} % of the variance was moved; what is not linear stays")
        print(done.path)
    if not done.verified:
        raise GateFailed("a linear reading still finds the attribute in held-out items", "fit on more items, or look at erasure.json")


def forget(
    run: RunArg,
    ids: Annotated[str, typer.Option(help="Names of the items, with commas, or @FILE with a name in each line.")],
    train: Annotated[str | None, typer.Option(help="The data of the run; default: where the run says.")] = None,
    out_: Annotated[Path | None, typer.Option("--out", help="Folder of the new run; default RUN_without_<n>.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put it into the old run's place, which is removed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen and how long it takes, and stop.")] = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a run again without some items; say what still holds them, and what it changed for whoever asks about them."""
    from tacit.errors import Asked, Stopped
    from tacit.forgetting import forget as forgotten

    teller = Teller(quiet)
    if ids.startswith("@"):
        file = Path(ids[1:])
        if not file.is_file():
            raise Asked(f"there is no file {str(file)!r}", "write a name of an item into each line")
        wanted = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    else:
        wanted = _list(ids)
    given = {} if max_bad is None else {"max_bad": max_bad}
    try:
        done = forgotten(
            run, wanted, train=train, out=out_, replace=replace, dry_run=dry_run, options=given, say=teller.say, show=teller.show
        )
    except Stopped as stop:
        print(f"{stop.message}: remove {stop.run}, and run the same command again", file=sys.stderr)
        raise typer.Exit(130) from None
    except KeyboardInterrupt:
        print("interrupted: run the same command again", file=sys.stderr)
        raise typer.Exit(130) from None
    r = done.result
    if json_:
        out({**r, "path": None if done.path is None else str(done.path)})
        return
    effect = r.get("effect", {})
    if effect.get("measured"):
        told = [f"{when} {e['auc']:.3f} [{e['low']:.3f}, {e['high']:.3f}]" for when in ("before", "after") if (e := effect[when])]
        teller.say(f"telling the {effect['n']} forgotten items from unseen ones: AUC {', '.join(told)} (0.5 = chance)")
    elif effect:
        teller.say(f"the effect was not measured: {effect['why']}")
    if r["holding"] and done.path is not None:
        teller.say(f"the old run still holds them: its weights, and {', '.join(r['holding'][:6])}; remove it: rm -r {run} (or --replace)")
    teller.say("the source of the data still holds them: delete them there, too")
    if done.path is not None:
        print(done.path)


def _list(words: str | None) -> list[str]:
    return [w.strip() for w in (words or "").split(",") if w.strip()]


def _without(words: list[str], options: tuple[str, ...]) -> list[str]:
    """A command without these options and their values."""
    kept, skip = [], False
    for w in words:
        name, mark, _ = w.partition("=")
        if not skip and name not in options:
            kept.append(w)
        skip = not skip and name in options and not mark
    return kept


def _rates(r: dict[str, Any], tables: list[dict[str, Any]]) -> None:
    """Rates by group, of whole attributes, with everybody above."""
    from tacit.report.read import words as shown
    from tacit.terminal import table

    d = r["decisions"]
    if d is None:
        return
    for t in [t for t in tables if " x " not in t["attribute"]]:
        keys = [c for c in t["columns"] if c[0] in ("selection_rate", "tpr", "fpr", "fnr", "precision", "accuracy", "auc", "mae", "bias")]
        rows = []
        if "fpr" in d:
            whole = {**d, "tpr": None if d["fnr"] is None else 1 - d["fnr"]}
            rows.append(["all", f"{d['n']:,}", *(_share(whole.get(k), k) for k, _ in keys)])
        rows += [[shown(g["group"], 60), f"{g['n']:,}", *(_share(g.get(k), k) for k, _ in keys)] for g in t["groups"]]
        table(f"by {t['attribute']}, in percent", ["", "n", *(name for _, name in keys)], rows)


def _share(value: Any, key: str) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if key in ("mae", "bias") else f"{100 * value:.2f}"


def _objectives(r: dict[str, Any]) -> None:
    policy = r.get("policy")
    if policy is None:
        return
    from tacit.report.read import words as shown

    print(f"decided by {policy['decided_by']} on {policy['decided_on']}; reviewer: {policy['reviewer']}")
    for o in policy["objectives"]:
        interval = "" if o["low"] is None or o["high"] is None else f" [{o['low']:.3g}, {o['high']:.3g}], n = {o['n']:,}"
        print(f"{o['state']:<11} {shown(o['said'], 600)}{interval}")


def _mitigations(r: dict[str, Any]) -> None:
    from tacit.terminal import table

    for m in r.get("mitigations", []):
        rows = []
        for o in m["outcomes"]:
            name = o["name"] + (f" {o['strength']:g}" if o["strength"] not in (0.0, 1.0) else "") + (" *" if o["best"] else "")
            left = " / ".join(f"{o['leaks'][p]['auc']:.2f}" for p in ("linear", "network") if p in o["leaks"])
            change = [f"{100 * o[k]['value']:+.1f}\n{100 * o[k]['low']:+.1f} to {100 * o[k]['high']:+.1f}" for k in ("cost", "gain")]
            rows.append([name, f"{100 * o['accuracy']['value']:.1f}", change[0], f"{100 * o['gap']['value']:.1f}", change[1], left])
        heads = ["mitigation", "accuracy", "change", "odds gap", "change", "AUC left"]
        table(
            f"what treating {m['attribute']} alike costs, on {m['outcomes'][0]['n']:,} held-out items (* no other is better in both)",
            heads,
            rows,
        )
        for o in m["left"]:
            print(f"{o['name']} was not tried: {o['why']}")
