"""The way of a scan in a hospital: series in and out, SUV, and a node beside a DICOM server."""
