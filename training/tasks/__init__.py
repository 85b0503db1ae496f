"""The tasks that come with the toolkit: tables and images, their settings and their models."""
