"""Proofs about the system itself: that nothing leaks, and that luck is not promoted."""
