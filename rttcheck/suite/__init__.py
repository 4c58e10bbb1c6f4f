"""The tests in the package: `rttcheck matrix` and `rttcheck soak` run them unless other tests are named."""
