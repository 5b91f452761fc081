"""The PyTorch engine; needs torch."""
