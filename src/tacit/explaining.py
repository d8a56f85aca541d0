"""The verb that gives reasons: explain."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tacit.options import DataArg, Group, Json, MaxBad, NoCache, Quiet, RunArg, Split, Target, TextColumn
from tacit.terminal import Teller, out, table

Settings = Annotated[list[str] | None, typer.Argument(metavar="[explain.name=value]...", help="Settings of the attribution.")]
SHOWN, WIDE = 8, 16


def explain(
    run: RunArg,
    data: DataArg,
    overrides: Settings = None,
    item: Annotated[str | None, typer.Option(help="Number or name of the item; default 0.")] = None,
    pair: Annotated[tuple[str, str] | None, typer.Option(help="Two items: which parts make them alike?")] = None,
    these: Annotated[str | None, typer.Option("--class", help="Why is it nearer to the items of this class than to others?")] = None,
    those: Annotated[str | None, typer.Option("--rather-than", help="The class that it is held against; default: all others.")] = None,
    anomaly: Annotated[bool, typer.Option("--anomaly", help="Why is it far from the training items?")] = False,
    pretext: Annotated[bool, typer.Option("--pretext", help="What does the task look at that the run learned by?")] = False,
    next_: Annotated[
        str | None, typer.Option("--next", help="Event logs: which past events make this item come next? top = the likeliest.")
    ] = None,
    pretraining: Annotated[
        bool, typer.Option("--pretraining", help="What was taught: changes that are ignored, what layers hold, items that stay hard.")
    ] = False,
    examples: Annotated[
        bool,
        typer.Option("--examples", help="Which training items is it like, and do they explain it? Of a MODEL by prototypes: their parts."),
    ] = False,
    influence: Annotated[bool, typer.Option("--influence", help="Which training items moved the network most toward this?")] = False,
    clusters: Annotated[int | None, typer.Option(help="What lies together? So many groups; 0 = the clearest number.", min=0)] = None,
    words: Annotated[str | None, typer.Option(help="Texts: what is near these words and phrases? bank,river bank")] = None,
    concepts: Annotated[int | None, typer.Option(help="What are its tokens made of? So many concepts; 0 = 32.", min=0)] = None,
    concept: Annotated[
        str | None, typer.Option(help="Does it hold what these items share? 3,17,40 or @FILE with an item a line; five or more.")
    ] = None,
    global_: Annotated[
        bool, typer.Option("--global", help="Which attributions can be believed on this run? On 30 held-out items.")
    ] = False,
    how: Annotated[str | None, typer.Option(help="Attribution (`tacit list attributions`); of concepts nmf or sae.")] = None,
    engine: Annotated[str | None, typer.Option(help="Let a package attribute: shap, lime or captum.")] = None,
    parts: Annotated[int, typer.Option(help="Parts of an item, at most.")] = 64,
    copy: Annotated[bool, typer.Option("--untrained", help="Test the map of a network with random weights: it has to fail.")] = False,
    train: Annotated[str | None, typer.Option(help="The data that was learned from; default: as the run says.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    target: Target = None,
    group: Group = None,
    split: Split = None,
    text_column: TextColumn = None,
    no_cache: NoCache = False,
    max_bad: MaxBad = None,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Why does the encoder say so? Every answer is tested before it is shown."""
    from tacit.config import parse_overrides
    from tacit.explanation import WORDS
    from tacit.explanation import explain as explained

    teller = Teller(quiet)
    given: dict[str, Any] = {"cache": not no_cache, "target": target, "group": group, "split": split, "max_bad": max_bad}
    given["text_column"] = text_column
    options = {k: v for k, v in given.items() if v is not None}
    asked = {
        "--words": words, "--pretraining": pretraining, "--influence": influence, "--concepts": concepts, "--concept": concept,
        "--examples": examples, "--clusters": clusters, "--global": global_, "--pair": pair, "--class": these, "--anomaly": anomaly,
        "--pretext": pretext, "--next": next_,
    }  # fmt: skip
    _alone([name for name, value in asked.items() if value not in (None, False)], how, engine, overrides)
    try:
        if words is not None:
            _words(run, data, words, options, json_, teller)
            return
        if pretraining or influence:
            _taught(run, data, item, influence, train, seed, options, json_, teller)
            return
        if concepts is not None or concept is not None:
            _concepts(run, data, concepts, concept, how, seed, options, json_, teller)
            return
        if examples or clusters is not None or global_:
            _overview(run, data, item, examples, clusters, how, parts, train, seed, options, json_, teller)
            return
        found = explained(
            run, data, item=item, pair=pair, these=these, those=those, anomaly=anomaly, pretext=pretext,
            next_=next_, how=by(how, engine), parts=parts, train=train, seed=seed,
            settings=parse_overrides(overrides or [], ("explain",))["explain"], untrained_copy=copy,
            options=options, say=teller.say,
        )  # fmt: skip
    except KeyboardInterrupt:
        print("interrupted: run the same command again", file=sys.stderr)
        raise typer.Exit(130) from None
    if json_:
        out([e.result for e in found])
        return
    for e in found:
        teller.say(f"{e.item}: {e.said}, by {e.how} on {len(e.names)} parts" + (f" ({e.result['note']})" if e.result["note"] else ""))
        largest = max(abs(v) for _, v in e.top(1)) or 1.0
        rows = [[name, f"{v:+.3f}", ("+" if v > 0 else "-") * round(WIDE * abs(v) / largest)] for name, v in e.top(SHOWN)]
        if e.tested.curves:
            table("", [e.result["kind"], "adds", ""], rows)
        for k in e.result.get("links", [])[:5] if e is found[0] else []:
            teller.say(f"  {k['adds']:+.3f} by {k['part']} and {k['with']}")
        for c in e.tested.checks:
            mark = {True: "passed", False: "FAILED", None: "not tested"}[c.passed]
            teller.say(f"  {mark:10} {c.name}: {c.said}")
        cost = e.result["cost"]
        teller.say(f"The explanation {WORDS[e.verdict]} ({cost['seconds']:.1f} s, {cost['evaluations']:,} looks at the item).")
        if e.path is not None:
            print(e.path.with_suffix(".png"))


