"""Recordings judged in processes of their own, and the result of a scenario."""
