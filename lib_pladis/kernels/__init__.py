"""The kernels of PLADIS attention, one a file, behind `base.Kernel`; `choice` lists them and chooses."""
