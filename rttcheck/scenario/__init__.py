"""What to run: scenarios, the words and units that they are written in, and those that have a name.

Owns the input and its refusals. Runs nothing, measures nothing, and knows nothing of what will be seen.
"""
