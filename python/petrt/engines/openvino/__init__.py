"""OpenVINO, for CPUs with matrix units."""
