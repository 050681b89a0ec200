"""Guard: levels of features."""
