"""Global vectors: an image's one vector, its whitening and the flat index."""
