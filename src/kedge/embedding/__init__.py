"""Embedding a corpus into the space of an embedder: which documents lack a vector there, and filling them in."""
