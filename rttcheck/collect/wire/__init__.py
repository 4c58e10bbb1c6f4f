"""Packets captured at both ends and on both sides of the link, with the kernel's time of each, as arrays."""
