"""Embedding gate: what it finds, and that noise alone does not stop a launch."""

from __future__ import annotations

from typing import Any
from zlib import crc32

import msgspec
import numpy as np
import pytest

from bench import embedding_gate as bench
from kedge.errors import InvalidValue
from kedge.guard.embedding_gate import Floors, Matrix, Probes, allowed_moves, distances, freeze_probes, judge

TEXTS = {f"doc-{number}": f"text {number}" for number in range(100)}


class Embedder:
    """Gives each text a random vector that depends on it, with a little noise in each call."""

    def __init__(self, noise: float = 1e-3, dim: int = 32) -> None:
        self._noise, self._dim = noise, dim
        self._rng = np.random.default_rng(5)

    def __call__(self, texts: list[str]) -> Matrix:
        rows = [np.random.default_rng(crc32(text.encode())).standard_normal(self._dim) for text in texts]
        return (np.array(rows) + self._noise * self._rng.standard_normal((len(rows), self._dim))).astype(np.float32)


@pytest.fixture(scope="module")
def probes() -> Probes:
    return freeze_probes(TEXTS, Embedder(), embedder="sha256:e1")


def again(probes: Probes) -> Matrix:
    embedder = Embedder()
    for _ in range(17):  # other noise than that of the frozen vectors
        embedder(list(probes.texts))
    return embedder(list(probes.texts))


def test_the_same_embedder_passes(probes: Probes) -> None:
    found = judge(probes, again(probes), other=probes.vectors)
    assert found.passed
    assert (found.probes, found.allowed) == (100, 1)
    assert found.within == found.across == pytest.approx(1.0, abs=0.02)


def test_probes_survive_their_document(probes: Probes) -> None:
    stored = msgspec.json.decode(msgspec.json.encode(probes.to_json()))
    back = Probes.from_json(stored)
    assert (back.ids, back.texts, back.noise, back.repeats) == (probes.ids, probes.texts, probes.noise, probes.repeats)
    assert np.array_equal(back.vectors, probes.vectors)
    assert back.embedder == "sha256:e1"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda now: now[:, :16], "another dimension"),
        (lambda now: np.vstack([now[:1] * np.nan, now[1:]]), "NaN"),
        (lambda now: np.vstack([now[:1] * 0, now[1:]]), "zero"),
        (lambda now: now / np.linalg.norm(now, axis=1, keepdims=True), "norms"),
        (lambda now: np.vstack([now[3:5], now[2:3], now[0:2], now[5:]]), "moved"),
        (lambda now: np.roll(now, 1, axis=0), "moved"),
    ],
    ids=["dimension", "NaN", "zero", "norm", "four swapped", "all shifted by one"],
)
def test_what_is_wrong_is_found(probes: Probes, change: Any, said: str) -> None:
    found = judge(probes, change(again(probes)).astype(np.float32))
    assert not found.passed
    assert said in " ".join(found.wrong)


def test_a_rotation_is_found_though_all_neighbours_stay(probes: Probes) -> None:
    turn = np.eye(32)
    angle = np.arccos(0.995)
    block = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    for place in range(0, 32, 2):
        turn[place : place + 2, place : place + 2] = block
    found = judge(probes, (again(probes) @ turn).astype(np.float32))
    assert found.within is not None
    assert found.within > 0.97
    assert found.moved == 100
    assert found.median == pytest.approx(0.005, rel=0.1)
    assert not found.passed


def test_the_names_of_the_furthest_are_told(probes: Probes) -> None:
    now = again(probes)
    now[[7, 9]] = now[[9, 7]]
    found = judge(probes, now)
    assert found.moved == 2
    assert set(found.examples) == {"doc-7", "doc-9"}


def test_neighbours_below_a_floor_are_wrong(probes: Probes) -> None:
    other = np.random.default_rng(1).standard_normal(probes.vectors.shape).astype(np.float32)
    found = judge(probes, again(probes), other=other)
    assert found.across is not None
    assert found.across == pytest.approx(10 / 99, abs=0.03)
    assert any("live space" in each for each in found.wrong), "no more than chance"
    related = (probes.vectors + 2.0 * other).astype(np.float32)
    assert judge(probes, again(probes), other=related).passed
    assert not judge(probes, again(probes), other=related, floors=Floors(across=0.9)).passed
    assert any("within the space" in each for each in judge(probes, other).wrong)


def test_a_part_of_the_probes_is_compared_with_its_own_vectors(probes: Probes) -> None:
    now = again(probes)
    assert judge(probes, now[40:90], chosen=range(40, 90)).passed
    assert judge(probes, now[40:90], chosen=range(41, 91)).moved == 50


@pytest.mark.parametrize(("repeats", "alpha", "allowed"), [(1, 0.01, 6), (9, 0.01, 1), (10, 0.01, 1), (99, 0.01, 0)])
def test_the_number_that_chance_explains(repeats: int, alpha: float, allowed: int) -> None:
    assert allowed_moves(repeats, alpha) == allowed
    assert (1 + repeats) ** -(allowed + 1) <= alpha * (1 + 1e-9)
    assert allowed == 0 or (1 + repeats) ** -allowed > alpha


def test_distances_keep_their_digits_near_zero() -> None:
    a = np.array([[1.0, 0.0], [1.0, 1e-4]], np.float32)
    b = np.array([[1.0, 1e-4], [np.inf, 0.0]], np.float32)
    assert distances(a, b)[0] == pytest.approx(5e-9, rel=1e-3)
    assert distances(a, b)[1] == 2.0


@pytest.mark.parametrize("noise", bench.NOISES)
def test_noise_alone_seldom_stops_a_launch(noise: str) -> None:
    """The bound is 1%: 7 of 100 would be a chance of 1 in 10,000. The bench simulates 2,000."""
    assert bench.rate(bench.NOISES[noise], bench.unchanged, 100, seed=11) < 0.07


@pytest.mark.parametrize("change", bench.CHANGES)
def test_changes_are_found(change: str) -> None:
    assert bench.rate(bench.even, bench.CHANGES[change], 40, seed=12) >= 0.85


@pytest.mark.parametrize(
    "spoil",
    [
        {"ids": ["a"]},
        {"noise": -1},
        {"repeats": 0},
        {"vectors": "AAAA"},
        {"dim": 7},
        {"ids": 3},
    ],
)
def test_spoilt_probes_are_refused(probes: Probes, spoil: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="probes"):
        Probes.from_json(probes.to_json() | spoil)


def test_too_few_probes_are_refused() -> None:
    with pytest.raises(InvalidValue, match="at least 100"):
        freeze_probes({"a": "text"}, Embedder())
    with pytest.raises(InvalidValue, match="returned"):
        freeze_probes(TEXTS, lambda texts: np.zeros(len(texts)))


def test_texts_that_are_alike_have_no_steady_neighbours() -> None:
    """Noise alone orders the neighbours of equal texts anew: the floor is relative to what was frozen."""
    alike = {f"doc-{number}": f"text {number % 4}" for number in range(120)}
    probes = freeze_probes(alike, Embedder(noise=1e-2))
    assert probes.steadiness < 0.6
    later = Embedder(noise=1e-2)
    later(list(TEXTS))
    assert judge(probes, later(list(probes.texts))).passed
