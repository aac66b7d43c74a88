"""Measuring how well pictures follow their prompts: what `benchmarks/alignment.py` is made of."""
