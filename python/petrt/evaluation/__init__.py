"""Compares images with a reference: metrics, activity, calibration, filters, reports."""
