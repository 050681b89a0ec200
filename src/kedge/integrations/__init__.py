"""Integrations with frameworks: one module each, which uses public names only."""
