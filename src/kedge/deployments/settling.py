"""Settle policies: deployments that settle a while after their promotion."""

from kedge.deployments import lifecycle
from kedge.deployments.lifecycle import Deployment
from kedge.errors import IllegalTransition
from kedge.model import transitions
from kedge.turns.kernel import Kernel

BY = "settle-after"  # who settles by a policy, in the log


def has_due(kernel: Kernel) -> bool:
    """Return whether a policy is due, by the newest record that this process knows, without I/O."""
    record = kernel.backend.control.known()
    return record is not None and bool(transitions.due(record, kernel.backend.clock.now()))


def settle_due(kernel: Kernel) -> list[Deployment]:
    """Settle the deployments whose policy is due, each after what it rests on; return them."""
    settled = []
    for deployment in transitions.due(kernel.backend.control.load(), kernel.backend.clock.now()):
        reason = f"live for {deployment.settle_after:g} s, as deployed"
        try:
            settled.append(lifecycle.settle(kernel, deployment.name, by=BY, reason=reason))
        except IllegalTransition:  # another process has settled it, or rolled it or its base back
            continue
    return settled
