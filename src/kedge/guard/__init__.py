"""Levels that features stand on; what will watch canaries grows here."""
