"""Evidence that petrt keeps what docs/trust.md says under stress: ``python -m benchmarks.trust``."""
