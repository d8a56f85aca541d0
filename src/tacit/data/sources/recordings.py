"""Sound files in a folder (or zip), or a single one; subfolders are classes, a table says more, long recordings are cut into windows."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from tacit import sound
from tacit.data import described, masks, tables
from tacit.data.folders import classes, parts
from tacit.data.listing import ALONE, MISSING, Listing, Problem, ending, few, parts_said
from tacit.data.tree import Tree, beside
from tacit.errors import Asked, BadData
from tacit.modality import BadItem

WINDOW = 10.0  # seconds into which recordings are cut that are longer than half as much again
SMALL = 8 * 2**20  # bytes of a file in a zip that is read into memory
SHORTEST = 0.5  # of a window: a shorter rest joins the window before it
STARTS = ("start", "begin", "onset", "start_time", "begin_time", "from")
STOPS = ("end", "stop", "offset", "end_time", "stop_time", "to")


@dataclass
class _Item:
    """One item: of which file, which seconds (0 to None = all of it), and what the table says."""

    file: str
    start: float = 0.0
    stop: float | None = None
    said: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        end = "end" if self.stop is None else f"{self.stop:g}"
        return self.file if self.stop is None and not self.start else f"{self.file}@{self.start:g}-{end}"


class Recordings:
    """Sound files (.wav .flac .ogg .mp3 .aiff): class subfolders, train/ and test/, or metadata.csv with file_name, start, end, speaker."""

    modalities: ClassVar[frozenset[str]] = frozenset({"audio"})

    @staticmethod
    def matches(tree: Tree) -> float:
        """0.96 for a single sound file or mostly sound files, less where they are few among others."""
        count = sum(ending(n) in sound.ENDINGS for n in tree.names)
        if tree.single and ending(tree.names[0]) in tables.ENDINGS:
            first = next(described.tables_of(tree, 65536), None)
            cells = [] if first is None else first[1].cells(described.where(first[1]))[:100]
            return 0.96 if sum(ending(c) in sound.ENDINGS for c in cells) > len(cells) / 2 else 0.0
        others = sum(ending(n) not in (*tables.ENDINGS, *sound.ENDINGS) for n in tree.names)
        return 0.96 * (count / (count + others)) ** 0.5 if count else 0.0

    @staticmethod
    def read(
        tree: Tree,
        *,
        modality: str | None,
        target: str | None,
        group: str | None,
        split: str | None,
        window: float | None = None,
    ) -> Listing:
        """List the recordings, or the windows of those that are longer than `window` seconds (None = 10) by half.

        Rows of a table with `start` and `end` are items of their own. Windows of one recording belong together.
        """
        if modality not in (None, "audio"):
            raise Asked(f"{tree.path} holds sound files, which are not {modality} data", "leave --modality out")
        if window is not None and not 0.1 <= window <= 20:
            raise Asked(f"data.window={window:g} seconds", "give 0.1 to 20")
        cut = window or WINDOW
        found = list(described.tables_of(tree))
        whole = tree
        if tree.single and found:
            name, table = found[0]
            cells = {masks.named(c, name, lambda n: (tree.root / n).is_file())[0] for c in table.cells(described.where(table))}
            whole = beside(tree, sorted(c for c in cells if c))
        bad = [*whole.bad, *(Problem(n, _unread(n)) for n in whole.names if ending(n) in sound.OTHERS)]
        files = [n for n in whole.names if ending(n) in sound.ENDINGS or (tree.single and not found)]
        notes = list(whole.notes)
        others = Counter(ending(n) or "no ending" for n in whole.names if ending(n) not in (*sound.ENDINGS, *sound.OTHERS, *tables.ENDINGS))
        if others and not tree.single:
            notes.append(f"left out {sum(others.values())} files that are not sound: {few(f'{e} ({k})' for e, k in others.most_common())}")
        items, options = _items(files, found, bad, notes, target, group, split)
        heads: dict[str, sound.Head] = {}
        for name in dict.fromkeys(i.file for i in items):
            try:
                heads[name] = sound.head(_raw(whole, name))
            except BadItem as error:
                bad.append(Problem(name, str(error)))
        pieces = [piece for i in items if i.file in heads for piece in _cut(i, heads[i.file].seconds, cut)]
        if not pieces:
            shown = "".join(f"\n  {p.name}: {p.reason}" for p in bad[:5])
            raise BadData(f"{tree.path} holds no recording that can be read{shown}", "see the reasons")
        if len(pieces) > len([i for i in items if i.file in heads]):
            longer = sum(h.seconds > 1.5 * cut for h in heads.values())
            notes.append(f"{longer:,} recordings are cut into windows of {cut:g} s (data.window otherwise)")
        columns = {o: [p.said.get(o, "") for p in pieces] for o in ("target", "group", "split")}
        folders = [p.file.split("/")[:-1] for p in pieces]
        splits, inner = parts(folders)
        labels: list[Any] | None = tables.typed(columns["target"]) if any(columns["target"]) else None
        if labels is None and target is None and len(heads) > 1:
            labels, rule = classes(inner)
            if labels is not None and len({p.file for p in pieces}) == len(set(labels)):
                labels, rule = None, "every folder holds one recording: folder names are not taken as classes"
            notes += [rule.replace("images", "recordings")] if rule else []
        notes += tables.unlabelled(columns["target"])
        if any(columns["split"]) or split is not None:
            told, strange = parts_said(columns["split"], split or "split", split is not None)
            splits = splits if told is None else told
            notes += [strange] if strange else []
        groups: list[str] | None = ["" if g.strip().lower() in MISSING else g for g in columns["group"]]
        assert groups is not None
        if any(groups) and (lost := groups.count("")):
            notes.append(f"{lost:,} items have no {options.get('group', 'group')}")
        count = Counter(p.file for p in pieces)
        groups = [g or (f"{ALONE}{p.file}" if count[p.file] > 1 else "") for g, p in zip(groups, pieces, strict=True)]
        if any(g.startswith(ALONE) for g in groups):
            notes.append("parts of one recording belong together: they are held out together")
        groups = groups if any(groups) else None
        if options:
            notes.append(f"columns taken: {', '.join(f'{o}: {c}' for o, c in options.items())}")
        kinds = Counter(f"{h.kind.split()[0]} {h.rate:,} Hz" for h in heads.values())
        total = sum(h.seconds for h in heads.values())
        why = f"{len(heads):,} sound files, {_time(total)} ({few((f'{n:,} {k}' for k, n in kinds.most_common()), 3)})"
        return Listing(
            "audio",
            why,
            [p.name for p in pieces],
            labels,
            groups,
            splits,
            lambda i: sound.Clip(partial(_raw, whole, pieces[i].file), pieces[i].start, pieces[i].stop),  # type: ignore[arg-type, return-value]
            bad,
            notes,
            f"{target} {group} {split} {cut:g}",
            tree=whole.only(sorted(set(heads) | {n for n, _ in found if n in whole.names})),
            about={"cut": cut},
        )


def _items(
    files: list[str],
    found: list[tuple[str, tables.Table]],
    bad: list[Problem],
    notes: list[str],
    target: str | None,
    group: str | None,
    split: str | None,
) -> tuple[list[_Item], dict[str, str]]:
    """The items that files and tables name, and which column means what."""
    if not found:
        if any((target, group, split)):
            asked = next(o for o in (target, group, split) if o)
            raise Asked(f"there is no table with a column {asked!r}", "add a metadata.csv with file_name")
        return [_Item(f) for f in files], {}
    there, items, options = set(files), [], {}  # type: set[str], list[_Item], dict[str, str]
    for name, table in found:
        notes += [f"{name}: {table.note}"] if table.note else []
        bad += table.bad
        special = tables.special(table, target=target, group=group, split=split)
        options |= {o: table.columns[i] for o, i in special.items()}
        times = [None if c is None else table.columns.index(c) for c in (tables.find(table.columns, w) for w in (STARTS, STOPS))]
        for row, line in zip(table.rows, table.lines, strict=True):
            cell = row[described.where(table)].strip()
            file, reason = masks.named(cell, name, there.__contains__)
            if not file:
                reason = reason if reason == masks.OUTSIDE else f"named in {name} line {line}, but there is no such sound file"
                bad.append(Problem(cell or f"{name}:{line}", reason))
                continue
            try:
                start, stop = (None if i is None or not row[i].strip() else float(row[i]) for i in times)
            except ValueError:
                bad.append(Problem(f"{name}:{line}", "start and end are seconds, as numbers"))
                continue
            if not all(math.isfinite(v) for v in (start, stop) if v is not None) or (start or 0.0) < 0:
                bad.append(Problem(f"{name}:{line}", "start and end are seconds from the beginning, 0 or more"))
                continue
            if stop is not None and stop <= (start or 0.0):
                bad.append(Problem(f"{name}:{line}", f"ends at {stop:g} s, before it begins"))
                continue
            items.append(_Item(file, start or 0.0, stop, {o: row[i] for o, i in special.items()}))
    if not items:
        raise BadData(f"{few(n for n, _ in found)} names no sound file that is there", "file_name is relative to the table")
    named = {i.file for i in items}
    if lost := [f for f in files if f not in named]:
        notes.append(f"{len(lost):,} recordings have no row and stay unlabelled: {few(lost)}")
        items += [_Item(f) for f in lost]
    seen: set[str] = set()
    once = [i for i in items if not (i.name in seen or seen.add(i.name))]  # type: ignore[func-returns-value]
    if len(once) < len(items):
        notes.append(f"{len(items) - len(once):,} rows name a part that an earlier row names: the first one counts")
    return once, options


def _cut(item: _Item, seconds: float, window: float) -> list[_Item]:
    """An item as it is, or in windows where it is long."""
    stop = seconds if item.stop is None else min(item.stop, seconds)
    if stop - item.start <= 1.5 * window:
        return [item]
    count = int((stop - item.start) / window)
    count += (stop - item.start - count * window) >= SHORTEST * window
    edges = [item.start + window * k for k in range(count)]
    ends = [*edges[1:], stop]
    return [_Item(item.file, a, b, item.said) for a, b in zip(edges, ends, strict=True)]


def _raw(tree: Tree, name: str) -> Path | bytes:
    """The file; of a zip its bytes, or a copy on disk where it is large."""
    return tree.raw(name) if tree.archive is None or tree.size(name) < SMALL else tree.copy(name)


def _unread(name: str) -> str:
    return f"{ending(name)} is not read here: convert it, for example with ffmpeg -i {Path(name).name} {Path(name).stem}.flac"


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds > 3600 else f"{seconds / 60:.1f} minutes" if seconds > 90 else f"{seconds:.1f} seconds"
