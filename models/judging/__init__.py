"""Judge a candidate on the untouched test part."""
