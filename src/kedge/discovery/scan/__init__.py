"""Static scan: finds the sites where state persists, without importing or running the code that it reads."""
