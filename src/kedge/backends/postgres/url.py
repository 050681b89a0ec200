"""Addresses of databases, as they may be shown."""


def public(url: str) -> str:
    """Return an address without its password."""
    scheme, _, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    return f"{scheme}://{credentials.partition(':')[0]}{at}{place}"