ENGINES = ("shap", "lime", "captum")
MAPS = ("--pair", "--class", "--anomaly", "--pretext", "--next")  # questions that a map answers


def _alone(asked: list[str], how: str | None, engine: str | None, settings: list[str] | None) -> None:
    """Raise Asked for two questions at once, or for ways of attributing a question that no map answers."""
    from tacit.errors import Asked

    if len(asked) > 1:
        raise Asked(f"{' and '.join(asked)} ask for different things", "ask for one of them")
    other = asked[0] if asked and asked[0] not in MAPS else ""
    if other and (engine or settings):
        raise Asked(f"{other} is answered by no attribution", "leave --engine and explain.name=value out")
    if other and how and other not in ("--concepts", "--global"):
        raise Asked(f"{other} is answered by no attribution", "leave --how out")


def by(how: str | None, engine: str | None) -> str | None:
    """The attribution that was asked for by its name or its package. Raises Asked for both and for an unknown package."""
    from tacit.errors import Asked, nearest

    if engine is None:
        return how
    if how is not None:
        raise Asked("--how and --engine both say how to attribute", "give one of them")
    if engine not in ENGINES:
        raise Asked(f"there is no engine {engine!r}", nearest(engine, list(ENGINES)))
    return f"by_{engine}"


def _words(run: Path, data: str, asked: str, options: dict[str, Any], json_: bool, teller: Teller) -> None:
    """What words and phrases stand for."""
    from tacit.overviews import words

    found = words(run, data, asked.split(","), options=options, say=teller.say)
    if json_:
        out(found)
        return
    rows = [[w["word"], f"{w['occurrences']:,}", ", ".join(f"{n['word']} {n['cosine']:.2f}" for n in w["near"])] for w in found["words"]]
    table("", ["word", "occurrences", "near"], rows)
    rows = [[c["text"], c["nearest"], f"{c['cosine']:.2f}"] for w in found["words"] for c in w["contexts"]]
    table("", ["in context", "nearest place", "cosine"], rows)


GAINS = ("deletion", "insertion", "road", "trivial", "random weights")


