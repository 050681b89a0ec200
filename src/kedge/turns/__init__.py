"""Turns and views: what a caller opens to read and write."""
