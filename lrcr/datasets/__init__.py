"""What images there are and what is relevant to what."""
