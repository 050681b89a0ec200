"""Fleet simulation: members, controllers, a store and a network in virtual time, from one seed.

It tests the code that runs in production: `kedge.model.fleet` decides for members and controllers,
`kedge.model.control` makes flips, `kedge.model.turns` stops turns, and `kedge.model.visibility` decides what is seen.
The store keeps the laws of the ports and nothing more; it joins the contract of `Fleet` too. A seed always gives the
same run: `python -m kedge.testing.sim SEED` prints it.

A second simulation (`play_launch`, `--launch SEED`) has pilots of a launch, members under levels, and a person who
stops and asks. `kedge.guard.engine` decides; `kedge.model.ladder` and `kedge.model.rights` say what a level permits.
"""

from kedge.testing.sim.checks import Violation
from kedge.testing.sim.launch_play import LaunchOutcome, play_launch
from kedge.testing.sim.play import Outcome, play

__all__ = ["LaunchOutcome", "Outcome", "Violation", "play", "play_launch"]
