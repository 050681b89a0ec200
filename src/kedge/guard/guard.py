"""`k.guard`: the guard's calls of one open database."""

from kedge.turns.kernel import Kernel


class Guard:
    """Metrics, launches, health and service levels of one open database: `k.guard`."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
