"""Writes the folded networks as steps, and checks them."""
