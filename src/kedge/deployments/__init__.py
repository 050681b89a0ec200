"""The life cycle of deployments."""
