"""What a consortium that does not exist yet should agree on, and why."""
