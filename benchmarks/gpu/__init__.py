"""The stages of gpu.sh: all that needs a GPU, in one command."""
