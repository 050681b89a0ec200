"""Checks of a database's invariants that both backends share: they judge rows, and read nothing themselves."""
