"""Guests on other machines, reached with ssh: check the machine, transfer the code, fetch the results."""
