"""Text files whose encoding, byte order mark and line ends nobody promised."""

from __future__ import annotations

import codecs

import numpy as np

from tacit.data.listing import MISSING

NOTES = {"utf-8-sig": "", "utf-16": "UTF-16", "cp1252": "not UTF-8: read as Windows-1252"}


def encoding_of(data: bytes, whole: bool = True) -> str:
    """One of NOTES: UTF-8, UTF-16 by its mark, else Windows-1252. whole: False = the data may end within a character."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    try:
        codecs.getincrementaldecoder("utf-8-sig")().decode(data, whole)
        return "utf-8-sig"
    except UnicodeDecodeError:
        return "cp1252"


def decode_text(data: bytes) -> tuple[str, str]:
    """The text, and a note if it was not plain UTF-8. Never fails: Windows-1252 with replacement is the last resort."""
    encoding = encoding_of(data)
    return data.decode(encoding, "replace"), NOTES[encoding]


def western(error: UnicodeError) -> tuple[str, int]:
    """What is no UTF-8 in a file that began as such, read as Windows-1252."""
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("cp1252", "replace"), error.end


codecs.register_error("tacit-western", western)


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
