"""Models: from images to feature maps and descriptors."""
