"""Build every page from the same parts: blocks, plots, number formats, templates."""
