"""PostgreSQL backend: the schema `kedge` of one database, for concurrent writers on any machine."""
