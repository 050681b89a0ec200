"""Translation of PostgreSQL and connection errors into Kedge's."""

import re

import msgspec
import psycopg

from kedge import errors
from kedge.model.migration import Sealed, moved_message
from kedge.model.upgrade import writer_refused

READ_ONLY = "25006"  # a standby
# shut down, starting up, timed out, a standby now
_LOST = {"57P01", "57P02", "57P03", "57P05", "25P03", "25P04", READ_ONLY}
_AGAIN = {"40001", "40P01"}
_SCHEMA = {"3F000", "42P01", "42703"}
_MOVED = "KM001"  # raised by the triggers of a database that was moved
_FENCED = "KM002"  # raised by the fence
_LOOSENING = "KM003"  # raised by the role split
_NO_DATABASE = re.compile(r'FATAL: +database ".*" does not exist')
_NOT_LET_IN = re.compile(
    r'FATAL: +(password authentication|role ".*" does not exist|no pg_hba\.conf)|no password supplied'
)
_ID_TAKEN = "states_pkey"


def is_lost(error: psycopg.Error) -> bool:
    """Return whether the connection is lost or cannot be made: only a commit under way may still succeed."""
    if error.sqlstate is None:
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate in _LOST or error.sqlstate.startswith("08")


def is_raced(error: psycopg.Error) -> bool:
    """Return whether another transaction came first: nothing was done, and a retry may succeed."""
    return error.sqlstate in _AGAIN or (error.sqlstate == "23505" and error.diag.constraint_name == _ID_TAKEN)


def explain(error: psycopg.Error, where: str) -> errors.KedgeError:
    """Translate an error that may come from connecting: such errors have no code, only a text."""
    text = str(error).strip()
    if error.sqlstate is None and _NO_DATABASE.search(text):
        return errors.UnknownName(f"{where}: this database does not exist; create it, or check the name")
    if error.sqlstate is None and _NOT_LET_IN.search(text):
        return errors.InvalidValue(f"{where} rejected the login ({text}); check user and password")
    return translate(error, where)


def translate(error: psycopg.Error, where: str) -> errors.KedgeError:
    """Return the `KedgeError` for an error of psycopg; `where` names the database."""
    text = str(error).strip().split("\n", maxsplit=1)[0]
    state = error.sqlstate or ""
    if state.startswith("KM"):
        return _raised_by_kedge(state, str(error.diag.message_primary), where)
    if is_lost(error):
        return errors.Unreachable(f"{where} cannot be reached ({text}); nothing was done: try again")
    if state in {"55P03", "53300", "57014"} or state in _AGAIN:
        return errors.Busy(f"{where} is busy ({text}); nothing was done: try again")
    if state.startswith("53"):
        return errors.StorageFull(f"{where} is full ({text}); nothing was written: free some space")
    if state == "42501":
        return errors.ReadOnly(f"permission denied in {where} ({text}); grant it, or connect as another user")
    if state in _SCHEMA:
        return errors.NotAKedgeDatabase(f"{where} has no Kedge schema of this version ({text}); check the address")
    if state.startswith("28"):
        return errors.InvalidValue(f"{where} rejected the login ({text}); check user and password")
    if state.startswith("22") or isinstance(error, psycopg.DataError):
        return errors.InvalidValue(f"{where} cannot store this value ({text}); change it")
    return errors.Corruption(f"{where}: unexpected PostgreSQL error: {state} {text}; run `kedge fsck`")


def _raised_by_kedge(state: str, said: str, where: str) -> errors.KedgeError:
    """Translate what a trigger of Kedge's own raised."""
    if state == _MOVED:
        return errors.Moved(moved_message(where, msgspec.json.decode(said, type=Sealed).to))
    if state == _FENCED:
        return writer_refused(where, int(said))
    return errors.NotPermitted(
        f"{where} refused the change ({said}): a member of the role kedge_operators does that; ask one"
    )
