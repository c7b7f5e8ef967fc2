"""Owns training: from backgrounds and procedural lesions to networks that Triton serves; torch stays here."""
