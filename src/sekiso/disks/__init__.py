"""Disk files (VHD, VHDX, raw, qcow2), partition tables, and the file systems on them."""
