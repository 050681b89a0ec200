"""Which statements that are built by calls change data."""

import pytest

from kedge.discovery.scan.sql import built_change


@pytest.mark.parametrize(
    ("path", "changes"),
    [
        ("sqlalchemy.insert().values()", True),
        ("sqlalchemy.dialects.postgresql.insert().values().on_conflict_do_nothing()", True),
        ("@aws-sdk/client-s3:PutObjectCommand()", True),
        ("@aws-sdk/client-s3:GetObjectCommand()", False),
        ("sqlalchemy.select().where()", False),
        ("app.queries()[].replace()", False),  # of a text
    ],
)
def test_a_built_statement_changes_data(path: str, changes: bool) -> None:
    assert built_change(path) is changes
