"""Volumes through the networks on a GPU: batches, transfers, one graph a batch. Needs petrt._cuda."""
