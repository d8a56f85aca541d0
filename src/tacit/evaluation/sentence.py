"""The verdict in plain words."""

from __future__ import annotations

from typing import Any


def sentence(verdict: dict[str, Any], *, contradictory: bool, few: bool) -> str:
    """What the numbers say, for somebody who reads only this.

    verdict: the fields that `verdict.verdict` returns. contradictory: ahead at one level with few labels and behind at another.
    few: some level with few labels was measured.
    """
    if verdict["difference"] is None:
        reason = next((row["reason"] for row in verdict["levels"] if row["reason"]), "there was nothing to compare with")
        return f"Whether self-supervision helped was not measured: {reason}."
    regression = verdict["metric"] == "r2"
    row = next(r for r in verdict["levels"] if r["labels_per_class"] == verdict["level"])
    at = f"with {_labels(row['count'], regression)}" + (" (all there are)" if row["labels_per_class"] == "all" else "")
    interval = f"95 % interval {_signed(row['low'], regression)} to {_signed(row['high'], regression)}, {verdict['n_test']} test items"
    reached = f"{_value(row['ours'], regression)} against {_value(row['other'], regression)}"
    numbers = f"{reached} of {row['best_other']}, the best of the others on training folds"
    difference = f"{_signed(row['difference'], regression)}{'' if regression else ' points'} ({interval})"
    if verdict.get("labels_seen"):
        out = f"This run read labels: it is not self-supervised, so there is no verdict; {at} it reaches {numbers}: {difference}."
        return " ".join([out, *_way(verdict, regression)])
    if verdict["helps"] is True:
        out = f"Self-supervision helped: {at} it reaches {numbers}: {difference}."
    elif verdict["helps"] is False:
        out = f"Self-supervision did not help: {at} it reaches {numbers}: {difference}."
    elif not few:
        out = f"Nothing could be measured with few labels, so there is no verdict; {at} it reaches {numbers}: {difference}."
    elif contradictory:
        out = f"No clear answer: ahead at some small numbers of labels and behind at others; {at} it reaches {numbers}: {difference}."
    else:
        out = f"No clear difference: {at} it reaches {numbers}: {difference}."
        if few and (row["low"] > 0 or row["high"] < 0):
            out += " It rests on too little for more: a single label draw, or fewer than six test items that tell them apart."
    return " ".join([out, *_turn(verdict, regression), *_worth(verdict, regression), *_way(verdict, regression)])


def _way(verdict: dict[str, Any], regression: bool) -> list[str]:
    """The best way to use the labels, at the most that were measured."""
    best = (verdict.get("best_way") or {}).get("largest")
    if not best:
        return []
    at = "With all labels" if best["level"] == "all" else f"With {_labels(best['labels'], regression)}"
    if best["kind"] == "ssl":
        rest = "fine-tuning is not better" if best["finetuned"] else "nothing else that was measured is better"
        return [f"{at} the best way to use them is the linear probe itself; {rest} on training folds."]
    low, high = best["low_difference"], best["high_difference"]
    clear = "" if low > 0 else ", yet worse on the test items" if high < 0 else ", not clearly better"
    against = f"{_signed(best['difference'], regression)}{'' if regression else ' points'} over the linear probe"
    numbers = f"{_value(best['value'], regression)}, {against} [{_signed(low, regression)}, {_signed(high, regression)}]{clear}"
    unknown = "" if best["finetuned"] else "; fine-tuning was not measured"
    return [f"{at} the best way to use them is {_named(best)} ({numbers}){unknown}."]


def _named(way: dict[str, Any]) -> str:
    if way["kind"] == "finetune":
        return str(way["probe"]).removeprefix("finetune:")
    if way["kind"] == "supervised":
        return "supervised training from scratch"
    return str(way["representation"])


def _turn(verdict: dict[str, Any], regression: bool) -> list[str]:
    measured = [r for r in verdict["levels"] if r["difference"] is not None]
    ahead = verdict["difference"] > 0
    if verdict["turns_at"] is not None:
        last = measured[-1]
        who = last["best_other"] if ahead else "self-supervision"
        doubt = "" if verdict["turn_is_clear"] else ", though not clearly"
        return [f"The order turns at about {_labels(verdict['turns_at'], regression)}: from there on {who} is ahead{doubt}."]
    if verdict["helps"] is True:
        if all(r["difference"] > 0 for r in measured):
            return ["It is ahead at every number of labels measured."]
        return ["It is not ahead at every number of labels measured."]
    if verdict["helps"] is False and all(r["difference"] <= 0 for r in measured):
        return ["It is not ahead at any number of labels measured."]
    return []


def _worth(verdict: dict[str, Any], regression: bool) -> list[str]:
    worth = (verdict["labels_saved"] or {}).get("worth")
    if verdict["helps"] is not True or not worth:
        return []
    others = worth["others_with"]
    if others is not None and others < 1.1 * worth["ours_with"]:  # nothing to speak of
        return []
    if others is None and worth["more_than"] is None:
        return []
    if others is None:
        much = f"more than {_labels(worth['more_than'], regression)}, all there are,"
    else:
        much = f"about {_labels(others, regression)}"
    return [f"Its {_labels(worth['ours_with'], regression)} do the work of {much} without it."]


def _labels(count: float, regression: bool) -> str:
    shown = f"{count:.0f}" if count >= 10 or count == int(count) else f"{count:.1f}"
    return f"{shown} label{'' if shown == '1' else 's'}" + ("" if regression else " a class")


def _value(value: float, regression: bool) -> str:
    return f"R2 {value:.3f}" if regression else f"{100 * value:.1f} %"


def _signed(value: float, regression: bool) -> str:
    return f"{value:+.3f}" if regression else f"{100 * value:+.1f}"
