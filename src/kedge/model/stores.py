"""Stores: the names of Kedge's own, and of the keyed stores that users name."""

from kedge.errors import InvalidValue, nearest
from kedge.model.checks import check_name
from kedge.support.display import brief

STORES = ("artifacts", "documents", "vectors", "memory", "context")
USERS = "store:"  # begins the name of each keyed store of a user; none of Kedge's own holds a colon
_OWN = "kedge."  # begins the names of keyed stores that Kedge itself writes
ACTS = f"{USERS}{_OWN}acts"  # effects that permits allowed
_BYTES_MAX = 512  # of UTF-8: a store and a space are one index entry, and PostgreSQL's end at 2,704 bytes
REPLAYED = frozenset({"documents", "memory", "context"})  # a replay reads them as of its input, as it does keyed stores


def keyed_store(name: str, *, reading: bool = False) -> str:
    """Return the full name of a user's keyed store, as reports give it; one of Kedge's own only for reading."""
    if ":" in check_name("the store", name):
        raise InvalidValue(f"the store {name!r} holds a colon, which ends the name in reports; use another character")
    if name.startswith(_OWN) and not reading:
        raise InvalidValue(f"the store {brief(name)} is Kedge's own: names that begin with {_OWN!r} are reserved")
    size = len(name.encode())
    if size > _BYTES_MAX:
        raise InvalidValue(f"the store {brief(name)} has {size:,} bytes of UTF-8, more than {_BYTES_MAX}; shorten it")
    return USERS + name


def is_keyed_store(store: str) -> bool:
    """Return whether this is the full name of a user's keyed store."""
    return store.startswith(USERS) and len(store) > len(USERS) and ":" not in store[len(USERS) :]


def is_store(store: str) -> bool:
    """Return whether this is the name of a store: one of Kedge's own, or a user's in full."""
    return store in STORES or is_keyed_store(store)


def check_store(store: object, *others: str) -> str:
    """Return the name of a store, or one of `others`, or raise `InvalidValue`."""
    if isinstance(store, str) and (is_store(store) or store in others):
        return store
    known = (*STORES, *others)
    raise InvalidValue(
        f"invalid store {store!r}{nearest(str(store), known)}: must be one of {', '.join(known)}, or {USERS}NAME for "
        "a keyed store of your own"
    )


def store_of(label: str) -> tuple[str, str]:
    """Return the store of a key that is given as `store:space/name`, and the rest."""
    start = len(USERS) if label.startswith(USERS) else 0
    store, _, rest = label[start:].partition(":")
    return label[:start] + store, rest


def store_order(store: str) -> tuple[int, str]:
    """Return what sorts stores as reports list them: artifacts first, users' own last."""
    order = ("artifacts", "context", "documents", "memory", "vectors")
    return (order.index(store) if store in order else len(order)), store
