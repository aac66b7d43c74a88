"""The fused kernel without Triton: CUDA C++, compiled by the NVRTC that torch brings."""
