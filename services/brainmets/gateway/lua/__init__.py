"""Redis scripts, one transition a file; `shared.lua` comes before each of them."""