def _overview(
    run: Path, data: str, item: str | None, examples: bool, clusters: int | None, how: str | None, parts: int,
    train: str | None, seed: int, options: dict[str, Any], json_: bool, teller: Teller,
) -> None:  # fmt: skip
    """What is not one map: by example, by group, and the tests of the attributions."""
    from tacit import overviews
    from tacit.finetuning.decider import is_decider

    if examples and is_decider(run):
        _evidence(run, data, item, train, seed, options, json_, teller)
        return
    if examples:
        found = overviews.like(run, data, item=item or 0, train=train, seed=seed, options=options, say=teller.say)
    elif clusters is not None:
        found = overviews.clusters(run, data, count=clusters, seed=seed, options=options, say=teller.say)
    else:
        ways = how.split(",") if how else None
        found = overviews.trials(run, data, ways=ways, parts=parts, train=train, seed=seed, options=options, say=teller.say)
    if json_:
        out(found)
    elif examples:
        rows = [[n["id"], n["label"] or "", f"{n['cosine']:.3f}", _weight(found, n["id"])] for n in found["nearest"]]
        table("", ["like", "label", "cosine", "share of the mixture"], rows)
        teller.say(found["sentence"])
        if found["worth"]:
            said = ", ".join(f"{w['id']} ({w['label']}) {w['adds']:+.3f}" for w in found["worth"])
            teller.say(f"Of a decision for {found['label']} by the nearest training items most is due to: {said}")
    elif clusters is not None:
        rows = [
            [str(k + 1), f"{g['items']:,}", "; ".join(g["apart"]), ", ".join(f"{c} {n}" for c, n in g["classes"].items()), g["typical"][0]]
            for k, g in enumerate(found["groups"])
        ]
        table("", ["group", "items", "apart by", "classes", "typical"], rows)
        teller.say(f"How clearly they are apart (silhouette): {found['silhouette']:.2f}")
    else:
        gains = [k for k in GAINS if any(k in m.get("gains", {}) for m in found["methods"].values())]
        rows = [[name, *(_gain(m, k) for k in gains), f"{m.get('seconds', 0):.2f}", _word(m)] for name, m in found["methods"].items()]
        table("", ["attribution", *gains, "seconds", ""], rows)
        held = "held-out " if found["held_out"] else ""
        teller.say(f"on {found['items']} {held}items: gains over random orders, over what changes most, over random weights")


def _evidence(
    model: Path, data: str, item: str | None, train: str | None, seed: int, options: dict[str, Any], json_: bool, teller: Teller
) -> None:
    """The parts of training items that a decision by prototypes compares with."""
    from tacit.evidence import evidence

    found = evidence(model, data, item=item or 0, train=train, seed=seed, options=options, say=teller.say)
    if json_:
        out(found)
        return
    rows = [
        [
            f"{p['adds']:+.2f}",
            p["part"],
            "like" if p["cosine"] > p["usual"] else "unlike",
            f"{p['like']} {p['label'] or ''}",
            p.get("part_of_it", ""),
            f"{p['cosine']:.2f} ({p['usual']:.2f})",
        ]
        for p in found["prototypes"]
    ]
    table("", ["adds", "this part", "is", "that of", "there", "cosine (usual)"], rows)
    teller.say(
        f"{found['item']} is decided to be {found['decides']}; all other prototypes add {found['rest']:+.2f}, the bias {found['bias']:+.2f}"
    )
    print(Path(model) / "explain" / f"evidence-{found['row']}.png")


