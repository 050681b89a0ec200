"""`python -m kedge.testing.sim [--launch] SEED [SEEDS]`: print the trace of one seed, or run SEEDS seeds from it on.

Without `--launch` it simulates a fleet and its rollbacks, with it the pilots of a launch.
"""

import sys
from collections.abc import Sequence

from kedge.testing.sim.launch_play import play_launch
from kedge.testing.sim.play import play


def main(arguments: Sequence[str]) -> int:
    """Run the simulation; return 1 if a law was broken."""
    run = play_launch if "--launch" in arguments else play
    first, *rest = (int(each) for each in arguments if each != "--launch")
    count = rest[0] if rest else 1
    failed = 0
    for seed in range(first, first + count):
        found = run(seed)
        if not rest:
            for time, *what in found.trace:
                sys.stdout.write(f"{time:12.6f}  {' '.join(map(str, what))}\n")
        if found.violation is not None:
            failed += 1
            sys.stdout.write(f"seed {seed}: {found.violation}\n")
    sys.stdout.write(f"{count} played, {failed} in which a law was broken\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
