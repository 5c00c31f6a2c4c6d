"""Image in, feature map and descriptors out."""
