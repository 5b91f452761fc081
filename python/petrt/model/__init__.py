"""What a model computes: its networks as lists of steps, and what is written from them."""
