"""Weight files: the catalogue of published ones, fetching, one strict reader and writer."""
