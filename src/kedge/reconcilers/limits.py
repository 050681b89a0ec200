"""Time limit of one command or request."""


def limit(timeout_seconds: float, left_seconds: float) -> tuple[float, str]:
    """Return the lesser of a reconciler's own limit and the rest of its deadline, in seconds and in words."""
    if timeout_seconds <= left_seconds:
        return timeout_seconds, f"its timeout_seconds of {timeout_seconds:g} s"
    return left_seconds, f"the {left_seconds:.3g} s left of its deadline"
