"""Reads NIfTI, Analyze and DICOM volumes, and writes NIfTI."""
