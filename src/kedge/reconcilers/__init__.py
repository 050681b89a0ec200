"""Ready-made reconcilers: a command in a shell, a resource over HTTP, and the file that sets them up."""
