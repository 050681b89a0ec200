"""Reports: status of a database, differences between two views."""
