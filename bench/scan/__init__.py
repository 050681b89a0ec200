"""Accuracy of `kedge scan` on public agent applications that a person has read line by line."""
