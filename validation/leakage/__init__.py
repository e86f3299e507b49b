"""Search for leaks: does anything that is computed, fitted or chosen know the future?"""
