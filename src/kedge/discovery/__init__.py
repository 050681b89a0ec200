"""Discovery: what state an agent system keeps, who writes it, and what could not be rolled back."""
