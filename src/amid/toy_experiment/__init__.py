"""The toy experiment of the paper's Figure 2c: one normal distribution fitted to a mixture of two through r."""
