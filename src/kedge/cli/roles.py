"""Command roles: the SQL of the role split for PostgreSQL."""

import sys

from kedge.cli.app import MAINTAIN, app
from kedge.cli.options import Json
from kedge.cli.terminal import emit
from kedge.open import role_split


@app.command(rich_help_panel=MAINTAIN)
def roles(*, as_json: Json = False) -> None:
    """Print SQL by which PostgreSQL itself stops agents from loosening a level. It changes nothing.

    Run it as the owner of the schema, again after each upgrade: kedge roles | psql -v ON_ERROR_STOP=1 URL
    """
    if as_json:
        emit({"sql": role_split()})
    else:
        sys.stdout.write(role_split())
