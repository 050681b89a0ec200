"""Readiness: which stores could not be taken back, how long a rollback takes, and what to change first."""
