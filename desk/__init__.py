"""All that is neither orchestration, storage nor model."""
