"""The names of what an index folder holds beside the index itself, so that a search needs nothing else."""

MODEL = "model.pt"
CODEBOOK = "codebook"
IMAGES = "images.parquet"
PARAMS = "params.json"
