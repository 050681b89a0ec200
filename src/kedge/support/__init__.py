"""Helpers that do not depend on Kedge's data: fork-safe locks, failpoints, optional imports."""
