"""Text files whose encoding, byte order mark and line ends nobody promised."""

from __future__ import annotations

import codecs

import numpy as np

from tacit.data.listing import MISSING


def decode_text(data: bytes) -> tuple[str, str]:
    """The text, and a note if it was not plain UTF-8. Never fails: Windows-1252 with replacement is the last resort."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace"), "UTF-16"
    try:
        return data.decode("utf-8-sig"), ""
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace"), "not UTF-8: read as Windows-1252"


def numbers(cells: list[str]) -> np.ndarray:
    """float32 of a row of cells; '?', 'NA' and empty cells are missing (NaN). Raises ValueError naming the first cell that is no number."""
    try:
        return np.array(cells, dtype=np.float32)
    except ValueError:
        out = np.empty(len(cells), np.float32)
        for i, cell in enumerate(cells):
            try:
                out[i] = np.nan if cell.strip().lower() in MISSING else float(cell)
            except ValueError:
                raise ValueError(f"{cell.strip()[:40]!r} is not a number") from None
        return out


def is_number(cell: str) -> bool:
    """Whether a cell holds a number (a missing one does not count)."""
    try:
        float(cell)
    except ValueError:
        return False
    return cell.strip().lower() not in MISSING


def plain(label: str) -> str:
    """A class code without the decimals that some writers add: '1.0000e+00' becomes '1'."""
    label = label.strip()
    if is_number(label) and np.isfinite(float(label)) and float(label) == int(float(label)):
        return str(int(float(label)))
    return label
