"""What every room shares: images, batches of them, the tables of a dataset, rankings."""
