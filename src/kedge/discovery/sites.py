"""Sites where state persists, as a scan finds them."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

SiteClass: TypeAlias = Literal["bind", "write", "attach", "decl", "pin"]
"""What happens at a site.

`bind` a handle to a store is constructed or opened · `write` the store is changed · `attach` a store is given to an
agent or graph · `decl` declared in infrastructure or configuration · `pin` a mutable reference to a model, data set
or prompt outside the deployment.
"""

StateKind: TypeAlias = Literal["embedded", "volatile", "remote", "provider", "config"]
"""Where the state is.

`embedded` files of this process · `volatile` memory of this process · `remote` a server · `provider` a model or agent
platform · `config` decided at run time.
"""

Confidence: TypeAlias = Literal["high", "medium", "low"]


class Selector(msgspec.Struct, frozen=True, order=True):
    """What decides, at run time, whether a site is in use.

    `source`: "env" or "config" or "argument". `value`: the value that selects this site, null where it is not known.
    `default`: whether this site is in use when nothing is set. `alternatives`: the stores among which it selects,
    this one too.
    """

    source: Literal["env", "config", "argument"]
    name: str
    value: str | None = None
    default: bool = False
    alternatives: tuple[str, ...] = ()

    def __str__(self) -> str:
        chosen = "" if self.value is None else f"={self.value}"
        return f"{self.source}({self.name}){chosen}"


class Evidence(msgspec.Struct, frozen=True, order=True):
    """Why a site was reported: a sentence, and the place it speaks of. `is_fault`: it says what is wrong there."""

    text: str
    path: str = ""
    line: int = 0
    is_fault: bool = False


class Site(msgspec.Struct, frozen=True, order=True, rename={"site_class": "class"}):
    """One place of one store.

    `path`: relative to the root of the scan; of a notebook with ":cell3" behind it. `line`: 1-based, where the call
    begins. `store`: a family, as "qdrant" or "lg-saver:postgres". `function`: innermost enclosing definition, dotted;
    "<module>" outside one, "" in files without code.
    """

    path: str
    line: int
    site_class: SiteClass
    store: str
    kind: StateKind
    function: str
    selector: Selector | None = None
    evidence: tuple[Evidence, ...] = ()
    confidence: Confidence = "high"
    target: str = ""
    """Name of the table, collection, file or URL, where the code tells."""


class Unparsed(msgspec.Struct, frozen=True, order=True):
    """A file that was not read, wholly or in part, and why."""

    path: str
    reason: str
    lines: tuple[int, ...] = ()
