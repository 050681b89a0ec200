"""Database addresses: parsing, and errors that never contain the password."""

import re
from typing import Any
from urllib.parse import unquote

import psycopg

from kedge.errors import InvalidValue
from kedge.model.secrets import public_address, secrets_of_address

_OPTION = re.compile(r'invalid URI query parameter: "([a-z_]+)"')
_FORM = "write postgresql://user:password@host:5432/database"


def read_address(url: str) -> dict[str, Any]:
    """Return the connection parameters of an address; raise `InvalidValue` where it is malformed or ambiguous.

    The driver cuts a password at its first / or @ and takes the rest as host or port, which its errors then print.
    """
    try:
        found = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.Error as error:
        option = _OPTION.search(str(error))
        why = f": it has the unknown option {option[1]!r}" if option else ""
        raise InvalidValue(f"{public_address(url)} is not a PostgreSQL address{why}; {_FORM}") from None
    secrets = {unquote(secret) for secret in secrets_of_address(url)}
    if secrets and found.get("password") not in secrets and "sslpassword" not in found:
        raise InvalidValue(
            f"{public_address(url)} is not a PostgreSQL address: a port must be a number, and special characters of "
            f"the password must be percent-encoded (%40 for @, %2F for /); {_FORM}"
        )
    return found
