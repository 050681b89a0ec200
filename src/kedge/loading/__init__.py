"""Bringing in vectors in bulk, from files and other vector databases, and writing them to files.

Each `open_…` gives sources, and `k.load(collection, source)` loads one. `docs/importing.md` shows how.
"""

from kedge.loading.chroma import open_chroma
from kedge.loading.export import ExportReport
from kedge.loading.files import open_file
from kedge.loading.lance import open_lancedb
from kedge.loading.load import LoadReport
from kedge.loading.qdrant import open_qdrant
from kedge.loading.sources import Columns, Rows, Source

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
