"""The laws of `Provenance` and `ReplayLog`: turns and inputs in order, whatever is hidden; marks that only grow."""

from kedge.model.provenance import Reach
from kedge.model.reads import Reads, pack
from kedge.model.writes import Author, Key, decode
from kedge.ports.backend import Backend
from kedge.testing.contracts.backend_driver import BackendDriver, Opener, delete, put

ONE = frozenset({1})


class ProvenanceContract:
    """Fixture: `backend`."""

    def test_influenced_turns_come_in_the_order_of_their_first_write(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        driver.put("a", 1, store="documents", space="kb", author=Author("bystander"))
        driver.put("a", 1, lineage=ONE, author=Author("answers", agent="support", session="s"))
        driver.append([put("q", 1, source=True), put("r", 1)], lineage=ONE, author=Author("asks", parent="answers"))
        driver.upsert("kb", {"a": [1.0, 2.0]}, lineage=ONE, author=Author("embeds"))
        driver.change("roll_back", "v1")
        turns = backend.provenance.influenced_turns(backend.impact.lineages_with([1]))
        assert [turn.uid for turn in turns] == ["answers", "asks", "embeds"]
        assert [(turn.derived, turn.sources, turn.embeds) for turn in turns] == [
            (True, False, False), (True, True, False), (True, False, True)
        ]  # fmt: skip
        assert (turns[0].agent, turns[0].session, turns[1].parent) == ("support", "s", "answers")
        (named,) = backend.provenance.turns(["asks", "never wrote"])
        assert named.turn == turns[1].turn

    def test_turns_come_with_their_time_and_what_they_wrote(self, backend: Backend) -> None:
        driver, provenance = BackendDriver(backend), backend.provenance
        for number in range(3):
            author = Author(f"t{number}", agent="a", session="s", began_at=100.0 + number, began_epoch=0)
            driver.append([put(f"m{each}", each, store="memory", space="s") for each in range(number)], author=author)
            driver.append([put(f"k{number}", 1, fresh_for=5.0), put(f"x{number}", 1)], author=author)
        first, *_ = found = provenance.begun_before(102.0, 0, 10)
        assert [(at, turn.uid, turn.session) for at, turn in found] == [(100.0, "t0", "s"), (101.0, "t1", "s")]
        assert provenance.begun_before(103.0, first[1].turn, 1) == found[1:2]
        turns = [turn.turn for _, turn in provenance.begun_before(103.0, 0, 10)]
        assert provenance.count_messages(turns) == {turns[1]: 1, turns[2]: 2}
        seqs = driver.append([put("f", 1, fresh_for=7.5), put("g", 1), put("f", 1, store="documents", space="kb")])
        ((seq, (at, seconds)),) = provenance.budgets([*seqs, 10**6]).items()
        assert (seq, seconds) == (seqs[0], 7.5)
        assert at > 0

    def test_influenced_turns_come_in_pages_and_are_counted(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1", "v2")
        for n in range(5):
            author = Author(f"t{n}", agent=f"a{n % 2}", session=f"s{n % 3}")
            driver.append([put(f"k{n}", n), put(f"q{n}", n, source=True)], lineage=ONE, author=author)
        driver.put("other", 1, lineage=frozenset({2}), author=Author("other", agent="else"))
        provenance, lineages = backend.provenance, backend.impact.lineages_with([1])
        first = provenance.influenced_turns(lineages, limit=2)
        rest = provenance.influenced_turns(lineages, after=first[-1].turn)
        assert [turn.uid for turn in (*first, *rest)] == [f"t{n}" for n in range(5)]
        assert provenance.newest_influenced(lineages, 2) == [rest[-1].turn, rest[-2].turn]
        assert provenance.reach(lineages) == Reach(5, 3, ("a0", "a1"))
        assert provenance.reach([]) == Reach(0, 0, ())

    def test_a_source_is_a_put_from_outside(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        seqs = driver.append([put("said", "hi", source=True), put("made", 1), delete("gone", source=True)], lineage=ONE)
        later = driver.append([put("again", "ho", source=True)], lineage=ONE)[0]
        driver.change("roll_back", "v1")
        provenance = backend.provenance
        writers = provenance.writers_of([*seqs, 10**6])
        assert sorted(writers) == seqs
        (turn,) = {writer.turn for writer in writers.values()}
        inside = provenance.sources_of_turns([turn])
        assert [source.seq for source in inside] == [seqs[0], later]
        assert sorted(provenance.sources_at([later, *seqs]), key=lambda source: source.seq) == inside
        assert {source.payload for source in inside} == {None}
        found = provenance.source_with_payload(seqs[0])
        assert found is not None
        assert (found.key, found.turn, decode(found.payload)) == (Key("context", "", "said"), turn, "hi")
        assert provenance.source_with_payload(seqs[1]) is None

    def test_corrections_are_later_source_writes(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        driver.live("v1")
        driver.append([put("before", 1, source=True), put("twice", 0, source=True)], author=Author("early"))
        driver.append([put(name, 1) for name in ("before", "twice", "own")], lineage=ONE)
        driver.append([put("twice", 2, source=True), put("own", 2)], author=Author("ann", person="ann"))
        last = driver.append([put("twice", 3, source=True)], author=Author("bob", person="bob"))[0]
        (turn,) = backend.provenance.turns([driver.author.uid])
        found = backend.provenance.corrections([turn.turn], 10)
        assert [(source.key.name, source.person) for source in found] == [("twice", "bob"), ("twice", "ann")]
        assert [source.seq for source in backend.provenance.corrections([turn.turn], 1)] == [last]

    def test_reads_come_in_the_order_of_writes(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        logs = [Reads([1]), Reads([2, 3])]
        for number, log in enumerate(logs):
            driver.append([put("a", number)], reads=pack(log))
        (turn,) = backend.provenance.turns([driver.author.uid])
        assert backend.provenance.reads_of([turn.turn, 10**6]) == {turn.turn: logs}

    def test_writes_are_counted_by_agent_and_space(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        one = Author("t1", agent="planner")
        seqs = driver.append(
            [put("a", 1, store="documents", space="kb"), put("b", 1, store="documents", space="kb")], author=one
        )
        driver.put("c", 1, store="memory", space="s", author=Author("t2", person="ada"))
        driver.put("d", 1, store="memory", space="s", author=Author("t3", person="bob"))
        driver.put("x", 1, store="documents", space="kb", author=Author("deploy:1"))  # of a control change
        driver.append(
            [put("e", 1, store="context"), delete("a", store="documents", space="kb")],
            author=Author("t4", agent="planner"),
        )
        provenance = backend.provenance
        found = provenance.written_since(0)
        assert [(each.agent, each.by_person, each.store, each.space, each.writes) for each in found] == [
            ("", True, "memory", "s", 2),
            ("planner", False, "context", "", 1),
            ("planner", False, "documents", "kb", 3),
        ]
        (last,) = provenance.turns(["t4"])
        assert [each.writes for each in provenance.written_since(last.turn)] == [1, 1]
        assert provenance.spaces_of([*seqs, 10**6]) == dict.fromkeys(seqs, ("documents", "kb"))

    def test_callers_come_with_theirs_each_once(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        for uid, parent in (("root", None), ("a", "root"), ("b", "root"), ("c", "a"), ("d", "never wrote"), ("e", "c")):
            driver.put(uid, 1, author=Author(uid, parent=parent, agent=f"agent of {uid}"))
        callers = backend.provenance.callers
        found = callers(["c", "b", "d", "nobody"])
        assert sorted(turn.uid for turn in found) == ["a", "b", "c", "d", "root"]
        assert {turn.agent for turn in found} == {f"agent of {turn.uid}" for turn in found}
        assert callers([]) == []

    def test_the_newest_message_is_bounded_by_its_seq(self, backend: Backend) -> None:
        driver = BackendDriver(backend)
        first = driver.append([put("", "one", store="memory", space="s", source=True)])[0]
        driver.put("", "an answer", store="memory", space="s")
        last = driver.append([put("", "two", store="memory", space="s", source=True)])[0]
        asked = [("s", last), ("s", last - 1), ("s", first - 1), ("unknown", last)]
        found = backend.provenance.newest_messages(asked)
        assert {place: source.seq for place, source in found.items()} == {("s", last): last, ("s", last - 1): first}


class ReplayLogContract:
    """Fixtures: `backend`, and `opener`, which opens the same database again."""

    def test_one_claim_wins(self, backend: Backend, opener: Opener) -> None:
        other = opener()
        log, theirs = backend.replay_log, other.replay_log
        assert log.holder(5) is None
        assert log.claim(5, None, "a")
        assert log.claim(5, None, "a"), "a retry"
        assert not theirs.claim(5, None, "b")
        assert theirs.holder(5) == "a"
        assert theirs.claim(5, "a", "b")
        assert not log.claim(5, "a", "c")
        log.release(5, "a")
        assert log.holder(5) == "b"
        theirs.release(5, "b")
        assert log.holder(5) is None
        assert log.replayed_upto([5]) == {}
        log.mark_replayed(5, 3, "turn")
        assert log.claim(5, "turn", "c")
        assert log.replayed_upto([5]) == {5: 3}
        log.release(5, "c")
        assert (log.holder(5), log.replayed_upto([5])) == ("", {5: 3})
        other.close()

    def test_the_greatest_turn_stays(self, backend: Backend, opener: Opener) -> None:
        other = opener()
        backend.replay_log.mark_replayed(5, 3, "r1")
        other.replay_log.mark_replayed(5, 7, "r2")
        for late in (backend, other):
            late.replay_log.mark_replayed(5, 4, "r3")
            late.replay_log.mark_replayed(5, 4, "r3")
        assert backend.replay_log.replayed_upto([5, 6]) == other.replay_log.replayed_upto([5]) == {5: 7}
        assert backend.replay_log.replayed_upto([]) == {}
        other.close()
