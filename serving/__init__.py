"""The online side: server, client and version layout; imports no training."""
