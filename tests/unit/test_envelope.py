"""Headers between processes: accepted whole and in time, or refused."""

import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.model.envelope import Envelope, Rejected, newest, seal, unseal

KEY = b"k" * 32
ENVELOPE = Envelope(turn="t1", epoch=3, base=[1, 2], lineage=[2], expires=100.0, session="s-17", agent="support")
SEALED = seal(ENVELOPE, KEY)["baggage"]


def opened(headers: dict[str, str], *, now: float = 50.0, audience: str | None = None) -> Envelope | Rejected:
    (found,) = unseal(headers, KEY, now=now, audience=audience)
    return found


def why(headers: dict[str, str], *, now: float = 50.0, audience: str | None = None) -> str:
    rejected = opened(headers, now=now, audience=audience)
    assert isinstance(rejected, Rejected)
    return rejected.why


def test_what_is_sealed_is_unsealed() -> None:
    assert opened({"baggage": SEALED}) == ENVELOPE


@pytest.mark.parametrize("name", ["baggage", "Baggage", "BAGGAGE", "bAgGaGe"])
def test_a_header_s_name_has_no_case(name: str) -> None:
    assert opened({"Content-Type": "x", name: SEALED}) == ENVELOPE


@pytest.mark.parametrize(
    "value",
    [
        f"userId=alice,{SEALED}",
        f"{SEALED} , serverNode=DF%2028",
        f"a=1;ttl=30,  {SEALED};propagation=x ,b=2",
        f"kedgex=1,{SEALED}",
    ],
)
def test_other_members_of_the_baggage_stand_beside_it(value: str) -> None:
    assert opened({"baggage": value}) == ENVELOPE


def test_all_members_of_ours_count() -> None:
    other = Envelope("t2", 4, [1], [1], 100.0)
    late = seal(Envelope("t3", 4, [1], [1], 10.0), KEY)["baggage"]
    value = f"{SEALED},a=1,{seal(other, KEY)['baggage']};p=1,{SEALED},{late}"
    found = unseal({"baggage": value, "Baggage": SEALED}, KEY, now=50.0, audience=None)
    assert found[:2] == [ENVELOPE, other]
    assert [type(member) for member in found] == [Envelope, Envelope, Rejected], "each once"
    assert newest([ENVELOPE, other]) == other
    assert newest([msgspec.structs.replace(ENVELOPE, digest="d"), other]).turn == "t1", "the one made for a message"


def test_without_a_member_of_ours_nothing_is_taken() -> None:
    assert "no kedge member" in why({})
    assert "no kedge member" in why({"baggage": "userId=alice"})
    assert "no kedge member" in why({"x-baggage": SEALED})


def test_a_header_from_another_database_is_forged() -> None:
    assert "signature" in why(seal(ENVELOPE, b"another key" * 3))


def test_an_altered_envelope_is_forged() -> None:
    body, _, signature = SEALED.removeprefix("kedge=").partition(".")
    cleaner = urlsafe_b64decode(body + "=" * (-len(body) % 4)).replace(b'"lineage":[2]', b'"lineage":[]')
    altered = urlsafe_b64encode(cleaner).rstrip(b"=").decode()
    assert "signature" in why({"baggage": f"kedge={altered}.{signature}"})


@given(st.integers(0, len(SEALED) - 1))
def test_a_truncated_header_is_never_taken(length: int) -> None:
    assert isinstance(opened({"baggage": SEALED[:length]}), Rejected)


@given(st.text(st.characters()))
def test_no_garbage_is_taken_and_none_raises(garbage: str) -> None:
    assert isinstance(opened({"baggage": garbage}), Rejected)
    assert isinstance(opened({"baggage": f"kedge={garbage}"}), Rejected)
    assert isinstance(opened({"baggage": f"{SEALED[:-43]}{garbage}"}), Rejected) or SEALED.endswith(garbage)


@pytest.mark.parametrize("garbage", ["\ud800", "x.\ud800", "\ud800.x", "é.é"])
def test_a_header_that_is_no_text_is_malformed(garbage: str) -> None:
    assert why({"baggage": f"kedge={garbage}"}) == "malformed"


def test_a_header_holds_until_it_expires() -> None:
    assert opened({"baggage": SEALED}, now=100.0) == ENVELOPE
    assert why({"baggage": SEALED}, now=107.0).startswith("expired 7 s ago")


def test_a_header_is_for_its_audience_alone() -> None:
    headers = seal(Envelope("t", 1, [], [], 100.0, audience="billing"), KEY)
    assert isinstance(opened(headers, audience="billing"), Envelope)
    assert why(headers, audience="support") == "meant for 'billing', not 'support'"
    assert "meant for 'billing'" in why(headers)


def test_signed_bytes_that_are_no_envelope_are_malformed() -> None:
    body = urlsafe_b64encode(b'{"turn": 5}').rstrip(b"=")
    signature = urlsafe_b64encode(hmac.digest(KEY, body, hashlib.sha256)).rstrip(b"=").decode()
    assert why({"baggage": f"kedge={body.decode()}.{signature}"}) == "malformed"
