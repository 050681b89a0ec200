"""Contract of `Fleet`: refreshes are ordered with changes of the control record; which members may be removed."""

import threading

import msgspec

from kedge.model.fleet import NO_EPOCH, Held, Standing
from kedge.ports.backend import Backend
from kedge.testing.contracts.backend_driver import BackendDriver, Opener

ONE = Standing(
    "u1", "support-1", "host-a", 17, ("support",), 10.0, NO_EPOCH, joined_at=1.0, at=1.0, code={"support": "sha256:é"}
)
TWO = Standing("u2", "support-2", "host-b", 18, (), 5.0, NO_EPOCH, joined_at=2.0, at=2.0)


def at(member: Standing, epoch: int, when: float = 3.0, held: tuple[Held, ...] = ()) -> Standing:
    """Return the report of a member that acknowledges an epoch."""
    return msgspec.structs.replace(member, epoch=epoch, at=when, held=held)


class FleetContract:
    """Fixtures: `backend` and `opener`, of a new database."""

    def epoch(self, backend: Backend, epoch: int) -> None:
        """Advance the control record to an epoch."""
        for number in range(backend.control.epoch(), epoch):
            BackendDriver(backend).change("stage", f"v{number}")

    def one(self, backend: Backend) -> Standing:
        (found,) = backend.fleet.members()
        return found

    def test_a_refresh_is_answered_with_the_epoch(self, backend: Backend) -> None:
        assert backend.fleet.refresh(at(ONE, 0)) == 0
        self.epoch(backend, 2)
        assert backend.fleet.refresh(at(ONE, 0)) == 2

    def test_what_a_member_says_of_itself_is_kept(self, backend: Backend) -> None:
        held = (Held("context", "case/1", 7), Held("memory", "", 9, "s-1"))
        said = at(ONE, 0, held=held)
        backend.fleet.refresh(said)
        assert self.one(backend) == said
        later = at(ONE, 0, 9.0)
        backend.fleet.refresh(later)
        assert self.one(backend) == later

    def test_members_come_in_the_order_of_joining(self, backend: Backend) -> None:
        for member in (TWO, ONE):
            backend.fleet.refresh(at(member, 0))
        assert [m.name for m in backend.fleet.members()] == ["support-1", "support-2"]

    def test_who_is_behind_an_epoch_can_be_asked_for_alone(self, backend: Backend) -> None:
        self.epoch(backend, 2)
        for member, epoch in ((ONE, 1), (TWO, 2)):
            backend.fleet.refresh(at(member, epoch))
        for behind, names in ((0, []), (1, []), (2, ["support-1"]), (3, ["support-1", "support-2"])):
            assert [m.name for m in backend.fleet.members(behind)] == names

    def test_members_of_one_process_refresh_at_once(self, backend: Backend) -> None:
        said = [msgspec.structs.replace(at(ONE, 0), uid=f"u{n}", name=f"m{n}", serves=("a",) * n) for n in range(8)]
        answers: list[int] = []

        def refresh(member: Standing) -> None:
            answers.extend(backend.fleet.refresh(member) for _ in range(5))

        threads = [threading.Thread(target=refresh, args=(member,)) for member in said * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [0] * 80
        assert sorted(backend.fleet.members(), key=lambda m: m.uid) == said

    def test_an_epoch_never_goes_back(self, backend: Backend) -> None:
        self.epoch(backend, 2)
        backend.fleet.refresh(at(ONE, 2))
        backend.fleet.refresh(at(ONE, 1))
        assert self.one(backend).epoch == 2

    def test_who_joins_at_an_older_epoch_holds_no_lease(self, backend: Backend) -> None:
        self.epoch(backend, 1)
        backend.fleet.refresh(at(ONE, 0))
        assert self.one(backend).expired
        backend.fleet.refresh(at(ONE, 1))
        assert not self.one(backend).expired

    def test_who_is_counted_out_is_expired_until_it_acknowledges_the_epoch_of_then(self, backend: Backend) -> None:
        backend.fleet.refresh(at(ONE, 0))
        self.epoch(backend, 1)
        backend.fleet.count_out([ONE.uid], 1)
        assert self.one(backend).expired
        backend.fleet.refresh(at(ONE, 0))
        assert self.one(backend).expired, "it has acknowledged nothing new"
        self.epoch(backend, 2)
        backend.fleet.refresh(at(ONE, 1))
        assert self.one(backend).expired, "it got no lease, for the record has moved on"
        backend.fleet.refresh(at(ONE, 2))
        assert not self.one(backend).expired

    def test_who_has_acknowledged_is_not_counted_out(self, backend: Backend) -> None:
        self.epoch(backend, 1)
        backend.fleet.refresh(at(ONE, 1))
        backend.fleet.count_out([ONE.uid, "nobody"], 1)
        assert not self.one(backend).expired

    def test_a_refresh_that_acknowledges_less_lapses_nobody(self, backend: Backend) -> None:
        backend.fleet.refresh(at(ONE, 0))
        self.epoch(backend, 1)
        backend.fleet.refresh(at(ONE, 0))
        assert not self.one(backend).expired, "it may still hold the lease that it got before"

    def test_who_leaves_is_forgotten_and_may_do_so_twice(self, backend: Backend) -> None:
        for member in (ONE, TWO):
            backend.fleet.refresh(at(member, 0))
        for _ in range(2):
            backend.fleet.leave(ONE.uid)
        assert self.one(backend).uid == TWO.uid

    def test_a_member_that_a_commit_does_not_show_is_answered_with_it(self, backend: Backend, opener: Opener) -> None:
        """Members join while the record changes: one that got an older epoch is listed after the commit."""
        answers: dict[str, int] = {}
        begin = threading.Barrier(2)

        def join_many() -> None:
            other = opener()
            try:
                begin.wait()
                for number in range(60):
                    uid = f"many-{number}"
                    answers[uid] = other.fleet.refresh(msgspec.structs.replace(at(ONE, 0), uid=uid))
            finally:
                other.close()

        thread = threading.Thread(target=join_many)
        thread.start()
        begin.wait()
        shown = {}
        for number in range(20):
            epoch = BackendDriver(backend).change("stage", f"v{number}").epoch
            shown[epoch] = {member.uid for member in backend.fleet.members()}
        thread.join()
        assert len(answers) == 60
        for epoch, uids in shown.items():
            assert {uid for uid, answer in answers.items() if answer < epoch} <= uids
