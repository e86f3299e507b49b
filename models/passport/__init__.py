"""What a passport claims, computed again from the artefacts it names."""
