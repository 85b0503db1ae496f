"""What a hospital and a coordinator do: composes `secagg` and `dp`; engines carry the bytes."""
