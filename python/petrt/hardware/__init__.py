"""What this machine has: CPU, memory, GPUs, packages."""
