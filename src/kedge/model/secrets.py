"""Secrets in texts and addresses: finding them by pattern, and redacting them before they are shown or journaled."""

import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import unquote

HIDDEN = "…"
_NAMES = (
    r"pass(?:word|wd|phrase|code)?|pwd|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credentials?|"
    r"signature|authorization"
)
_QUERY_NAMES = frozenset({"key", "sig", "auth", "code"})  # in a query only: elsewhere they are ordinary words
_SCHEME = re.compile(r"([A-Za-z][\w+.-]*):/{1,3}")
_WEB = frozenset({"http", "https", "ftp", "git+https"})  # a user without a password is a token there
_NAMED = re.compile(_NAMES, re.IGNORECASE)
_SHORTEST = 6  # of a known secret: shorter ones would hide ordinary words
_OPAQUE = re.compile(r"(?=[^\dA-Z]*[\dA-Z])[\w+=-]{8,}")  # with a digit or a capital; no path, no host
_WORDS = re.compile(r"[\s'\"=:,;&|<>()$`@]+")
# Each pattern has the secret as its group `secret`.
_PATTERNS: dict[str, re.Pattern[str]] = {
    "a password in an address": re.compile(r"[A-Za-z][\w+.-]*:/+[^\s:/@'\"]*:(?P<secret>(?!\d+/)[^\s'\"]+)@(?=[^\s@])"),
    "an authorization header": re.compile(r"\b(?:bearer|basic)\s+(?P<secret>[\w.~+/=-]{6,})", re.IGNORECASE),
    "a password of curl": re.compile(r"(?:^|[\s'\"])(?:-u|--user)[=\s'\",]*[^\s:'\"]+:(?P<secret>[^\s'\"]+)"),
    "an option": re.compile(
        rf"(?<![\w-])--?[\w-]*(?:{_NAMES})[\w-]*(?:[=\s]|['\"],\s*)\s*['\"]?(?P<secret>[^\s'\",=-][^\s'\",]*)",
        re.IGNORECASE,
    ),
    "an assignment": re.compile(rf"(?<![\w-])[\w-]*(?:{_NAMES})\w*=['\"]?(?P<secret>[^\s'\"&;,)]+)", re.IGNORECASE),
    "a header": re.compile(
        rf"(?<![\w-])[\w-]*(?:{_NAMES})\w*['\"]?:\s*['\"]?(?P<secret>(?=\S*\d)[^\s'\",;)]{{8,}})", re.IGNORECASE
    ),
    "a known kind of key": re.compile(
        r"(?P<secret>\b(?:sk-[\w-]{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}|hf_\w{20,}|"
        r"xox[abprs]-[\w-]{10,}|AKIA[0-9A-Z]{16}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]+)|"
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----)"
    ),
}


def find_kinds(text: str) -> list[str]:
    """Return which kinds of secret a text seems to hold."""
    return [kind for kind, pattern in _PATTERNS.items() if any(_is_real(found) for found in pattern.finditer(text))]


def redact(text: str, known: Iterable[str] = ()) -> str:
    """Return a text without its secrets: the known ones, and what a pattern recognizes."""
    for secret in sorted({form for each in known for form in (each, unquote(each))}, key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, HIDDEN)
    for pattern in _PATTERNS.values():
        text = pattern.sub(_hide, text)
    return text


def _is_real(found: re.Match[str]) -> bool:
    return found["secret"] not in {"", HIDDEN} and not found["secret"].startswith(("$", "{"))


def _hide(found: re.Match[str]) -> str:
    if not _is_real(found):
        return found[0]
    start, end = (place - found.start() for place in found.span("secret"))
    return found[0][:start] + HIDDEN + found[0][end:]


# ── addresses ──


def public_address(address: str) -> str:
    """Return an address without its secrets, also where it is malformed."""
    for start, end in reversed(_spans(address)):
        is_password = address[start - 1 : start] == ":" and address[end : end + 1] == "@"
        address = address[: start - 1] + address[end:] if is_password else address[:start] + HIDDEN + address[end:]
    return address


def secrets_of_address(address: str) -> list[str]:
    """Return the passwords and tokens in an address, as they are written there."""
    return [address[start:end] for start, end in _spans(address)]


def _spans(address: str) -> list[tuple[int, int]]:
    """Return where the secrets of an address are: after the user, and in its options."""
    scheme = _SCHEME.match(address)
    start = scheme.end() if scheme else 0
    options = address.find("?", start)
    at = address.rfind("@")
    if -1 < options < at:
        if any(True for _ in _secret_options(address, options, at)):
            at = address.rfind("@", start, options)  # the last one belongs to an option
        else:
            options = address.find("?", at)
    found = [] if scheme is None else _of_user(address, scheme[1].lower(), start, at)
    return [*found, *(_secret_options(address, options, len(address)) if options >= 0 else ())]


def _of_user(address: str, scheme: str, start: int, at: int) -> list[tuple[int, int]]:
    host_end = min((place for mark in "/?#" if (place := address.find(mark, start)) >= 0), default=len(address))
    colon = address.find(":", start, max(at, host_end))
    port = address[:host_end].rpartition(":")[2]
    has_host_only = colon < 0 or colon > host_end or port.isdigit() or address.startswith("[", start)
    if at < start or (at > host_end and has_host_only and not scheme.startswith("postgres")):
        return [] if has_host_only else [(colon + 1, host_end)]  # an @ of the path, as in registry:5000/image@sha256:…
    if -1 < colon < at:
        return [(colon + 1, at)] if colon + 1 < at else []
    return [(start, at)] if scheme in _WEB and at < host_end else []


def _secret_options(address: str, mark: int, end: int) -> Iterator[tuple[int, int]]:
    place = mark + 1
    for option in re.split("[&;]", address[place:end]):
        name, equals, value = option.partition("=")
        plain = unquote(name).lower()
        if value not in {"", "{key}"} and (plain in _QUERY_NAMES or _NAMED.search(plain)):
            yield place + len(name) + len(equals), place + len(option)
        place += len(option) + 1


# ── commands ──


def secrets_of_command(words: Iterable[str], environment: Mapping[str, str]) -> list[str]:
    """Return what may be secret in a command line and in its environment, to redact it from the command's output."""
    return [*_of_words(words), *secrets_of_environment(environment)]


def _of_words(words: Iterable[str]) -> Iterator[str]:
    for word in words:
        for pattern in _PATTERNS.values():
            yield from (found["secret"] for found in pattern.finditer(word) if _is_real(found))
        for part in word.split():
            yield from secrets_of_address(part.strip("'\""))
        yield from (part for part in _WORDS.split(word) if _OPAQUE.fullmatch(part))


def secrets_of_environment(environment: Mapping[str, str]) -> list[str]:
    """Return the values of variables with a secret's name, and the secrets of addresses."""
    named = [value for name, value in environment.items() if _NAMED.search(name) or name.endswith(("_KEY", "_AUTH"))]
    return [*named, *(secret for value in environment.values() for secret in secrets_of_address(value))]
