"""The registry: what was tried, judged, promoted and rolled back, by whom, when and why; nothing is ever taken out."""

from models.registry.registry import Promoted, Promotion, Registry

__all__ = ["Promoted", "Promotion", "Registry"]
