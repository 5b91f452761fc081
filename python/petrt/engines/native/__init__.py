"""petrt's own CPU engine. It turns a network into fused steps, a memory plan and a program of kernels."""
