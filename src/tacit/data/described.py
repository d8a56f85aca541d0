"""Tables that describe files: a column with file names, and what else is known of them."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from tacit.data import tables
from tacit.data.listing import ending
from tacit.data.tree import LARGEST, Tree
from tacit.errors import BadData
from tacit.modality import BadItem

FILE = ("file_name", "filename", "file", "file_path", "filepath", "path", "image", "image_path", "audio", "audio_path", "wav")
MOST = 20  # tables that are looked into


def where(table: tables.Table) -> int:
    """The column with the names of the files."""
    return table.columns.index(tables.find(table.columns, FILE) or "")


def tables_of(tree: Tree, most: int = LARGEST) -> Iterator[tuple[str, tables.Table]]:
    """The tables that have a column with file names. most: bytes of text to look at, enough for the head of a table."""
    for name in [n for n in tree.names if ending(n) in tables.ENDINGS][:MOST]:
        try:
            if ending(name) == ".parquet" and not tables.find(tables.parquet_columns(tree.raw(name), name), FILE):
                continue  # a large table of something else is not read for its names
            table = tables.read(tree.data(name, LARGEST if ending(name) == ".parquet" else most), name)
        except (BadItem, BadData):
            if posixpath.basename(name).startswith("metadata."):
                raise BadData(f"{name} cannot be read", "repair it, or remove it to use the folders alone") from None
            continue
        if table.header and tables.find(table.columns, FILE):
            yield name, table
