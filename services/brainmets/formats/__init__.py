"""Bytes to imaging types and back: what clients send, and the files a result is handed out in."""
