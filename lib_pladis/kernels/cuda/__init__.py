"""The fused kernel that needs no Triton: CUDA C++, compiled by the NVRTC that torch brings."""
