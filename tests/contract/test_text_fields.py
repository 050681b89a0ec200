"""Values that are not text are refused before they are recorded, because a record must stay decodable."""

from __future__ import annotations

from typing import Any

import pytest

import kedge
from kedge.errors import InvalidValue


@pytest.mark.parametrize("bad", [3, b"x", ["x"], "\ud800"])
@pytest.mark.parametrize("field", ["uri", "digest", "kind", "version"])
def test_an_artifact_s_fields_are_text(k: kedge.Kedge, field: str, bad: Any) -> None:
    fields: dict[str, Any] = {"uri": "models:/x", "digest": "sha256:0", field: bad}
    with pytest.raises(InvalidValue, match=field):
        k.deploy("v2", {"support/model": kedge.Artifact(**fields)})
    assert [deployment.name for deployment in k.deployments()] == ["base"]


@pytest.mark.parametrize("bad", [3, "", "a\nb", "\ud800", "x" * 2_049])
def test_a_peer_that_is_absorbed_has_a_name(k: kedge.Kedge, bad: Any) -> None:
    with k.turn(agent="support") as turn, pytest.raises(InvalidValue, match="peer"):
        turn.absorb({}, peer=bad)
    assert k.status().deployments == ()
