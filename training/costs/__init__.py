"""What the protocol costs a consortium that need not exist yet: closed forms over operations measured for a moment."""
