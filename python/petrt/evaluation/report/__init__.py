"""Pictures of a reconstruction."""
