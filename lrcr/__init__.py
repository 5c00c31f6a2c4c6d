"""lrcr: instance-level image retrieval."""
