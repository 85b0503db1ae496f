"""What the benchmarks of the field run inside NVFlare's job processes, and how such a consortium is laid out."""
