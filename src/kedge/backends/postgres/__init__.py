"""One PostgreSQL database, in its schema `kedge`: many writers at once, on many machines."""
