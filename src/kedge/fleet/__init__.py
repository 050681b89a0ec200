"""Fleet: member processes, their leases, and change callbacks."""
