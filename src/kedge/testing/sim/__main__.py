"""`python -m kedge.testing.sim SEED [SEEDS]`: print the trace of one seed, or run SEEDS seeds from it on."""

import sys

from kedge.testing.sim.play import play


def main(first: int, count: int | None = None) -> int:
    """Run the simulation; return 1 if a law was broken."""
    failed = 0
    for seed in range(first, first + (count or 1)):
        found = play(seed)
        if count is None:
            for time, *what in found.trace:
                sys.stdout.write(f"{time:12.6f}  {' '.join(map(str, what))}\n")
        if found.violation is not None:
            failed += 1
            sys.stdout.write(f"seed {seed}: {found.violation}\n")
    sys.stdout.write(f"{count or 1} played, {failed} in which a law was broken\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
