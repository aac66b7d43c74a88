"""The method itself, on tensors and numbers, independent of networks, kernels and web UIs."""
