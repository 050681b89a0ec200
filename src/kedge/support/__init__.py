"""Fork-safe locks, crash points, optional imports: nothing that knows of Kedge's data."""
