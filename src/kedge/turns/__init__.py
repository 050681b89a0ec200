"""Turns and views, and the kernel that they share."""
