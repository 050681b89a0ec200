"""What the kernel needs of a backend, as Protocols whose docstrings state their laws."""
