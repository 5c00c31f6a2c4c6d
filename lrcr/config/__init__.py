"""The typed, validated params, and how they are read."""
