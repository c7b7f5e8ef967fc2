"""Pure imaging: arrays in, arrays out. No input or output, clock, environment or log."""
