"""Hypernetworks: the playground has none."""
