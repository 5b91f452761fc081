"""The OpenVINO engine, for CPUs."""
