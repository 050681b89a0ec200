"""Embedding gate: do stored vectors still lie where the embedder put the same texts when it was evaluated?

Probes are texts with the vectors that an embedder gave them when it was evaluated, frozen with the noise of that
embedder: each text was embedded `repeats` times more, in batches of other orders. The gate compares what is stored, or
what the embedder returns now, with the frozen vectors, pair by pair.
"""

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from kedge.errors import InvalidValue
from kedge.support.display import Value, brief

PROBES_LEAST = 100
REPEATS = 10
ALPHA = 0.01
NEIGHBOURS = 10
WITHIN_LEAST = 0.9
ABOVE_CHANCE = 4.0  # standard deviations: texts that keep no neighbour at all are other texts
TOLERANCE = 1e-5  # of 1 - cos: float32 sums in another order, as on another machine
NORM_SLACK = 0.01  # of the norm of a frozen vector, relative: far above what rounding does
EXAMPLES = 5
_MATRIX = 2

Matrix = npt.NDArray[np.float32]


class Probes(msgspec.Struct, frozen=True):
    """Frozen probes: ids and texts, the vectors of shape (n, dim), and what repetitions found.

    `noise` is the greatest 1 - cos of any probe in any repetition, `steadiness` the least mean overlap of neighbours
    in a repetition: below 1 where many texts are alike. `embedder` is the digest of the embedder that made them.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    vectors: Matrix
    noise: float
    repeats: int
    embedder: str = ""
    steadiness: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Return a plain document, which an artifact or a file holds."""
        return {
            "format": 1,
            "embedder": self.embedder,
            "ids": list(self.ids),
            "texts": list(self.texts),
            "dim": int(self.vectors.shape[1]),
            "vectors": b64encode(self.vectors.astype("<f4").tobytes()).decode(),
            "noise": self.noise,
            "repeats": self.repeats,
            "steadiness": self.steadiness,
        }

    @classmethod
    def from_json(cls, document: Any) -> "Probes":
        """Return the probes of a document, or raise `InvalidValue`."""
        try:
            stored = msgspec.convert(document, _Stored)
            vectors = np.frombuffer(b64decode(stored.vectors, validate=True), "<f4").reshape(-1, stored.dim)
        except (msgspec.ValidationError, ValueError, TypeError) as error:
            raise InvalidValue(
                f"invalid probes {brief(document)}: {error}; store what kedge.guard.freeze_probes(…).to_json() returned"
            ) from None
        fields = (stored.noise, stored.repeats, stored.embedder, stored.steadiness)
        return checked(cls(stored.ids, stored.texts, vectors.astype(np.float32), *fields))


class _Stored(msgspec.Struct, frozen=True):
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    dim: int
    vectors: str
    noise: float
    repeats: int
    embedder: str = ""
    steadiness: float = 1.0
    format: int = 1


def checked(probes: Probes) -> Probes:
    """Return probes that can be used, or raise `InvalidValue`."""
    shape = probes.vectors.shape
    wrong = ""
    if not len(probes.ids) == len(probes.texts) == shape[0]:
        wrong = f"{len(probes.ids)} ids, {len(probes.texts)} texts and {shape[0]} vectors"
    elif len(set(probes.ids)) < len(probes.ids):
        wrong = "an id twice"
    elif not np.isfinite(probes.vectors).all() or not probes.vectors.any(axis=1).all():
        wrong = "a vector that is zero, NaN or infinite"
    elif probes.repeats < 1 or not 0 <= probes.noise <= 2:  # noqa: PLR2004 - the range of 1 - cos
        wrong = f"{probes.repeats} repeats and a noise of {probes.noise}"
    elif not 0 <= probes.steadiness <= 1:
        wrong = f"a steadiness of {probes.steadiness}"
    if wrong:
        raise InvalidValue(f"invalid probes: {wrong}; freeze them anew with kedge.guard.freeze_probes")
    return probes


