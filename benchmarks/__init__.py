"""Speed, memory and prompt alignment, measured; each file says how it is run."""
