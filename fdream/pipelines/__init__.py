"""One module per thing a user asks for; each joins stages and data, and knows no terminal."""
