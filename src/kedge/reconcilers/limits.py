"""How long one command or request may take, and which limit that is."""


def limit(timeout_seconds: float, left_seconds: float) -> tuple[float, str]:
    """Return the lesser of a reconciler's own limit and what its deadline has left, in seconds and in words."""
    if timeout_seconds <= left_seconds:
        return timeout_seconds, f"its timeout_seconds of {timeout_seconds:g} s"
    return left_seconds, f"the {left_seconds:.3g} s that its deadline had left"
