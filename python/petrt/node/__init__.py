"""A node in the network: PET series come in, are reconstructed, and the derived series goes on.

``queue`` keeps series on disk in every state, ``scp`` receives them, ``scu`` and ``web`` are the ways on,
``work`` does one after the other. pynetdicom and dicomweb-client are imported on use.
"""
