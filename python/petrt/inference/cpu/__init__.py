"""The pipeline on a CPU: workers side by side, each with buffers of its own."""
