"""Implementations of the PLADIS attention, one per file; `lib_pladis.attention` chooses among them.

Every one has a function `attend(query, key, value, *, pladis_scale, alpha, temperature, attn_mask,
scale)` on arguments that `lib_pladis.attention` has checked.
"""
