"""The command line: what the library does, for people at a terminal and for scripts."""
