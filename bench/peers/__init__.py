"""Comparison with other vector stores in one run: `python -m bench.peers`, or `make bench-peers`."""
