"""`python -m kedge.testing.postgres` without a command that it can run."""

import pytest

from kedge.testing import postgres


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [([], 2, "usage: "), (["--help"], 0, "usage: "), (["no-such-program"], 127, "cannot run 'no-such-program'")],
)
def test_it_says_so_and_starts_no_server(
    command: list[str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(postgres, "running")
    assert postgres.main(command) == code
    assert said in capsys.readouterr().err