def freeze_probes(
    texts: dict[str, str],
    embed: Callable[[list[str]], Any],
    *,
    repeats: int = REPEATS,
    batch: int = 16,
    embedder: str = "",
    seed: int = 0,
) -> Probes:
    """Embed texts by id, and again `repeats` times in batches of other orders; return the probes to deploy.

    `embed(texts)` returns float32 of shape (n, dim). Take ids and texts of documents in the collection, so that the
    gate can compare the stored vectors. Texts should be a random sample: at least 100.
    """
    if len(texts) < PROBES_LEAST:
        raise InvalidValue(f"got {len(texts)} probes: the gate needs at least {PROBES_LEAST}; add texts")
    if repeats < 1 or batch < 1:
        raise InvalidValue(f"invalid repeats={repeats} and batch={batch}: must be 1 or more")
    ids = tuple(texts)
    rng = np.random.default_rng(seed)
    frozen = _embed(embed, [texts[ident] for ident in ids], batch)
    near = neighbours(frozen)
    noise, steadiness = 0.0, 1.0
    for _ in range(repeats):
        order = rng.permutation(len(ids))
        again = np.empty_like(frozen)
        again[order] = _embed(embed, [texts[ids[place]] for place in order], batch)
        noise = max(noise, float(distances(frozen, again).max()))
        steadiness = min(steadiness, float(overlaps(near, neighbours(again)).mean()))
    return checked(Probes(ids, tuple(texts[ident] for ident in ids), frozen, noise, repeats, embedder, steadiness))


def _embed(embed: Callable[[list[str]], Any], texts: list[str], batch: int) -> Matrix:
    rows = [np.asarray(embed(texts[first : first + batch]), np.float32) for first in range(0, len(texts), batch)]
    try:
        found = np.concatenate(rows)
    except ValueError as error:
        raise InvalidValue(f"the embedder returned arrays that do not fit together ({error})") from None
    if found.ndim != _MATRIX or len(found) != len(texts):
        raise InvalidValue(f"the embedder returned shape {found.shape} for {len(texts)} texts; return (n, dim)")
    return found


class EmbeddingVerdict(Value, frozen=True):
    """The result of the gate: what is wrong, in sentences, and the numbers. It passes where nothing is wrong.

    `moved` of `probes` pairs are further apart than the noise; `allowed` is the greatest number that the noise explains
    at the level `alpha`. `within` and `across` are mean overlaps of the nearest neighbours; None: not looked at.
    """

    wrong: tuple[str, ...]
    probes: int
    moved: int
    allowed: int
    threshold: float
    largest: float
    median: float
    within: float | None = None
    across: float | None = None
    examples: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong


def distances(frozen: Matrix, now: Matrix) -> npt.NDArray[np.float64]:
    """Return 1 - cos of each pair of rows, in [0, 2]; 2 where a row is zero or not finite."""
    a, b = frozen.astype(np.float64), now.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        a, b = a / np.linalg.norm(a, axis=1, keepdims=True), b / np.linalg.norm(b, axis=1, keepdims=True)
        apart = ((a - b) ** 2).sum(axis=1) / 2  # as 1 - cos, without its cancellation
    found: npt.NDArray[np.float64] = np.clip(np.nan_to_num(apart, nan=2.0, posinf=2.0), 0.0, 2.0)
    return found


def allowed_moves(repeats: int, alpha: float = ALPHA) -> int:
    """Return how many probes may be further from their frozen vector than every repetition of any probe was.

    Of the `repeats` + 1 distances of one probe, the present one is as likely as each other to be the greatest, if
    nothing changed. To have k present distances above all `probes · repeats` frozen ones, k probes must each have
    their greatest distance now, and which probes these are does not depend on which of their distances is the present
    one: probability (1 + repeats)^-k at most. So more than `allowed` are found by chance with
    probability at most `alpha`, whatever the distribution of the noise.
    Assumptions: nothing changed between the runs, and the noise of one text does not depend on that of another.
    """
    return max(0, math.ceil(-math.log(alpha) / math.log1p(repeats)) - 1)


def neighbours(vectors: Matrix, k: int = NEIGHBOURS) -> npt.NDArray[np.int64]:
    """Return the places of the k nearest other rows of each row, by cosine, in no order."""
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    scores = np.einsum("id,jd->ij", unit, unit)  # in this thread: so small a product is slower in several
    np.fill_diagonal(scores, -np.inf)
    k = min(k, len(vectors) - 1)
    return np.argpartition(-scores, k - 1, axis=1)[:, :k]


