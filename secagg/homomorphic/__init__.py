"""Homomorphic encryption of vectors: the coordinator adds ciphertexts and learns nothing, not even the sum."""
