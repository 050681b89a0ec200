"""Planning, rolling back, verifying, purging and replaying."""
