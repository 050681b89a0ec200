"""The fleet's protocol on one seed: members, controllers, a store and a network, in virtual time.

What is tried is the code that runs: `kedge.model.fleet` decides for members and controllers, `kedge.model.control` what
a flip does, `kedge.model.turns` what it means to a turn, `kedge.model.visibility` what is seen. The store obeys the
laws of the ports, and no more; the contract of `Fleet` is held against it too. One seed is one history, always the
same: `python -m kedge.testing.sim SEED` tells it.
"""

from kedge.testing.sim.checks import Violation
from kedge.testing.sim.play import Outcome, play

__all__ = ["Outcome", "Violation", "play"]
