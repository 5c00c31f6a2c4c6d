"""Pictures of maps, rankings and matches."""
