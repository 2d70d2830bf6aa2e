"""The kernel of CUDA, in CUDA C++, compiled on the user's machine by NVRTC, which PyTorch's builds bring."""
