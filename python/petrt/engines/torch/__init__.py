"""PyTorch as an engine; needs torch."""
