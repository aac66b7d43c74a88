"""A generation while it runs: what holds at each step, on which model, and what was done."""
