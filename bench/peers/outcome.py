"""Measurements of one store on one stage."""

import msgspec


class Timing(msgspec.Struct, frozen=True):
    """Seconds of one search at the median and the 99th percentile, of so many, and recall@10 of them."""

    p50: float
    p99: float
    count: int
    recall: float | None = None


class Spent(msgspec.Struct, frozen=True):
    """What recall an effort buys at what time."""

    effort: int
    recall: float
    p50: float


class Undone(msgspec.Struct, frozen=True):
    """A rollback: seconds until its call returned, and until the first reads were right; what was wrong in the end.

    `survived` is the share of the writes of others, made between the bad ones and the rollback, that are still there.
    """

    returned: float
    right: float
    wrong: list[str]
    survived: float


class Rewound(msgspec.Struct, frozen=True):
    """Going back to a snapshot: seconds to take it, seconds until reads are right, the share of others' writes lost."""

    how: str
    taken: float
    right: float
    lost: float


class Outcome(msgspec.Struct):
    """One peer on one stage. What is None was not reached. Times in seconds, sizes in bytes."""

    peer: str
    title: str
    stage: str
    rows: int
    status: str = "ok"
    index: str = ""
    method: str = ""
    version: str = ""
    load: float | None = None
    build: float | None = None
    disk: int | None = None
    opened: float | None = None
    memory_own: int | None = None
    memory_mapped: int | None = None
    efforts: list[Spent] = []
    effort: int | None = None
    plain: Timing | None = None
    exact_share: float | None = None
    view_on: Timing | None = None
    view_off: Timing | None = None
    few: Timing | None = None
    tiny: Timing | None = None
    flood_filtered: Timing | None = None
    flood_undone: float | None = None
    flood: Timing | None = None
    add: float | None = None
    overwrite: float | None = None
    superseded: Timing | None = None
    undone: Undone | None = None
    undone_again: list[float] = []
    calls_again: list[float] = []
    undone_verified: float | None = None
    after: Timing | None = None
    single: Timing | None = None
    rewound: Rewound | None = None
    notes: dict[str, float] = {}
    seconds: float = 0.0
