"""Moving a database between backends, and comparing two."""
