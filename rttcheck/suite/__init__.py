"""The tests that come with the package: what `rttcheck matrix` and `rttcheck soak` run where no others are named."""
