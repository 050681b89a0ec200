"""Reconcilers of external systems: shell commands, HTTP resources, and their configuration file."""
