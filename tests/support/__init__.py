"""What several tests share: recordings made by hand, traffic by hand, a machine to connect to."""
