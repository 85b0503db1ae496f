"""Sites in the field: what is in a hospital's or a coordinator's folder, how it is opened, and how it is doing.

Knows files and processes of one site. Knows nothing of what carries the bytes.
"""
