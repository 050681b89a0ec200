"""Stores: one small class each, reading and writing through the scope of a turn or a view."""
