"""Bulk import and export of vectors: files, other vector databases, and new embedders.

Each `open_…` function returns sources; `k.load(collection, source)` loads one. See `docs/importing.md`.
"""

from kedge.bulk.chroma import open_chroma
from kedge.bulk.export import ExportReport
from kedge.bulk.files import open_file
from kedge.bulk.lance import open_lancedb
from kedge.bulk.load import LoadReport
from kedge.bulk.qdrant import open_qdrant
from kedge.bulk.sources import Columns, Rows, Source

__all__ = [
    "Columns",
    "ExportReport",
    "LoadReport",
    "Rows",
    "Source",
    "open_chroma",
    "open_file",
    "open_lancedb",
    "open_qdrant",
]
