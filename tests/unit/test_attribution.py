"""Names of agents that have a slip, and warnings about a manifest's keys."""

import pytest

from kedge.errors import InvalidValue
from kedge.model.attribution import check_attribution, owners_of, resembling, warnings_of


@pytest.mark.parametrize(
    ("agent", "known", "meant"),
    [
        ("Support", "support", "support"),
        ("suport", "support", "support"),
        ("support-agent", "support_agent", "support_agent"),
        ("supprot", "support", "support"),
        ("QA", "qa", "qa"),
        ("support", "billing", None),
        ("worker-2", "worker-1", None),
        ("worker2", "worker-1", None),
        ("qa", "qb", None),
        ("planner", "planner", None),
        ("clerk", "", None),
    ],
)
def test_a_slip_is_a_difference_of_case_punctuation_or_a_few_letters(agent: str, known: str, meant: str | None) -> None:
    assert resembling(agent, [known] if known else []) == meant


def test_the_owners_of_artifacts_are_their_folders_except_shared() -> None:
    assert owners_of(["a/b/prompt", "c/model", "shared/embedder", "loose"]) == {"a", "a/b", "c"}


def test_a_manifest_is_warned_about_keys_without_an_agent_and_agents_without_a_past() -> None:
    assert warnings_of(["support/prompt"], [], []) == (), "in a new database every agent is new"
    assert warnings_of(["support/prompt", "shared/policy"], ["support"], []) == ()
    assert warnings_of(["support/prompt"], [], ["support/model"]) == ()
    (loose,) = warnings_of(["prompt"], [], [])
    assert "prompt belongs to no agent" in loose
    assert "<agent>/prompt" in loose
    (stranger,) = warnings_of(["suport/prompt"], ["support"], [])
    assert "'suport'" in stranger
    assert "did you mean 'support'?" in stranger


def test_an_attribution_is_reads_or_view_and_view_needs_an_artifact() -> None:
    assert check_attribution("v", "reads", []) == "reads"
    assert check_attribution("v", "view", ["shared/code"]) == "view"
    with pytest.raises(InvalidValue, match="pins <agent>/code or shared/code"):
        check_attribution("v", "view", [])
    for wrong in ("views", None, 1, ["view"]):
        with pytest.raises(InvalidValue, match="must be 'reads' or 'view'"):
            check_attribution("v", wrong, ["a/b"])
