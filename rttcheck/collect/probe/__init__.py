"""Record every RTT sample that the kernel takes; start at :mod:`rttcheck.collect.probe.probe`."""
