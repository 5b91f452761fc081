"""petrt's own CPU engine: the graph as steps, the plan of memory, the kernels' program."""
