"""What tests share: tiny networks, reference vectors, odd files, drawn people and films, servers that fail."""
