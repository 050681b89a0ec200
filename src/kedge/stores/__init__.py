"""What a turn works with: one small class a store, over a scope that reads, collects and stamps."""
