"""NYU Depth V2, as pictures, as the labelled file and as HDF5."""
