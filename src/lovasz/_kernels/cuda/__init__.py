"""The kernel of CUDA, in CUDA C++ compiled on the user's machine by what PyTorch's own builds for CUDA bring."""
