"""BIDS: PET files of a data set by their entities, their metadata, and derivatives of them."""
