"""Makers of datasets: folders of photos, rendered buildings, public benchmarks; and the download of public files."""
