"""Graders at work: answers and rows to scores. One engine for evaluation, rewards and dry runs; no torch, no Azure."""
