"""A delay line in user space for kernels without netem: a process between the two interfaces of a link.

Owns what netem does, as far as it can be done outside the kernel, with an account of each packet. Refuses to know what
is measured through it. This file imports nothing: the relay's own process comes through here, and has the standard
library only.
"""
