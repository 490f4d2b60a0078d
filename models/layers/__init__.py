"""Contains layers that several networks share, each with its PyTorch specification and, where that is slow, kernels."""
