"""What tests of Kedge, and of what is built on it, share; nothing that is shipped to run leans on it."""
