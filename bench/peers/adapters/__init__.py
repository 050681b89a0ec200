"""Adapters, one module a store; none imports its store before it is used."""

from bench.peers.adapters import (
    chroma_peer,
    duckdb_peer,
    faiss_peer,
    kedge_peer,
    lance_peer,
    numpy_peer,
    pgvector_peer,
    qdrant_peer,
    sqlite_vec_peer,
)
from bench.peers.peer import Peer

PEERS: dict[str, type[Peer]] = {
    "kedge": kedge_peer.KedgePeer,
    "numpy": numpy_peer.NumpyPeer,
    "faiss": faiss_peer.FaissPeer,
    "lancedb": lance_peer.LancePeer,
    "chroma": chroma_peer.ChromaPeer,
    "sqlite-vec": sqlite_vec_peer.SqliteVecPeer,
    "qdrant-edge": qdrant_peer.QdrantPeer,
    "duckdb": duckdb_peer.DuckPeer,
    "pgvector-hnsw": pgvector_peer.HnswPeer,
    "pgvector-ivfflat": pgvector_peer.IvfPeer,
}
