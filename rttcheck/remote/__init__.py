"""Other machines on which guests run, reached with ssh: what is there, what is brought there, what comes home."""
