"""Numba kernels for the CPU: what sorts, scans and counts faster than tensors can.

Importing a module of this room imports Numba, so callers import it where a kernel is needed. A file that holds
kernels imports no other one: Numba's cache on disk notices a change in the kernel's own file only.
"""
