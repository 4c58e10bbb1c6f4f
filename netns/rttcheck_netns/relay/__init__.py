"""A delay line in user space for kernels without netem: a process between the two interfaces of a link.

It does what netem does, as far as possible outside the kernel, and records each packet. This file imports nothing: the
relay's process imports it too, and has only the standard library.
"""