def overlaps(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return by row the share of equal members of two sets of neighbours."""
    members = np.zeros((2, len(a), len(a)), bool)
    np.put_along_axis(members[0], a, values=True, axis=1)
    np.put_along_axis(members[1], b, values=True, axis=1)
    found: npt.NDArray[np.float64] = (members[0] & members[1]).sum(axis=1) / max(1, a.shape[1])
    return found


class Floors(msgspec.Struct, frozen=True):
    """What a gate demands: the level of its test, and the least mean overlaps of neighbours.

    Across spaces the overlap must be above chance in any case: how far embedders agree differs from corpus to corpus.
    """

    alpha: float = ALPHA
    tolerance: float = TOLERANCE
    within: float = WITHIN_LEAST
    across: float = 0.0


DEFAULT = Floors()


def judge(
    probes: Probes,
    now: Matrix,
    *,
    other: Matrix | None = None,
    chosen: Sequence[int] | None = None,
    norms: bool = True,
    floors: Floors = DEFAULT,
) -> EmbeddingVerdict:
    """Compare vectors with the frozen ones: dimension, finite values, norms, distances, neighbours within and across.

    `now` has one row a probe, or one for each of the `chosen` places among them. `other` are the vectors of the same
    texts in the space of the live embedder, where that is another one. The distances are tested at the level `alpha`;
    the overlaps of neighbours are compared with stated floors.
    """
    places = np.arange(len(probes.ids)) if chosen is None else np.asarray(chosen, np.int64)
    frozen = probes.vectors[places]
    threshold, allowed = max(probes.noise, floors.tolerance), allowed_moves(probes.repeats, floors.alpha)
    if now.shape != frozen.shape:
        differs = f"shape {now.shape} where {frozen.shape} was frozen: another dimension is another embedder"
        return EmbeddingVerdict((differs,), len(places), len(places), allowed, threshold, 2.0, 2.0)
    is_sound = np.isfinite(now).all(axis=1) & now.any(axis=1)
    apart = distances(frozen, now)
    moved = np.flatnonzero(apart > threshold)
    wrong = [] if is_sound.all() else [f"{int((~is_sound).sum())} vectors are zero, NaN or infinite"]
    wrong += _norms(frozen[is_sound], now[is_sound], allowed) if norms else []
    if len(moved) > allowed:
        wrong.append(
            f"{len(moved)} of {len(places)} probes have moved by more than the noise ({threshold:.2g} of 1 - cos), "
            f"at most {allowed} by chance; the furthest by {apart.max():.3g}"
        )
    within = across = None
    if is_sound.all() and len(places) > NEIGHBOURS:
        within, across = _overlaps(frozen, now, other)
        wrong += _below("within the space", within, floors.within * probes.steadiness)
        wrong += _below("in the live space", across, max(floors.across, above_chance(len(places))))
    furthest = moved[np.argsort(-apart[moved])][:EXAMPLES]
    return EmbeddingVerdict(
        tuple(wrong),
        len(places),
        len(moved),
        allowed,
        threshold,
        float(apart.max(initial=0.0)),
        float(np.median(apart)) if len(apart) else 0.0,
        within,
        across,
        tuple(probes.ids[int(places[place])] for place in furthest),
    )


def _overlaps(frozen: Matrix, now: Matrix, other: Matrix | None) -> tuple[float, float | None]:
    near = neighbours(now)
    across = None if other is None else float(overlaps(neighbours(other), near).mean())
    return float(overlaps(neighbours(frozen), near).mean()), across


def above_chance(count: int, k: int = NEIGHBOURS) -> float:
    """Return the mean overlap that neighbours of `count` rows of unrelated texts stay below: by the hypergeometric law.

    The overlaps of different rows are taken for independent, which is why it is a floor and no test.
    """
    rest, k = count - 1, min(k, count - 1)
    share = k / rest
    deviation = math.sqrt(share * (1 - share) * (rest - k) / max(1, rest - 1) / k / count)
    return min(1.0, share + ABOVE_CHANCE * deviation)


def _below(where: str, overlap: float | None, least: float) -> list[str]:
    if overlap is None or overlap >= least:
        return []
    return [f"the nearest neighbours {where} overlap by {overlap:.2f}, below {least:.3g}"]


def _norms(frozen: Matrix, now: Matrix, allowed: int) -> list[str]:
    """Return what is wrong with the norms: a scale that has changed, which 1 - cos does not see."""
    was, found = np.linalg.norm(frozen.astype(np.float64), axis=1), np.linalg.norm(now.astype(np.float64), axis=1)
    off = int((np.abs(found / was - 1) > NORM_SLACK).sum())
    if off <= allowed:
        return []
    change = f"on average from {was.mean():.4g} to {found.mean():.4g}"
    return [f"the norms of {off} vectors have changed by more than {NORM_SLACK:.0%}: {change}"]


__all__ = [
    "ALPHA", "DEFAULT", "NEIGHBOURS", "PROBES_LEAST", "REPEATS", "EmbeddingVerdict", "Floors", "Probes",
    "above_chance", "allowed_moves", "distances", "freeze_probes", "judge", "neighbours", "overlaps",
]  # fmt: skip
