"""Blind test: which of two pictures follows the prompt better, asked of the person whose model it is."""
