"""Reads PET series of DICOM files."""
