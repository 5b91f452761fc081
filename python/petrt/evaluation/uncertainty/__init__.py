"""The calibration of voxels and of regions by the samples: docs/uncertainty.md."""
