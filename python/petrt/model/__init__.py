"""What a model is, on disk and in memory: its specification, its bundle, its size."""
