"""Running processes that know one another through the database: members and their leases."""
