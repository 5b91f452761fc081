"""Images against a reference: metrics, activity, calibration, filters, reports."""
