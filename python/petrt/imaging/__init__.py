"""A volume on the grid and the scale of the networks, and back."""
