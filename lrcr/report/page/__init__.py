"""The report on one dataset as a single HTML page that needs no other file."""
