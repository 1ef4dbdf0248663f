"""What a person or program can ask of accounts. Each service owns its transaction."""
