"""Two kernels beside each other: what recordings of one and of the other say, and where a difference comes from."""
