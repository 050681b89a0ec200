"""Child turns: turns that another turn of the same process calls, without headers and without a commit of their own."""

from contextlib import suppress

from kedge.errors import InvalidValue, SettledMeanwhile, TurnClosed
from kedge.model.session_settings import Asked
from kedge.support.display import brief
from kedge.turns import session_assignment
from kedge.turns.begin import TurnStart
from kedge.turns.kernel import Kernel
from kedge.turns.scope import TurnScope

_ABSORBED_MAX = 1_000  # turns whose edges wait for the next commit


def check_caller(
    kernel: Kernel, caller: TurnScope, asked: Asked, *, session: str | None, deployment: str | None, peer: str | None
) -> None:
    """Raise unless a turn with these arguments may begin in this one."""
    _check_same_database(kernel, caller, "parent=")
    if caller.is_closed:
        raise TurnClosed(f"the turn in parent= ({caller.author.uid}) is closed; begin the child while it is open")
    given = {"session": None if session == caller.session else session, "deployment": deployment, "peer": peer}
    for what, value in given.items():
        if value is not None:
            raise InvalidValue(
                f"{what}={brief(value)} cannot be combined with a turn as parent= (session {brief(caller.session)}): a "
                f"child works in its parent's session and view; leave {what}= out"
            )
    if caller.session is not None:
        session_assignment.check(kernel, caller.session, asked)


def start(kernel: Kernel, caller: TurnScope, who: str) -> TurnStart:
    """Return what a child starts from: what its caller sees, and what is settled by now.

    A settle may have ended the caller: the child sees what was settled, and so a graph of child turns goes on.
    """
    return TurnStart(
        kernel.record(),
        caller.session,
        caller.base,
        caller.stamp,
        caller.author.uid,
        distrust=caller.distrust,
        replays=None if caller.replaying is None else caller.replaying.child(who),
        continues=caller.continues,
    )


def join_caller(scope: TurnScope, caller: TurnScope) -> None:
    """Note the caller of a new child; raise where what has influenced the caller is rolled back.

    The first commit of the child journals the call, and what the caller had read.
    """
    caller.use()
    scope.log.caller = caller.log
    scope.pins.learn(caller.rests_on())
    scope.catch_up(scope.record)


def absorb(kernel: Kernel, scope: TurnScope, callee: TurnScope, peer: str | None) -> None:
    """Join the lineage of another turn, open or closed. The next commit journals the edge, or else the turn's end."""
    _check_same_database(kernel, callee, "absorb()")
    if callee is scope:
        raise InvalidValue(f"a turn cannot absorb itself ({scope.author.uid}); pass the turn that it called")
    if peer is not None:
        raise InvalidValue(f"peer={brief(peer)} is for headers; leave it out where a turn is absorbed")
    scope.check_not_rolled_back()
    scope.use()
    record = scope.backend.control.load()
    with suppress(SettledMeanwhile):  # its own operations raise it; children that begin from now on do not
        scope.catch_up(record)
    scope.join_sender(callee.stamp, record)
    scope.pins.learn(callee.rests_on())
    with suppress(SettledMeanwhile):
        scope.catch_up(record)
    scope.log.absorbed[callee.log] = None
    if len(scope.log.absorbed) >= _ABSORBED_MAX:
        scope.record_pending()


def _check_same_database(kernel: Kernel, scope: TurnScope, what: str) -> None:
    if scope.backend is not kernel.backend:
        raise InvalidValue(
            f"{what} got a turn of another kedge.open ({scope.backend.url}; this one opened {kernel.backend.url}): "
            "turns work together within one `k`; where both opened the same database, pass turn.headers()"
        )
