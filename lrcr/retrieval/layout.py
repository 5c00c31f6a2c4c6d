"""Names in an index folder of what a search needs apart from the index itself."""

MODEL = "model.pt"
CODEBOOK = "codebook"
IMAGES = "images.parquet"
PARAMS = "params.json"
