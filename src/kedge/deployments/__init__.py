"""Deployment life cycle."""