def _taught(
    run: Path, data: str, item: str | None, influenced: bool, train: str | None,
    seed: int, options: dict[str, Any], json_: bool, teller: Teller,
) -> None:  # fmt: skip
    """What the pretraining taught, or which training items moved the network toward what it says of one."""
    from tacit import evidence, pretext
    from tacit.finetuning.decider import is_decider

    if influenced:
        common: dict[str, Any] = {"item": item or 0, "train": train, "seed": seed, "options": options, "say": teller.say}
        found = evidence.influence(run, data, **common) if is_decider(run) else pretext.influence(run, data, **common)
    else:
        found = pretext.taught(run, data, seed=seed, options=options, say=teller.say)
    if json_:
        out(found)
    elif influenced:
        rows = [[word, e["id"], e["label"] or "", f"{e['helps']:+.3f}"] for word in ("helped", "hurt") for e in found[word]]
        table("", ["", "training item", "label", "helps"], rows)
        about = f"a decision for {found['decides']}" if "decides" in found else "solving its pretext task"
        more = "" if "decides" in found else ", beyond what an average item's does"
        teller.say(f"{found['item']}: what a step on each of {found['tried']} training items does for {about}, to first order{more}")
    else:
        table("", ["change", "strength", "moves the embedding", "untrained"],
              [[m["name"], f"{m['strength']}", f"{m['moves']:.2f}", f"{m['untrained']:.2f}"] for m in found["ignores"]])  # fmt: skip
        asked = list(dict.fromkeys(a for layer in found["layers"] for a in layer["reads"]))
        rows = [[layer["layer"], *(f"{layer['reads'][a]:.2f} ({layer['untrained'][a]:.2f})" for a in asked)] for layer in found["layers"]]
        table("", ["read linearly (untrained)", *asked], rows)
        teller.say(
            "moves: 0 = ignored, 1 = as far as another item; label: accuracy on held-out items, or R2; others: R2 on half of the items"
        )
        if hard := found["hardest"]:
            table(
                "", ["hardest items", "label", "others nearer"], [[e["id"], e["label"] or "", f"{e['nearer']:.1%}"] for e in hard["items"]]
            )
            teller.say(f"{hard['found']:.0%} of {hard['n']:,} training items are nearest to their own changed views")


def _concepts(
    run: Path,
    data: str,
    count: int | None,
    shared: str | None,
    how: str | None,
    seed: int,
    options: dict[str, Any],
    json_: bool,
    teller: Teller,
) -> None:
    """What the tokens are made of, or whether a concept that some items share is held."""
    from tacit import concepts as told

    if shared is not None:
        found = told.concept(run, data, told.examples_of(shared), seed=seed, options=options, say=teller.say)
        if json_:
            out(found)
            return
        table(
            "",
            ["like the examples", "label", "deviations along it"],
            [[e["id"], e["label"] or "", f"{e['along']:+.1f}"] for e in found["like"]],
        )
        teller.say(found["sentence"])
        if found["classes"]:
            teller.say("Along it lie: " + ", ".join(f"{c} {v:+.1f}" for c, v in found["classes"].items()))
        return
    found = told.concepts(run, data, how=how or "nmf", count=count or 0, seed=seed, options=options, say=teller.say)
    if json_:
        out(found)
        return
    rows = [
        [c["name"], f"{c['stable']:.2f}", f"{c['items']:.0%}", f"{c['class']['name']} {c['class']['share']:.0%}" if c["class"] else "",
         ", ".join(e["id"] for e in c["examples"][:3])]
        for c in found["concepts"]
    ]  # fmt: skip
    table("", ["concept", "stable", "items", "class of the strongest 20", "strongest in"], rows)
    few = f"{found['stable']} of {found['atoms']} concepts were found again by other seeds (cosine {found['stability']['least']} or more)"
    teller.say(f"{few}; all together make up {found['explained']:.0%} of what the tokens vary")
    if (h := found["head"]) is not None:
        gap = f"{h['gap']['mean']:+.1%} [{h['gap']['low']:+.1%}, {h['gap']['high']:+.1%}]"
        teller.say(
            f"a linear decision by {h['used']} of them: {h['accuracy']:.1%}, by the whole embedding {h['full']:.1%}: {gap}, n = {h['n']}"
        )
    if found["concepts"]:
        print(Path(run) / "explain" / "concepts.png")


def _gain(method: dict[str, Any], name: str) -> str:
    if name not in method.get("gains", {}):
        return ""
    mean, low, high = method["gains"][name]
    return f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def _word(method: dict[str, Any]) -> str:
    return {True: "passed", False: "FAILED", None: str(method.get("why", "not testable"))}[method["passed"]]


def _weight(found: dict[str, Any], name: str) -> str:
    return next((f"{m['weight']:.0%}" for m in found["mixture"] if m["id"] == name), "")
