"""Pictures of what the system does."""
