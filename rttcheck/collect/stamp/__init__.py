"""Read TCP's time stamp of each packet that leaves an end of the lab."""
