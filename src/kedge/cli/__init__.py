"""The command line `kedge`, for people at a terminal and for scripts."""
