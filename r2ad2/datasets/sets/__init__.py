"""One module per data set, with its card and its reader; see `r2ad2.datasets.catalogue`."""
