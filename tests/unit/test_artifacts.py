"""Artifacts: kinds, digests, warnings about manifests, and their encoding in the journal."""

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.errors import InvalidValue
from kedge.model.artifacts import (
    KINDS,
    Artifact,
    as_artifact,
    guess_kind,
    manifest_digest,
    manifest_warnings,
    pack,
    unpack,
)
from kedge.model.writes import VALUE_BYTES_MAX, encode


@pytest.mark.parametrize(
    ("key", "kind"),
    [(f"support/{kind}", kind) for kind in KINDS]
    + [
        ("prompt", "prompt"),
        ("support/config", "configuration"),
        ("support/data", "training-data"),
        ("support/training_data", "training-data"),
        ("support/anything", "configuration"),
        ("model/notes", "configuration"),
    ],
)
def test_a_key_s_last_part_names_the_kind(key: str, kind: str) -> None:
    assert guess_kind(key) == kind
    assert as_artifact(key, "x").kind == kind


def test_a_given_kind_wins() -> None:
    assert as_artifact("support/prompt", Artifact(value="x", kind="schema")).kind == "schema"


@pytest.mark.parametrize("value", ["text", b"\0bytes", {"temperature": 0.1}, [1, 2], 0, False, ""])
def test_a_value_s_digest_is_of_its_content(value: Any) -> None:
    made = as_artifact("a/prompt", value)
    assert made.digest == "sha256:" + hashlib.sha256(encode(value)).hexdigest()
    assert unpack(pack(made)) == made


@pytest.mark.parametrize(
    ("artifact", "told"),
    [
        (Artifact(value="x", kind="prompts"), "unknown kind 'prompts'; use one of model, prompt"),
        (Artifact(uri="models:/x"), "points to 'models:/x' without a digest"),
        (Artifact(), "neither a value nor a digest"),
        (None, "neither a value nor a digest"),
        (Artifact(value="x", digest="sha256:0"), "claims the digest 'sha256:0', but its value's is 'sha256:"),
        ({1, 2}, "of type set"),
        (b"x" * (9 << 20), "more than 8,388,608"),
    ],
)
def test_an_artifact_that_pins_nothing_is_refused(artifact: object, told: str) -> None:
    with pytest.raises(InvalidValue, match=f"artifact 'a/prompt'.*{told}"):
        as_artifact("a/prompt", artifact)


def test_a_value_of_exactly_8_mib_fits() -> None:
    for value in (b"x" * VALUE_BYTES_MAX, "x" * (VALUE_BYTES_MAX - 2)):
        made = as_artifact("a/weights", value)
        assert unpack(pack(made)) == made


def test_an_address_is_pinned_by_its_digest() -> None:
    made = as_artifact("a/model", Artifact(uri="models:/x", digest="sha256:1", version="7"))
    assert unpack(pack(made)) == made
    assert (made.value, made.uri, made.digest, made.version) == (None, "models:/x", "sha256:1", "7")


@given(st.dictionaries(st.text(min_size=1), st.text()), st.text(min_size=1), st.text())
def test_a_manifest_s_digest_holds_every_key_and_content(values: dict[str, str], key: str, value: str) -> None:
    manifest = {k: as_artifact("x", v) for k, v in values.items()}
    changed = {**manifest, key: as_artifact("x", value)}
    assert manifest_digest(manifest) == manifest_digest(dict(reversed(manifest.items())))
    assert (manifest_digest(changed) == manifest_digest(manifest)) == (changed == manifest)


def test_a_model_without_its_training_data_is_warned_about() -> None:
    bare = {"a/model": as_artifact("a/model", "m"), "b/prompt": as_artifact("b/prompt", "p")}
    assert manifest_warnings(bare) == ("a/model changes a model without naming its training-data snapshot",)
    elsewhere = {**bare, "b/training-data": as_artifact("b/training-data", "d")}
    assert len(manifest_warnings(elsewhere)) == 1
    assert manifest_warnings({**bare, "a/data": as_artifact("a/data", "d")}) == ()
