"""Compare recordings of two kernels, and find the stage that a difference comes from."""
