"""How the data of a run was opened, so that it is read and split the same way again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tacit.data.dataset import REMEMBERED
from tacit.errors import TacitError

KEPT = "kept.csv"  # a run's own copy of the list of items that it learned from


def with_list(run: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The same options, the list of items being the run's own copy where there is one (a fine-tuned model lies in RUN/finetune)."""
    own = next((f for f in (run / KEPT, run.parent.parent / KEPT) if f.is_file()), None)
    return {**options, "keep": str(own)} if options.get("keep") and own is not None else dict(options)


def remembered(run: Path, data: Any, given: Mapping[str, Any], say: Callable[[str], None]) -> dict[str, Any]:
    """How a run's own data was opened, where nothing else is given now: without its groups it would be split another way.

    run: folder of a run, or of a fine-tuned (or exported) model. data: what is opened now; other data than the run's gets the options
    as given.
    """
    given = {k: v for k, v in given.items() if v is not None}
    file = next((f for n in ("data.json", "decider.json") if (f := run / n).is_file()), run / "data.json")
    if not file.is_file() or not isinstance(data, (str, Path)):
        return given
    try:
        own = json.loads(file.read_text(encoding="utf-8"))
        if file.name == "decider.json" and "place" not in own:  # made from data in memory
            return given
        place = str(Path(data).resolve()) if Path(data).exists() else None
        same = place == own["place"] and (place is not None or str(data) == own.get("path", own.get("data")))
        kept = with_list(run, {k: v for k, v in own["options"].items() if k in REMEMBERED and k not in given} if same else {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        # going on would split the data another way without a word
        raise TacitError(f"{file} cannot be read: {error}", "copy the run again, or train anew") from error
    if said := {k: v for k, v in kept.items() if k in ("target", "group", "split")}:
        say(f"read as for the pretraining: {', '.join(f'--{k} {v}' for k, v in said.items())}")
    return {**kept, **given}
