"""Draws: a unit as a fraction in [0, 1), fixed by a salt."""

import hashlib


def drawn(salt: str, unit: str) -> float:
    """Return the draw of a unit: SHA-256 of (salt, unit), as a fraction. A deployment's name is its salt."""
    hashed = hashlib.sha256(f"{salt}\0{unit}".encode()).digest()
    return int.from_bytes(hashed[:8], "big") / 2**64
