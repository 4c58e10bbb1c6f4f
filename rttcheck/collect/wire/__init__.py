"""Packets captured at both ends and on both sides of the link, as arrays.

It owns taking packets off interfaces, the kernel's time of each, and reading their headers. It knows neither what the
probe saw nor what a packet should have been.
"""
