"""Names of users and of hosts: which are valid, and the escaped form of those that are not."""

import re
import unicodedata

from kedge.errors import InvalidValue
from kedge.support.display import brief

NAME_BYTES_MAX = 2_048  # of UTF-8: a name is part of index entries, and PostgreSQL's end at 2,704 bytes
ESCAPE = "\x10"  # "data link escape": no name held it before there was an escaped form
_EMPTY = f"{ESCAPE}-"  # stands for the empty text, also as a part of a longer name
_SEQUENCE = re.compile(f"{ESCAPE}(?:([0-9a-f]{{4}})|-)")
_REFUSED = {"Cc", "Cs"}


def escape_name(text: str) -> str:
    """Return the name that stands for any text of a host: with control characters, surrogates, or empty.

    A text that is a name already stays as it is, two texts never have the same name, and the name of a text begins with
    the name of each non-empty prefix of it. Names may be joined to longer ones. Raise `InvalidValue` where it is no
    text, or the name is too long.
    """
    if not isinstance(text, str):
        raise InvalidValue(f"cannot escape {brief(text)} ({type(text).__name__}): a name is a string; convert it first")
    name = "".join(f"{ESCAPE}{ord(c):04x}" if unicodedata.category(c) in _REFUSED else c for c in text) or _EMPTY
    too_long = excess_of(name)
    if too_long is not None:
        raise InvalidValue(f"the name of {text[:40]!r}… {too_long}")
    return name


def unescape_name(name: str) -> str:
    """Return the text that a name stands for; raise `InvalidValue` for what `escape_name` never returns."""
    if name == _EMPTY:
        return ""
    if not isinstance(name, str) or not name or _EMPTY in name or refused_character(name) is not None:
        raise InvalidValue(f"cannot unescape {brief(name)}: it is not a name; pass what kedge.escape_name returned")
    return _SEQUENCE.sub(lambda found: chr(int(found[1], 16)), name)


def refused_character(name: str) -> str | None:
    """Return a character that no name holds: a control character or surrogate outside an escape sequence."""
    if ESCAPE in name:
        escaped = (chr(int(digits, 16)) for digits in _SEQUENCE.findall(name) if digits)
        if any(unicodedata.category(c) not in _REFUSED for c in escaped):
            return ESCAPE  # another sequence than escape_name writes
        name = _SEQUENCE.sub("", name)
    return next((c for c in name if unicodedata.category(c) in _REFUSED), None)


def excess_of(name: str) -> str | None:
    """Return in words that a name is too long, or None."""
    if 4 * len(name) <= NAME_BYTES_MAX:
        return None
    size = len(name.encode(errors="surrogatepass"))
    if size <= NAME_BYTES_MAX:
        return None
    return f"has {size:,} bytes of UTF-8, more than {NAME_BYTES_MAX:,}; use a shorter one"
