"""Blind test: the user judges which of two pictures follows the prompt better, without knowing which is which."""
