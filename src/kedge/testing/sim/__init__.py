"""Fleet simulation: members, controllers, a store and a network in virtual time, from one seed.

It tests the code that runs in production: `kedge.model.fleet` decides for members and controllers,
`kedge.model.control` makes flips, `kedge.model.turns` stops turns, and `kedge.model.visibility` decides what is seen.
The store keeps the laws of the ports and nothing more; it joins the contract of `Fleet` too. A seed always gives the
same run: `python -m kedge.testing.sim SEED` prints it.
"""

from kedge.testing.sim.checks import Violation
from kedge.testing.sim.play import Outcome, play

__all__ = ["Outcome", "Violation", "play"]
