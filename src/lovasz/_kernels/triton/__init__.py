"""The kernel of CUDA and ROCm, in Triton."""
