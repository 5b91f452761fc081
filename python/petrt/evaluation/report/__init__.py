"""Pictures of a reconstruction for people to look at."""
