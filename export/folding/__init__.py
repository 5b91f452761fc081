"""The exact rewrites of the networks (docs/method.md section 4)."""
