"""Reads TCP's time stamp off each packet that leaves an end of the lab."""
