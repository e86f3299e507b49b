"""Campaigns: processes are killed, disks filled and answers spoiled again and again; what is left is held against the truth."""
