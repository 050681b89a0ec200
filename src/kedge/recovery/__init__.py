"""Recovery: plan, rollback, verification, purge, replay, reconciliation."""
